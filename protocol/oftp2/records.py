"""Records of a Virtual File: its stored form, and the octets and record ends in which it travels.

RFC 5024 sections 1.5.3 (record formats), 1.5.4 (restart positions), 5.3.3 and 5.3.8 (lengths and counts), 6.5 (lengths of
V records). A file at rest has a *stored form*: U and T are their octets; F is its records one after the other, all of one
length; V is its records too, each led by its length in two octets, big-endian. On the wire there are octets, and offsets in
them behind which a record ends.

Readers turn the first into the second and writers the second into the first, piece by piece: a piece may end anywhere, even
inside a length. What they hold is bounded by one piece and one record. Vectorised with numpy but for one step per V record,
since only its length tells where the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oftp2.commands import Sfid
from oftp2.values import FileFormat

BLOCK: Final = 1024
"""Octets in a block: the unit of sizes, and of the restart positions of U and T files."""

LENGTH_OCTETS: Final = 2
"""Octets of the length that leads each record of the stored form of a V file."""

LONGEST_VARIABLE: Final = 0xFFFF
"""The longest record of a V file that its stored form can hold, in octets."""

LINE_END: Final = b"\r\n"

_PIECE: Final = 1 << 18

Octets = bytes | bytearray | memoryview
Ends = NDArray[np.int64]


class RecordError(Exception):
    """The content is not made of the records that its format says. The text says which record, counted from 1, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Octets of a Virtual File, and ascending offsets in them behind which a record ends; equal ones are empty records."""

    octets: Octets
    ends: Ends


def transferred_format(offer: Sfid) -> FileFormat:
    """The format in which a file travels: one that was signed, compressed or encrypted is U (section 5.3.3)."""
    return FileFormat.UNSTRUCTURED if offer.security or offer.compression or offer.envelope else offer.format


def has_records(form: FileFormat) -> bool:
    """Whether files of this format are made of records that the wire marks, and EFID counts."""
    return form in {FileFormat.FIXED, FileFormat.VARIABLE}


def stored_octets(form: FileFormat, octets: int, records: int) -> int:
    """The size of the stored form of a file with so many octets and records."""
    return octets + (LENGTH_OCTETS * records if form is FileFormat.VARIABLE else 0)


# --- stored form to wire -----------------------------------------------------------------------------------------


class PlainReader:
    """Reads the stored form of a U or T file: there are no records in it, its end is the only one."""

    records = 0

    def take(self, stored: Octets) -> Records:
        """The octets that come next."""
        return Records(octets=stored, ends=_NONE)

    def finish(self) -> None:
        """The stored form is over. It may be so anywhere."""


class FixedReader:
    """Reads the stored form of an F file whose records have ``record_length`` octets, 1 or more."""

    def __init__(self, record_length: int) -> None:
        self._length = record_length
        self._held = 0
        self.records = 0
        """Records that have ended so far."""

    def take(self, stored: Octets) -> Records:
        """The octets that come next, and where in them records end."""
        ends = np.arange(self._length - self._held, len(stored) + 1, self._length, dtype=np.int64)
        self._held = (self._held + len(stored)) % self._length
        self.records += len(ends)
        return Records(octets=stored, ends=ends)

    def finish(self) -> None:
        """The stored form is over. Raises ``RecordError`` unless that is where a record ends."""
        if self._held:
            raise RecordError(f"record {self.records + 1}, the last, has {self._held} octets instead of {self._length}")


class VariableReader:
    """Reads the stored form of a V file whose records have at most ``longest`` octets."""

    def __init__(self, longest: int = LONGEST_VARIABLE) -> None:
        self._most = longest
        self._left = 0
        self._carry = b""
        self.records = 0
        """Records that have ended so far."""
        self.longest = 0
        """Octets of the longest record so far, 0 to 65,535."""

    def take(self, stored: Octets) -> Records:
        """The octets that come next, without the lengths, and where in them records end.

        Raises ``RecordError`` for a record that is too long.
        """
        piece = self._carry + bytes(stored)
        heads, at = _heads(piece, self._left)
        bounds = np.array([*heads, at], dtype=np.int64)
        ends = bounds - LENGTH_OCTETS * np.arange(len(bounds))
        self._judge(np.diff(bounds) - LENGTH_OCTETS)
        # Where nothing is left of a record, none ends at the first bound; one that goes on ends in a later piece.
        first = 0 if self._left else 1
        ends = ends[first : len(ends) - (at > len(piece))]
        self.records += len(ends)
        self._left = max(at - len(piece), 0)
        self._carry = piece[at:]
        return Records(octets=_without(piece[: len(piece) - len(self._carry)], bounds[:-1]), ends=ends)

    def finish(self) -> None:
        """The stored form is over. Raises ``RecordError`` unless that is where a record ends."""
        if self._carry or self._left:
            missing = f"{self._left} of its octets are" if self._left else "half of its length is"
            raise RecordError(f"record {self.records + 1}, the last, is cut off: {missing} missing")

    def _judge(self, lengths: Ends) -> None:
        if not len(lengths):
            return
        longest = int(lengths.max())
        if longest > self._most:
            begun = self.records + bool(self._left)
            record = begun + int(np.argmax(lengths > self._most)) + 1
            raise RecordError(f"record {record} is longer than {self._most} octets")
        self.longest = max(self.longest, longest)


Reader = PlainReader | FixedReader | VariableReader


def reader(form: FileFormat, record_length: int) -> Reader:
    """What reads the stored form of a file of this format; ``record_length`` as in SFIDLRECL, in octets."""
    match form:
        case FileFormat.FIXED:
            return FixedReader(record_length)
        case FileFormat.VARIABLE:
            return VariableReader()
    return PlainReader()


# --- wire to stored form -----------------------------------------------------------------------------------------


class PlainWriter:
    """Writes the stored form of a U file: where a Speaker saw records in it does not matter."""

    records = 0

    def take(self, octets: Octets, ends: Ends) -> Octets:
        """The stored form of what came next."""
        del ends
        return octets

    def finish(self) -> bytes:
        """What is still to be stored at the end of the file: nothing."""
        return b""


class FixedWriter:
    """Writes the stored form of an F file whose records have ``record_length`` octets, 1 or more.

    An end flag may come in an empty subrecord of its own, be repeated, or be missing at the end of the file.
    """

    def __init__(self, record_length: int) -> None:
        self._length = record_length
        self._held = 0
        self.records = 0
        """Records that have ended so far."""

    def take(self, octets: Octets, ends: Ends) -> Octets:
        """The stored form of what came next. Raises ``RecordError`` for a record of another length."""
        size = len(octets)
        seen = np.unique(ends)
        if not self._held and len(seen) and not seen[0]:
            seen = seen[1:]
        due = np.arange(self._length - self._held, size + 1, self._length, dtype=np.int64)
        if len(due) and due[-1] == size and size not in seen[-1:]:
            due = due[:-1]
        if not np.array_equal(seen, due):
            raise self._wrong(seen, due)
        self._held = size - int(due[-1]) if len(due) else self._held + size
        self.records += len(due)
        return octets

    def finish(self) -> bytes:
        """The file is over. Raises ``RecordError`` when its last record is too short."""
        if self._held == self._length:
            self._held = 0
            self.records += 1
        if self._held:
            raise RecordError(f"record {self.records + 1}, the last, has {self._held} octets instead of {self._length}")
        return b""

    def _wrong(self, seen: Ends, due: Ends) -> RecordError:
        both = min(len(seen), len(due))
        differ = seen[:both] != due[:both]
        at = int(np.argmax(differ)) if differ.any() else both
        record = self.records + at + 1
        if at < len(seen) and (at == len(due) or seen[at] < due[at]):
            begun = int(due[at - 1]) if at else -self._held
            return RecordError(f"record {record} has {int(seen[at]) - begun} octets instead of {self._length}")
        return RecordError(f"record {record} is longer than {self._length} octets")


class VariableWriter:
    """Writes the stored form of a V file whose records have at most ``longest`` octets, up to 65,535.

    Only whole records are stored: the octets of one whose end has not come yet are held.
    """

    def __init__(self, longest: int) -> None:
        self._longest = min(longest, LONGEST_VARIABLE)
        self._tail = bytearray()
        self.records = 0
        """Records that have ended so far."""

    def take(self, octets: Octets, ends: Ends) -> Octets:
        """The stored form of the records that have ended. Raises ``RecordError`` for one that is too long."""
        bounds = np.concatenate((_ZERO, ends + len(self._tail)))
        self._tail += octets
        self._judge(np.diff(bounds, append=len(self._tail)))
        whole = int(bounds[-1])
        stored = _with_lengths(bytes(self._tail[:whole]), bounds)
        del self._tail[:whole]
        self.records += len(ends)
        return stored

    def finish(self) -> bytes:
        """The file is over, and with it a record whose end flag is missing: its stored form."""
        rest = bytes(self._tail)
        self._tail.clear()
        if not rest:
            return b""
        self.records += 1
        return len(rest).to_bytes(LENGTH_OCTETS, "big") + rest

    def _judge(self, lengths: Ends) -> None:
        long = lengths > self._longest
        if long.any():
            raise RecordError(f"record {self.records + int(np.argmax(long)) + 1} is longer than {self._longest} octets")


class TextWriter:
    """Writes the stored form of a T file.

    Some systems send each line as a record and leave the line end out: each gets ``line_end`` again. A file is taken for
    one of those when its first record ends without a line end and octets follow; any other is stored as it comes.
    """

    records = 0

    def __init__(self, line_end: bytes = LINE_END) -> None:
        self._line_end = line_end
        self._by_line: bool | None = None
        self._last = b""
        self._waiting = 0
        self.added = 0
        """Octets of line ends that were put in so far. Where there are any, the stored form is not what was sent."""

    def take(self, octets: Octets, ends: Ends) -> Octets:
        """The stored form of what came next."""
        if self._by_line is None:
            ends = self._decide(octets, ends)
        if not self._by_line or not len(ends):
            return octets
        self.added += len(ends) * len(self._line_end)
        rows = np.tile(np.frombuffer(self._line_end, dtype=np.uint8), (len(ends), 1))
        return _with(octets, ends, rows)

    def finish(self) -> bytes:
        """What is still to be stored at the end of the file: nothing."""
        return b""

    def _decide(self, octets: Octets, ends: Ends) -> Ends:
        """Find out what kind of file it is, as soon as octets follow the first end; the ends that count from here on."""
        ends = np.concatenate((np.zeros(self._waiting, dtype=np.int64), ends))
        first = int(ends[0]) if len(ends) else len(octets)
        self._last = (self._last + bytes(octets[max(first - len(self._line_end), 0) : first]))[-len(self._line_end) :]
        if not len(ends) or first == len(octets):
            self._waiting = len(ends)
            return _NONE
        self._by_line = self._last != self._line_end
        return ends


Writer = PlainWriter | FixedWriter | VariableWriter | TextWriter


def writer(form: FileFormat, record_length: int, line_end: bytes = LINE_END) -> Writer:
    """What writes the stored form of a file of this format.

    ``record_length`` is SFIDLRECL, in octets; 0 for a V file says nothing about its records. ``line_end`` is CR-LF in the
    Speaker's character set.
    """
    match form:
        case FileFormat.FIXED:
            return FixedWriter(record_length)
        case FileFormat.VARIABLE:
            return VariableWriter(record_length or LONGEST_VARIABLE)
        case FileFormat.TEXT:
            return TextWriter(line_end)
    return PlainWriter()


# --- restart positions -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a file where a restart is possible (section 1.5.4)."""

    count: int
    """As SFIDREST and SFPAACNT say it: whole records before it (F, V), or blocks of 1,024 octets (U, T)."""

    offset: int
    """Octets of the stored form before it."""

    records: int = 0
    """Records before it, as EFID counts them: 0 for U and T."""

    octets: int
    """Octets of the Virtual File before it."""


