"""The server of the administration interface: all routes, on a UNIX socket only its owner can open."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from klein import Klein
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorUNIX
from twisted.web.resource import IResource
from twisted.web.server import Site

from oftp2d.errors import OperatorError

from . import certificates, exchanges, inbox, overview, partners, transfers
from .bodies import room_for
from .collaborators import Desk
from .routing import answer_unrouted

IDLE_SECONDS = 600
"""An idle connection is closed after so long; a large upload over a slow disk must not be idle."""


class AdminSite(Site):
    """The site, with bodies kept on the spool's file system, and connections that can be closed at the end."""

    def __init__(self, resource: IResource, folder: Path, most: int) -> None:
        super().__init__(resource, timeout=IDLE_SECONDS)  # type: ignore[no-untyped-call]  # Twisted gives none
        self._folder = folder
        self._most = most
        self._channels: list[Any] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802 - Twisted's name
        """A new connection."""
        channel = super().buildProtocol(addr)  # type: ignore[no-untyped-call]  # Twisted gives none
        self._channels = [each for each in self._channels if each.transport and each.transport.connected]
        self._channels.append(channel)
        return channel

    def getContentFile(self, length: int | None) -> IO[bytes]:  # noqa: N802 - Twisted's name
        """Where the body of a request goes."""
        return room_for(length, self._folder, self._most)

    def log(self, request: object) -> None:
        """Requests of administrators are not logged; what they do is in the audit trail."""

    def close_all(self) -> None:
        """Close the connections that are still open."""
        for channel in self._channels:
            if channel.transport is not None:
                channel.transport.abortConnection()


class AdminServer:
    """Serves the desk on the socket at this path, from ``start`` to ``stop``."""

    def __init__(self, reactor: IReactorUNIX, path: Path, desk: Desk) -> None:
        self._reactor = reactor
        self._path = path
        app = Klein()
        answer_unrouted(app)
        for module in (overview, partners, certificates, exchanges, transfers, inbox):
            module.add_routes(app, desk)
        self._site = AdminSite(app.resource(), desk.upload_folder, desk.limits.max_file_octets)
        self._port: IListeningPort | None = None
        self._lock: IO[bytes] | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            OperatorError: another daemon runs in this home folder, or the socket can't be made.
        """
        self._lock = _locked(self._path.with_name(f"{self._path.name}.lock"))
        with suppress(FileNotFoundError):
            self._path.unlink()  # left by a daemon that was killed; the lock says that none runs
        try:
            self._port = self._reactor.listenUNIX(
                os.fspath(self._path),
                self._site,  # type: ignore[arg-type]  # its protocol is a wrapper that Twisted types as none
                mode=0o600,
            )
        except CannotListenError as error:
            self._release()
            raise OperatorError(
                f"the socket {self._path} can't be made ({error.socketError})", "check the home folder"
            ) from None

    async def stop(self) -> None:
        """Listen no longer, and close what is open. Harmless when it was never started."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
            self._site.close_all()
        self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()


def _locked(path: Path) -> IO[bytes]:
    """The lock of the home folder; the kernel lets go of it when the process ends, however it ends."""
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise OperatorError(f"{path} can't be made ({error.strerror})", "check the home folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OperatorError(
            "a daemon runs in this home folder already", "stop it first, or set OFTP2D_HOME to another folder"
        ) from None
    return lock
