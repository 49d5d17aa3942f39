"""Data Exchange Buffers: the octets and records of a Virtual File as subrecords (RFC 5024 section 7).

Vectorised with numpy: many buffers are written and read at once, stream headers included. Two ways lead there and back.
Buffers of nothing but full subrecords, which is what formats U and T are made of, are one copy. Everything else that is legal
or in the field takes the general way: records that end, compressed subrecords, empty ones anywhere. Its only loop walks from
one subrecord to the next, since each says where the next begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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

ROW_START: Final = HEADER_SIZE + 1
"""Where the subrecords of a framed buffer begin: behind its stream header and command octet."""

Octets = bytes | bytearray | memoryview
Positions = NDArray[np.int64]
Cells = NDArray[np.uint8]

NO_ENDS: Final[Positions] = np.empty(0, dtype=np.int64)
NO_ENDS.flags.writeable = False

_COMMAND: Final = ord("D")
_STEP: Final = tuple(2 if header & COMPRESSED else 1 + (header & COUNT) for header in range(256))
"""How far it is from a subrecord's header to the next one."""

_LONG_RUN: Final = 4
"""Octets of one value that are worth a compressed subrecord: it takes two, and one more to begin anew behind it."""

_SAMPLE: Final = 1024
_SAMPLES: Final = 8


# --- writing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """Framed Data Exchange Buffers in one piece: ``bounds`` has the position behind each of them."""

    stream: memoryview
    bounds: Positions

    def __len__(self) -> int:
        return len(self.bounds)

    def between(self, first: int, behind: int) -> memoryview:
        """The octets of the buffers from ``first`` up to, not including, ``behind``; there is at least one."""
        start = int(self.bounds[first - 1]) if first else 0
        return self.stream[start : int(self.bounds[behind - 1])]


def capacity(buffer_size: int) -> int:
    """How many octets of one record an Exchange Buffer of ``buffer_size`` octets (128..99999) carries uncompressed."""
    whole, rest = divmod(buffer_size - 1, SUBRECORD + 1)
    return whole * SUBRECORD + max(rest - 1, 0)


def encode(
    octets: Octets,
    buffer_size: int,
    *,
    last: bool,
    ends: Sequence[int] | Positions = NO_ENDS,
    compress: bool = False,
) -> Encoded:
    """The octets as framed Data Exchange Buffers of up to ``buffer_size`` octets (128..99999).

    ``ends`` are the positions behind which a record ends, ascending; two that are equal make an empty record. ``last`` ends
    the last record if it has not ended there. ``compress`` writes runs of one value as compressed subrecords, if a sample of
    the octets shows that they are worth it. Raises ``LocalProtocolError`` when there is nothing to send, or for ``ends`` that
    are out of order or range.
    """
    data = np.frombuffer(octets, dtype=np.uint8)
    ended = np.asarray(ends, dtype=np.int64)
    if not len(data) and not last and not len(ended):
        raise LocalProtocolError("there are no octets to send")
    if len(ended) and (ended[0] < 0 or ended[-1] > len(data) or (np.diff(ended) < 0).any()):
        raise LocalProtocolError("records must end in order and within the octets")
    compress = compress and _repeats(data)
    if not len(ended) and not compress:
        return _encode_one_record(data, buffer_size, last=last)
    if last and (not len(ended) or ended[-1] < len(data)):
        ended = np.append(ended, len(data))
    return _encode_subrecords(data, buffer_size, ended, compress=compress)


def _encode_one_record(data: Cells, buffer_size: int, *, last: bool) -> Encoded:
    each = capacity(buffer_size)
    whole = len(data) // each
    rest = len(data) - whole * each
    size, rest_size = _size(each), _size(rest) if rest or not whole else 0
    stream = np.empty(whole * size + rest_size, dtype=np.uint8)
    if whole:
        _fill(stream[: whole * size].reshape(whole, size), data[: whole * each].reshape(whole, each))
    if rest_size:
        _fill(stream[whole * size :].reshape(1, rest_size), data[whole * each :].reshape(1, rest))
    if last:
        in_buffer = rest or (each if whole else 0)
        stream[-1 - (in_buffer % SUBRECORD or min(in_buffer, SUBRECORD))] |= END_OF_RECORD
    bounds = np.arange(1, whole + 1 + bool(rest_size), dtype=np.int64) * size
    bounds[-1] = len(stream)
    return Encoded(stream=stream.data, bounds=bounds)


