"""Stream Transmission Buffers: Exchange Buffers on a stream of octets (RFC 5024 section 8).

Each Exchange Buffer is led by four octets: version 1, flags 0, and the length of header and buffer together.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from oftp2.errors import BufferSizeError, UnknownCommandError
from oftp2.values import MAX_BUFFER_SIZE

HEADER_SIZE: Final = 4
VERSION: Final = 0x10
"""Version 0001 and flags 0000, the first octet of every header."""


def frame(buffer: bytes) -> bytes:
    """One Exchange Buffer of 1 to 99,999 octets as it goes onto the stream."""
    return (VERSION << 24 | len(buffer) + HEADER_SIZE).to_bytes(HEADER_SIZE, "big") + buffer


class FrameReader:
    """Finds the Exchange Buffers in octets that arrive in pieces of any size.

    What it holds is bounded by ``limit``, the longest Exchange Buffer it lets in (octets), and one piece: a header that
    announces more is refused before the rest arrives.
    """

    def __init__(self, limit: int = MAX_BUFFER_SIZE) -> None:
        self.limit = limit
        self._octets = bytearray()
        self._at = 0

    def feed(self, octets: bytes) -> None:
        """Take what the network brought."""
        if self._at:
            del self._octets[: self._at]
            self._at = 0
        self._octets += octets

    def take(self) -> bytes | None:
        """The next whole Exchange Buffer, or None until more octets arrive.

        Raises ``UnknownCommandError`` for a header of another version or with flags, ``BufferSizeError`` for a length
        that no Exchange Buffer has. After an error the stream cannot be read further.
        """
        size = self._next_size()
        if size is None:
            return None
        start, self._at = self._at + HEADER_SIZE, self._at + size
        return bytes(memoryview(self._octets)[start : self._at])

    def take_alike(self, command: int, most: int) -> NDArray[np.uint8] | None:
        """The next whole Exchange Buffers of one length that begin with ``command``: one a row, at most ``most``.

        Rows are without stream header and command octet. None when the next buffer is another, or is not whole yet. They
        are a view: let go of it before the next ``feed``. Raises as ``take`` does.
        """
        size = self._next_size()
        if size is None or self._octets[self._at + HEADER_SIZE] != command:
            return None
        count = min(self.held // size, most)
        rows = np.frombuffer(self._octets, dtype=np.uint8, count=count * size, offset=self._at).reshape(count, size)
        heads = rows[:, : HEADER_SIZE + 1]
        alike = int(np.argmin((heads == heads[0]).all(axis=1))) or count
        self._at += alike * size
        return rows[:alike, HEADER_SIZE + 1 :]

    def _next_size(self) -> int | None:
        """The length of the next stream transmission buffer if it is here in full, header included."""
        held = len(self._octets) - self._at
        if held and self._octets[self._at] != VERSION:
            raise UnknownCommandError(f"the stream header begins with {self._octets[self._at]:#04x}, not 0x10")
        if held < HEADER_SIZE:
            return None
        size = int.from_bytes(self._octets[self._at + 1 : self._at + HEADER_SIZE], "big")
        if not HEADER_SIZE < size <= self.limit + HEADER_SIZE:
            raise BufferSizeError(
                f"the stream header announces {size} octets, allowed are 5 to {self.limit + HEADER_SIZE}"
            )
        return size if held >= size else None

    @property
    def held(self) -> int:
        """Octets that wait for the rest of their Exchange Buffer, or to be taken."""
        return len(self._octets) - self._at

    def clear(self) -> None:
        """Forget what is held: the session is over."""
        self._octets = bytearray()
        self._at = 0
