"""Stream Transmission Buffers: Exchange Buffers on a stream of octets (RFC 5024 section 8).

Each Exchange Buffer is led by four octets: version 1, flags 0, and the length of header and buffer together.
"""

from __future__ import annotations

from typing import Final

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
        if held < size:
            return None
        start, self._at = self._at + HEADER_SIZE, self._at + size
        return bytes(memoryview(self._octets)[start : self._at])

    @property
    def held(self) -> int:
        """Octets that wait for the rest of their Exchange Buffer, or to be taken."""
        return len(self._octets) - self._at

    def clear(self) -> None:
        """Forget what is held: the session is over."""
        self._octets.clear()
        self._at = 0
