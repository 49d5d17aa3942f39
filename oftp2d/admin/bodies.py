"""Octets of large requests and answers: bounded on their way in, at the client's pace on their way out."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from oftp2d.errors import OperatorError
from oftp2d.ledger import Transfer
from oftp2d.spool import SpoolError
from oftp2d.workers import Workers

from .http import HttpRequest

SMALL = 64 * 1024
"""Octets of a body that stays in memory."""

PIECE = 256 * 1024
"""Octets read from the disk at once."""

_log = Logger()


class BoundedBody(io.RawIOBase):
    """The body of a request in a nameless file without a buffer. What does not fit is thrown away and remembered."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        super().__init__()
        self._file = file
        self._room = most
        self.overflowed = False
        """Whether it was more than the bound."""
        self.fault: OSError | None = None
        """Why the disk did not take all of it."""

    def write(self, octets: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # a plain buffer
        """Take octets of the body; the first ones that don't fit end the taking."""
        length = len(octets)
        self.overflowed = self.overflowed or length > self._room
        if not self.overflowed and self.fault is None:
            self._room -= length
            self._put(memoryview(octets))
        return length

    def _put(self, octets: memoryview) -> None:
        """Write all of it. A fault is told when the request is handled: there is nobody to tell here."""
        try:
            while octets:
                octets = octets[self._file.write(octets) :]
        except OSError as error:
            self.fault = error

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # a plain buffer
        """Read on."""
        octets = self._file.read(len(buffer))
        buffer[: len(octets)] = octets
        return len(octets)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go elsewhere in it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where we are in it."""
        return self._file.tell()

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Forget it."""
        self._file.close()
        super().close()


def room_for(length: int | None, folder: Path, most: int) -> IO[bytes]:
    """Where a body of this length (None: unknown) may be written."""
    if length is not None and length <= SMALL:
        return io.BytesIO()
    return BoundedBody(tempfile.TemporaryFile(dir=folder, buffering=0), most)  # type: ignore[return-value]  # its whole interface


@implementer(IPushProducer)
class Outflow:
    """Sends a file as the body of an answer: the next piece is read when the client has taken the last."""

    def __init__(self, request: HttpRequest, workers: Workers) -> None:
        self._request = request
        self._workers = workers
        self._paused: Deferred[None] | None = None
        self._stopped = False

    async def send(self, file: BinaryIO) -> None:
        """Send all of the file, then return; returns early when the client is gone."""
        self._request.registerProducer(self, True)  # noqa: FBT003 - Twisted's own signature
        try:
            while not self._stopped:
                octets = await self._workers.disk(file.read, PIECE)
                if not octets:
                    return
                if self._paused is not None:
                    await self._paused
                if not self._stopped:
                    self._request.write(octets)
        finally:
            if not self._stopped:
                self._request.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client is slower than the disk."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client has caught up."""
        waiting, self._paused = self._paused, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 - IPushProducer
        """The client is gone."""
        self._stopped = True
        self.resumeProducing()


async def send_content(
    request: HttpRequest, workers: Workers, transfer: Transfer, opening: Callable[[], BinaryIO]
) -> None:
    """Answer with the content of a transfer, in the file that ``opening`` opens.

    Once it has begun, a failure can only be told by cutting it short. Raises OperatorError where it is not there.
    """
    try:
        file, size = await workers.disk(_opened, opening)
    except (OSError, SpoolError):
        raise OperatorError(
            f"the content of {transfer.id} is not in the spool any more", "ask the partner to send it again"
        ) from None
    try:
        request.setHeader(b"Content-Type", b"application/octet-stream")
        request.setHeader(b"Content-Length", str(size).encode("ascii"))
        await Outflow(request, workers).send(file)
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 - the border: the answer is under way and can't become another one
        _log.failure("sending the content of {transfer} failed", transfer=transfer.id)
        request.loseConnection()
    finally:
        await workers.disk(file.close)


def _opened(opening: Callable[[], BinaryIO]) -> tuple[BinaryIO, int]:
    """The file and its size, which is not always that of the Virtual File."""
    file = opening()
    return file, os.fstat(file.fileno()).st_size