def _size(octets: int) -> int:
    """The length of a framed buffer that carries so many octets of one record."""
    return ROW_START + octets + max(-(-octets // SUBRECORD), 1)


def _fill(rows: Cells, data: Cells) -> None:
    """Write one framed buffer per row; all rows of one length."""
    count, size = rows.shape
    whole, rest = divmod(data.shape[1], SUBRECORD)
    grid_end = ROW_START + whole * (SUBRECORD + 1)
    rows[:, :ROW_START] = _frame_head(size)
    grid = rows[:, ROW_START:grid_end].reshape(count, whole, SUBRECORD + 1)
    grid[:, :, 0] = SUBRECORD
    grid[:, :, 1:] = data[:, : whole * SUBRECORD].reshape(count, whole, SUBRECORD)
    if size > grid_end:
        rows[:, grid_end] = rest
        rows[:, grid_end + 1 :] = data[:, whole * SUBRECORD :]


def _frame_head(size: int) -> Cells:
    head = (VERSION << 24 | size).to_bytes(HEADER_SIZE, "big") + bytes([_COMMAND])
    return np.frombuffer(head, dtype=np.uint8)


def _encode_subrecords(data: Cells, buffer_size: int, ends: Positions, *, compress: bool) -> Encoded:
    """The general way: lay out all subrecords, deal them out to buffers, and write everything where it belongs."""
    headers, repeated, octets = _subrecords(data, ends, compress=compress)
    cells = np.where(repeated, 1, headers & COUNT).astype(np.int64) + 1
    behind = np.cumsum(cells)
    buffers = _deal_out(behind, buffer_size - 1)
    # Everything in buffer n moves n + 1 heads to the right.
    in_buffer = np.repeat(np.arange(1, len(buffers) + 1), np.diff(buffers, prepend=0))
    bounds = behind[buffers - 1] + ROW_START * np.arange(1, len(buffers) + 1)
    stream = np.empty(bounds[-1], dtype=np.uint8)
    is_data = np.ones(len(stream), dtype=bool)
    at = behind - cells + ROW_START * in_buffer
    stream[at] = headers
    is_data[at] = False
    for start, end in zip(np.append(0, bounds[:-1]).tolist(), bounds.tolist(), strict=True):
        stream[start : start + ROW_START] = _frame_head(end - start)
        is_data[start : start + ROW_START] = False
    stream[is_data] = octets
    return Encoded(stream=stream.data, bounds=bounds)


def _subrecords(data: Cells, ends: Positions, *, compress: bool) -> tuple[Cells, NDArray[np.bool_], Cells]:
    """The headers of all subrecords, which of them are compressed, and the octets that stand behind them all."""
    starts, behind = _stretches(data, ends) if compress else (np.append(0, ends), np.append(ends, len(data)))
    ending = np.zeros(len(starts), dtype=bool)
    # Of several stretches with the same end the empty ones come behind; each ends one record.
    ending[np.searchsorted(behind, ends, side="left") + _among_equals(ends)] = True
    lengths = behind - starts
    repeated = np.zeros(len(starts), dtype=bool)
    if compress:
        repeated[lengths >= _LONG_RUN] = _is_run(data, starts, behind)[lengths >= _LONG_RUN]
    counts = np.maximum(-(-lengths // SUBRECORD), ending)
    stretch = np.repeat(np.arange(len(starts)), counts)
    number = np.arange(len(stretch)) - np.repeat(np.cumsum(counts) - counts, counts)
    each = np.minimum(lengths[stretch] - number * SUBRECORD, SUBRECORD)
    final = number == counts[stretch] - 1
    headers = each + COMPRESSED * repeated[stretch] + END_OF_RECORD * (final & ending[stretch])
    if not repeated.any():
        return headers.astype(np.uint8), repeated[stretch], data
    kept = ~np.repeat(repeated, lengths)
    kept[(starts[stretch] + number * SUBRECORD)[repeated[stretch]]] = True
    return headers.astype(np.uint8), repeated[stretch], data[kept]


def _stretches(data: Cells, ends: Positions) -> tuple[Positions, Positions]:
    """Where octets of one kind begin and end: runs of one value, what is between them, and records."""
    changes = np.flatnonzero(data[1:] != data[:-1]) + 1
    begins, behind = np.append(0, changes), np.append(changes, len(data))
    long = behind - begins >= _LONG_RUN
    cuts = np.unique(np.concatenate((begins[long], behind[long], ends, [0, len(data)])))
    # Each empty record needs a stretch of its own.
    cuts = np.sort(np.concatenate((cuts, ends[1:][ends[1:] == ends[:-1]], [0] if len(ends) and not ends[0] else [])))
    return cuts[:-1].astype(np.int64), cuts[1:].astype(np.int64)


def _among_equals(ends: Positions) -> Positions:
    """For each position how many equal ones stand before it."""
    return np.arange(len(ends)) - np.searchsorted(ends, ends, side="left")


def _is_run(data: Cells, starts: Positions, behind: Positions) -> NDArray[np.bool_]:
    """Whether all octets of a stretch have one value; of a stretch without octets it does not matter."""
    changed = np.append(0, np.cumsum(data[1:] != data[:-1]))
    first, final = np.minimum(starts, len(data) - 1), np.maximum(behind - 1, 0)
    return np.asarray(changed[first] == changed[final])


def _deal_out(behind: Positions, room: int) -> Positions:
    """For each buffer the number of subrecords in it and all before; ``behind`` are the cells up to each subrecord."""
    found = []
    taken = 0
    while taken < len(behind):
        used = int(behind[taken - 1]) if taken else 0
        taken = int(np.searchsorted(behind, used + room, side="right"))
        found.append(taken)
    return np.array(found, dtype=np.int64)


def _repeats(data: Cells) -> bool:
    """Whether a sample of the octets says that one in ten repeats the two before it."""
    if len(data) > _SAMPLE * _SAMPLES:
        starts = np.linspace(0, len(data) - _SAMPLE, _SAMPLES, dtype=np.int64)
        data = np.concatenate([data[start : start + _SAMPLE] for start in starts])
    same = (data[2:] == data[1:-1]) & (data[1:-1] == data[:-2])
    return 10 * int(np.count_nonzero(same)) > len(data)


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """What Data Exchange Buffers hold: octets of the file, where records end in them, and counts of odd subrecords."""

    octets: memoryview
    ends: Positions = field(default_factory=lambda: NO_ENDS)
    """Positions in ``octets`` behind which a record ends, ascending."""
    empty: int = 0
    """Subrecords of no octets."""
    compressed: int = 0
    """Subrecords of one octet repeated."""


def decode(payload: Octets) -> Decoded:
    """The octets that ``payload``, one buffer behind its command octet, represents; otherwise as ``decode_rows``."""
    return decode_rows(np.frombuffer(payload, dtype=np.uint8).reshape(1, -1))


def decode_rows(rows: Cells) -> Decoded:
    """What buffers of one length hold, one in each row, behind their command octets.

    Raises ``BufferSizeError`` when a subrecord goes beyond the end of its buffer. Compressed subrecords expand to at most
    63 octets each, so the result is bounded by 32 times the rows.
    """
    whole, rest = divmod(rows.shape[1], SUBRECORD + 1)
    grid_end = whole * (SUBRECORD + 1)
    grid = rows[:, :grid_end].reshape(len(rows), whole, SUBRECORD + 1) if whole else None
    # A header alone at the end is an empty subrecord, which is to be counted.
    if rest == 1 or not bool(grid is None or (grid[:, :, 0] == SUBRECORD).all()):
        return _decode_subrecords(rows)
    if rest and not bool((rows[:, grid_end] == rest - 1).all()):
        return _decode_subrecords(rows)
    octets = np.empty((len(rows), whole * SUBRECORD + max(rest - 1, 0)), dtype=np.uint8)
    if grid is not None:
        octets[:, : whole * SUBRECORD].reshape(len(rows), whole, SUBRECORD)[...] = grid[:, :, 1:]
    if rest:
        octets[:, whole * SUBRECORD :] = rows[:, grid_end + 1 :]
    return Decoded(octets=octets.reshape(-1).data)


def _decode_subrecords(rows: Cells) -> Decoded:
    """The general way: find all headers, and take out what they say."""
    cells = rows.reshape(-1)
    at = np.array(_headers(cells.tobytes(), rows.shape[1]), dtype=np.int64)
    headers = cells[at]
    counts = (headers & COUNT).astype(np.int64)
    repeated = (headers & COMPRESSED).astype(bool)
    if repeated.any():
        times = np.ones(len(cells), dtype=np.int64)
        times[at] = 0
        times[at[repeated] + 1] = counts[repeated]
        octets = np.repeat(cells, times)
    else:
        is_data = np.ones(len(cells), dtype=bool)
        is_data[at] = False
        octets = cells[is_data]
    return Decoded(
        octets=octets.data,
        ends=np.cumsum(counts)[headers >= END_OF_RECORD],
        empty=int(np.count_nonzero(counts == 0)),
        compressed=int(np.count_nonzero(repeated)),
    )


def _headers(cells: bytes, each: int) -> list[int]:
    """Where the subrecords begin in buffers of ``each`` cells that stand one behind the other."""
    found: list[int] = []
    note, step, at = found.append, _STEP, 0
    for end in range(each, len(cells) + 1, each):
        while at < end:
            note(at)
            at += step[cells[at]]
        if at != end:
            raise BufferSizeError(f"a subrecord goes {at - end} octets beyond its Data Exchange Buffer")
    return found
