"""Files of the spool through stages, each in a thread of its own, in constant memory.

The first thread reads, each takes the octets through one stage and hands them to the next, and the caller's writes what comes
out. Hashing, compressing and encrypting leave the interpreter to others, so that all work at once; between two threads few
pieces wait. Whatever goes wrong in any of them ends all, and is raised where the pipeline was called. That is in a security
worker: a pipeline blocks for as long as the file is large.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Condition, Thread
from typing import BinaryIO, Final, Protocol

from oftp2.cms.stage import Stage, chain
from oftp2d.spool import Spool, Staged, Writing, pieces_of

PIECE: Final = 1 << 19
"""Octets that are read, handed over and written at once: fewer cost time, more cost memory several times over."""

WAITING: Final = 4
"""Pieces that wait between two threads: with fewer they wait for each other, since what expands comes in bursts."""


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


def run(source: BinaryIO, stages: Sequence[Stage], *, write: Callable[[bytes], object], work: Work) -> None:
    """Take an open file through all stages, the first one first, and write what comes out at the end.

    Raises what a stage or ``write`` raises, SpoolError where the source cannot be read, and AbandonedError.
    """
    pieces = _pieces(source, work)
    if os.fstat(source.fileno()).st_size <= PIECE:
        # Not worth a thread.
        _write(chain(stages, pieces), write, work)
        return
    belts: list[_Belt] = []
    try:
        for stage in stages:
            belts.append(_Belt(chain([stage], pieces)))
            pieces = belts[-1].unload()
        _write(pieces, write, work)
    finally:
        for belt in belts:
            belt.stop()


def make(
    source: BinaryIO,
    stages: Sequence[Stage],
    target: Writing,
    *,
    spool: Spool,
    reserve: int,
    work: Work,
) -> Staged:
    """``run`` into a new file of the spool, and seal it; whatever goes wrong, nothing of it is left.

    Raises SpoolFullError rather than leave less than the ``reserve`` free, in octets.
    """

    def write(octets: bytes) -> None:
        spool.keep_free(len(octets), reserve)
        target.write(octets)

    with target:
        try:
            run(source, stages, write=write, work=work)
            return target.seal()
        except BaseException:
            target.discard()
            raise


def _pieces(source: BinaryIO, work: Work) -> Iterator[bytes]:
    for piece in pieces_of(source, PIECE):
        work.go_on()
        yield piece
        work.octets += len(piece)


def _write(pieces: Iterable[bytes], write: Callable[[bytes], object], work: Work) -> None:
    for piece in pieces:
        work.go_on()
        write(piece)


class _Belt:
    """Pieces that a thread of its own makes, a few at a time, for another to take."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._changed = Condition()
        self._waiting: deque[bytes] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = Thread(target=self._load, args=(pieces,), name="oftp2d-pipeline", daemon=True)
        self._thread.start()

    def unload(self) -> Iterator[bytes]:
        """All pieces in their order. Raises what went wrong with them."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended or self._stopped)
                if not self._waiting:
                    break
                piece = self._waiting.popleft()
                self._changed.notify_all()
            yield piece
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Nothing will be taken from it any more: wait until its thread has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _load(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                if not self._put(piece):
                    break
        except BaseException as error:  # noqa: BLE001 - it is the caller's, in the other thread
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, piece: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._waiting) < WAITING)
            self._waiting.append(piece)
            self._changed.notify_all()
            return not self._stopped
