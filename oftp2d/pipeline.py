"""Files of the spool through stages, in two threads and in constant memory.

One thread reads and takes the octets through the stages ``first``, the other takes what comes out through those ``then``, and
writes it. Hashing, compressing and encrypting leave the interpreter to others, so both work at once; between them few pieces
wait at a time. Whatever goes wrong in either thread ends both, and is raised where the pipeline was called. That is in a
security worker: a pipeline blocks for as long as the file is large.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Condition, Thread
from typing import BinaryIO, Final, Protocol

from oftp2.cms.stage import Stage, chain
from oftp2d.spool import read_piece

PIECE: Final = 1 << 20
"""Octets that are read, handed over and written at once."""

WAITING: Final = 4
"""Pieces that wait between the two threads."""


class AbandonedError(Exception):
    """The work was abandoned on request, before its end."""


class Hash(Protocol):
    """As ``hashlib`` makes them."""

    def update(self, octets: bytes, /) -> None:
        """Add the octets."""


class Work:
    """One run of a pipeline as others see it: how far it is, and the wish that it ends."""

    def __init__(self) -> None:
        self.octets = 0
        """Octets of the source that have been read."""
        self._abandoned = False

    def abandon(self) -> None:
        """Have it end soon, with AbandonedError. From any thread."""
        self._abandoned = True

    def go_on(self) -> None:
        """Raise AbandonedError if it shall end."""
        if self._abandoned:
            raise AbandonedError


class Hashing:
    """A stage that changes nothing, and hashes what passes."""

    def __init__(self, into: Hash) -> None:
        self._hash = into

    def update(self, octets: bytes) -> bytes:
        """The same octets."""
        self._hash.update(octets)
        return octets

    def finish(self) -> bytes:
        """Nothing more."""
        return b""


def run(
    source: BinaryIO,
    *,
    first: Sequence[Stage],
    then: Sequence[Stage],
    write: Callable[[bytes], object],
    work: Work,
) -> None:
    """Take an open file through all stages, and write what comes out at the end.

    Raises what a stage or ``write`` raises, SpoolError where the source cannot be read, and AbandonedError.
    """
    pieces = chain(first, _pieces(source, work))
    if os.fstat(source.fileno()).st_size <= PIECE:
        # Not worth a thread.
        _write(chain(then, pieces), write, work)
        return
    belt = _Belt()
    helper = Thread(target=belt.load, args=(pieces,), name="oftp2d-pipeline", daemon=True)
    helper.start()
    try:
        _write(chain(then, belt.unload()), write, work)
    finally:
        belt.stop()
        helper.join()


def _pieces(source: BinaryIO, work: Work) -> Iterator[bytes]:
    while piece := read_piece(source, PIECE):
        work.go_on()
        yield piece
        work.octets += len(piece)


def _write(pieces: Iterable[bytes], write: Callable[[bytes], object], work: Work) -> None:
    for piece in pieces:
        work.go_on()
        write(piece)


class _Belt:
    """Pieces on their way from one thread to another, a few at a time."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[bytes] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._stopped = False

    def load(self, pieces: Iterable[bytes]) -> None:
        """Put all pieces on it, unless it is stopped before; what goes wrong with them is raised at the other end."""
        try:
            for piece in pieces:
                if not self._put(piece):
                    return
        except BaseException as error:  # noqa: BLE001 - it is the caller's, in the other thread
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def unload(self) -> Iterator[bytes]:
        """All pieces in their order."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                piece = self._waiting.popleft()
                self._changed.notify_all()
            yield piece
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Nothing will be taken from it any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _put(self, piece: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._waiting) < WAITING)
            self._waiting.append(piece)
            self._changed.notify_all()
            return not self._stopped