BEGINNING: Final = Position(count=0, offset=0, octets=0)


def last_position(
    form: FileFormat,
    record_length: int,
    size: int,
    read: Callable[[int], bytes],
    *,
    most: int | None = None,
) -> Position:
    """The last place in the first ``size`` octets of a stored form where a restart is possible.

    At most ``most`` records or blocks in. Only the lengths of a V file must be looked for: ``read`` gives at most so many
    octets more of the stored form from its beginning on, none at its end, and is asked for one piece after the other.
    """
    if form is FileFormat.VARIABLE:
        return _last_variable(size, read, most)
    unit = record_length if form is FileFormat.FIXED else BLOCK
    count = size // unit
    count = count if most is None else min(count, most)
    offset = count * unit
    return Position(count=count, offset=offset, records=count if has_records(form) else 0, octets=offset)


def _last_variable(size: int, read: Callable[[int], bytes], most: int | None) -> Position:
    count = offset = base = at = 0
    piece = b""
    while most is None or count < most:
        heads, then = _heads(piece, at)
        ends = [base + end for end in (*heads[1:], then)][: len(heads)]
        whole = [end for end in ends if end <= size]
        if most is not None:
            whole = whole[: most - count]
        count += len(whole)
        offset = whole[-1] if whole else offset
        base += min(then, len(piece))
        left = piece[then:]
        at = max(then - len(piece), 0)
        more = read(_PIECE)
        if not more or len(whole) < len(ends):
            break
        piece = left + more
    return Position(count=count, offset=offset, records=count, octets=offset - LENGTH_OCTETS * count)


