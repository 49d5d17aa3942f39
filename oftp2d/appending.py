"""Files that grow at their end, large ones past the page cache.

The kernel's copy of a large file costs a processor as much as its decryption, pushes out what others need, and leaves all the
writing to the fsync at the end, while the partner waits for its answer. So behind its first ``DIRECT`` octets a file is written
with O_DIRECT in blocks from memory that is aligned as that demands, where the file system can do it; its tail goes the
ordinary way. What comes before direct writes is brought to disk first: they make the file longer there at once, and a loss
of power would leave a hole in front of them. All methods block; call them in a disk worker.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

DIRECT: Final = 4 << 20
"""Octets of a file that are written the ordinary way; a file that ends before costs no memory here."""

BLOCK: Final = 1 << 20
"""Octets that one direct write takes."""

ALIGNED: Final = 4096
"""What offset, length and memory of a direct write must be a multiple of; every disk agrees with this."""

Octets = bytes | bytearray | memoryview


class Appending:
    """An open file, written at its end. ``handle`` stays the caller's to close, behind ``flush``. Raises OSError.

    One that will be read again soon is better ``cached``: written the ordinary way to its end.
    """

    def __init__(self, handle: int, *, cached: bool = False) -> None:
        self._handle = handle
        self._octets = 0
        self._block: mmap.mmap | None = None
        self._held = 0
        self._ordinary = cached

    def start(self, octets: int) -> None:
        """Everything so far is written or forgotten; the file has so many octets, and goes on behind them."""
        self._octets = octets
        self._held = 0

    def write(self, octets: Octets) -> None:
        """Append all of it; some may stay in memory until ``flush``."""
        rest = memoryview(octets).cast("B")
        if self._block is None and self._octets + len(rest) > DIRECT and not self._ordinary:
            # Up to a place from which direct writes can go on.
            ordinary = -self._octets % ALIGNED if self._octets >= DIRECT else DIRECT - self._octets
            self._write(rest[:ordinary])
            rest = rest[ordinary:]
            if self._octets % ALIGNED == 0:
                self._go_direct()
        if self._block is None:
            self._write(rest)
            return
        while rest:
            taken = rest[: BLOCK - self._held]
            self._block[self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            rest = rest[len(taken) :]
            if self._held == BLOCK:
                self._held = 0
                with memoryview(self._block) as block:
                    self._write(block)

    def flush(self) -> None:
        """Write what is still in memory."""
        if self._block is None:
            return
        _set_direct(self._handle, wanted=False)
        with memoryview(self._block) as block, block[: self._held] as tail:
            self._held = 0
            self._write(tail)
        self._block.close()
        self._block = None

    def _write(self, octets: memoryview) -> None:
        done = 0
        while done < len(octets):
            # Released even where it fails, or the memory under it could not be given back as long as the error is told.
            with octets[done:] as rest:
                written = os.write(self._handle, rest)
            self._octets += written
            done += written

    def _go_direct(self) -> None:
        os.fdatasync(self._handle)
        try:
            _set_direct(self._handle, wanted=True)
        except OSError:
            # A file system in memory, or one that is not on a disk of ours.
            self._ordinary = True
            return
        self._block = mmap.mmap(-1, BLOCK)


def _set_direct(handle: int, *, wanted: bool) -> None:
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    fcntl.fcntl(handle, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
