"""Data Exchange Buffers: the octets of a Virtual File as subrecords (RFC 5024 section 7).

Vectorised: many buffers are written at once, stream headers included, and a buffer of ordinary 63-octet subrecords is
read in one copy. Format U is one record; its last subrecord carries the end-of-record flag. Read are also compressed
subrecords, empty ones anywhere, and records that end more than once, since all of that is legal or in the field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oftp2.errors import BufferSizeError, LocalProtocolError
from oftp2.framing import HEADER_SIZE, VERSION

END_OF_RECORD: Final = 0x80
COMPRESSED: Final = 0x40
COUNT: Final = 0x3F
SUBRECORD: Final = 63
"""The longest subrecord, in octets."""

_COMMAND: Final = ord("D")
_ROW_START: Final = HEADER_SIZE + 1


def capacity(buffer_size: int) -> int:
    """How many octets of the file one Exchange Buffer of ``buffer_size`` octets (128..99999) carries."""
    whole, rest = divmod(buffer_size - 1, SUBRECORD + 1)
    return whole * SUBRECORD + max(rest - 1, 0)


def buffers_needed(octets: int, buffer_size: int) -> int:
    """How many Exchange Buffers carry that many octets; an empty end of file takes one."""
    return max(-(-octets // capacity(buffer_size)), 1)


def encode(octets: bytes | memoryview, buffer_size: int, *, last: bool) -> list[bytes]:
    """The octets as framed Data Exchange Buffers, each filled to ``buffer_size`` but for the last one.

    ``last`` sets the end-of-record flag on the final subrecord. Returns at most two pieces to write in order.
    Raises ``LocalProtocolError`` when there is nothing to send and it is not the last of the file.
    """
    if not octets and not last:
        raise LocalProtocolError("there are no octets to send")
    data = np.frombuffer(octets, dtype=np.uint8)
    each = capacity(buffer_size)
    whole = len(data) // each
    pieces = []
    if whole:
        pieces.append(_rows(data[: whole * each].reshape(whole, each)))
    if len(data) > whole * each or not whole:
        pieces.append(_rows(data[whole * each :].reshape(1, -1)))
    if last:
        _flag_last_subrecord(pieces[-1], len(data) - max(len(data) - 1, 0) // each * each)
    return [piece.tobytes() for piece in pieces]


def _rows(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One framed buffer per row of ``data``; all rows of one length."""
    count, octets = data.shape
    whole, rest = divmod(octets, SUBRECORD)
    grid_end = _ROW_START + whole * (SUBRECORD + 1)
    size = grid_end + (rest + 1 if rest or not octets else 0)
    rows = np.empty((count, size), dtype=np.uint8)
    rows[:, :HEADER_SIZE] = np.frombuffer((VERSION << 24 | size).to_bytes(HEADER_SIZE, "big"), dtype=np.uint8)
    rows[:, HEADER_SIZE] = _COMMAND
    grid = rows[:, _ROW_START:grid_end].reshape(count, whole, SUBRECORD + 1)
    grid[:, :, 0] = SUBRECORD
    grid[:, :, 1:] = data[:, : whole * SUBRECORD].reshape(count, whole, SUBRECORD)
    if size > grid_end:
        rows[:, grid_end] = rest
        rows[:, grid_end + 1 :] = data[:, whole * SUBRECORD :]
    return rows


def _flag_last_subrecord(rows: NDArray[np.uint8], octets: int) -> None:
    length = octets % SUBRECORD or min(octets, SUBRECORD)
    rows[-1, -1 - length] |= END_OF_RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What one Data Exchange Buffer holds: octets of the file, and counts of what subrecords it had."""

    octets: bytes
    ends: int = 0
    """Subrecords that end a record."""
    empty: int = 0
    """Subrecords of no octets."""
    compressed: int = 0
    """Subrecords of one octet repeated."""


def decode(payload: bytes | memoryview) -> Decoded:
    """The octets that ``payload``, all behind the command octet, represents.

    Raises ``BufferSizeError`` when a subrecord goes beyond the end of the buffer. Compressed subrecords expand to at
    most 63 octets each, so the result is bounded by 32 times the payload.
    """
    cells = np.frombuffer(payload, dtype=np.uint8)
    grid = cells[: len(cells) // (SUBRECORD + 1) * (SUBRECORD + 1)].reshape(-1, SUBRECORD + 1)
    odd = np.flatnonzero(grid[:, 0] != SUBRECORD)
    regular = int(odd[0]) if len(odd) else len(grid)
    octets = grid[:regular, 1:].tobytes()
    at = regular * (SUBRECORD + 1)
    if at == len(cells):
        return Decoded(octets=octets)
    rest = _decode_one_by_one(bytes(payload[at:]))
    return replace(rest, octets=octets + rest.octets)


def _decode_one_by_one(payload: bytes) -> Decoded:
    pieces: list[bytes] = []
    at = ends = empty = compressed = 0
    padding = len(payload) - len(payload.rstrip(b"\0"))
    while at < len(payload):
        header = payload[at]
        count = header & COUNT
        at += 1
        if header & COMPRESSED:
            piece, taken = payload[at : at + 1] * count, 1
            compressed += 1
        else:
            piece, taken = payload[at : at + count], count
        at += taken
        if at > len(payload):
            raise BufferSizeError(f"a subrecord goes {at - len(payload)} octets beyond its Data Exchange Buffer")
        pieces.append(piece)
        ends += header >> 7
        empty += not count
        if not header and len(payload) - at <= padding:
            # Zero octets to the end are empty subrecords, and some systems pad with a thousand of them.
            empty += len(payload) - at
            break
    return Decoded(octets=b"".join(pieces), ends=ends, empty=empty, compressed=compressed)