# --- arrays ------------------------------------------------------------------------------------------------------

_NONE: Final[Ends] = np.empty(0, dtype=np.int64)
_ZERO: Final[Ends] = np.zeros(1, dtype=np.int64)


def _heads(piece: bytes, at: int) -> tuple[list[int], int]:
    """Where in ``piece`` lengths stand, the first one at ``at``; and where the next one would, perhaps behind the piece."""
    heads = []
    last = len(piece) - LENGTH_OCTETS
    while at <= last:
        heads.append(at)
        at += LENGTH_OCTETS + (piece[at] << 8 | piece[at + 1])
    return heads, at


def _without(piece: bytes, heads: Ends) -> bytes:
    """The piece without the lengths that stand at ``heads``."""
    if not len(heads):
        return piece
    kept = np.ones(len(piece), dtype=np.bool_)
    kept[heads] = False
    kept[heads + 1] = False
    return np.frombuffer(piece, dtype=np.uint8)[kept].tobytes()


def _with_lengths(octets: bytes, bounds: Ends) -> bytes:
    """The octets between each two of ``bounds``, each time led by how many they are."""
    lengths = np.diff(bounds).astype(">u2")
    return _with(octets, bounds[:-1], lengths.view(np.uint8).reshape(-1, LENGTH_OCTETS))


def _with(octets: Octets, offsets: Ends, rows: NDArray[np.uint8]) -> bytes:
    """The octets with one of the ``rows`` put in before each of the ascending ``offsets``."""
    count, width = rows.shape
    begins = offsets + width * np.arange(count)
    places = (begins[:, np.newaxis] + np.arange(width)).ravel()
    out = np.empty(len(octets) + rows.size, dtype=np.uint8)
    ours = np.ones(len(out), dtype=np.bool_)
    ours[places] = False
    out[places] = rows.ravel()
    out[ours] = np.frombuffer(octets, dtype=np.uint8)
    return out.tobytes()
