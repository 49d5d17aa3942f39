"""A connection as annotated octets: the form of ``fixtures/transcripts``, which ``fixtures/README.rst`` explains.

The octets of both directions go in, lines come out: a word for each command, its octets in hexadecimal digits, beside
them the names of its fields (RFC 5024 section 5.3, or RFC 2204 for the older levels). What nobody is to see is left out
and counted: the password, challenges and their answers, and what files hold. What cannot be read is shown as far as that
gives away nothing of it, with the reason; nothing that a peer writes raises an error here. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from oftp2 import codec
from oftp2.buffers import COMPRESSED, COUNT, END_OF_RECORD
from oftp2.commands import Auch, Aurp, Command, Data, Ssid
from oftp2.errors import RemoteProtocolError
from oftp2.fields import Part
from oftp2.framing import HEADER_SIZE, VERSION
from oftp2.layouts import COMMAND_OCTETS, parts
from oftp2.values import MAX_BUFFER_SIZE, Level, Role

LETTERS: Final = {Role.INITIATOR: "I", Role.RESPONDER: "R"}
PAUSE: Final = 1.0
"""Seconds of silence from which on a transcript says that there were some."""

MAX_RUNS: Final = 24
"""Lines that one Data Exchange Buffer gets; subrecords of one kind in a row are one line."""

MAX_BINARY: Final = 64
"""Octets of the longest hash that is shown; of a signature, its size."""

MAX_UNKNOWN: Final = 8
"""Octets that are shown of what is no command: enough to tell HTTP or TLS. In any SSID the password comes later."""

_PER_LINE: Final = 20
_COLUMN: Final = 62
_SECRETIVE: Final = frozenset({Ssid, Auch, Aurp})


class _Trust(Enum):
    """What may be shown of octets that cannot be read: the password may be in them, or a piece of it."""

    FRESH = "no SSID yet: the first octets, which no password can be in"
    KNOWN = "the SSID was whole: as far as fields can be told apart"
    TORN = "something secret may have been torn: nothing"


@dataclass(slots=True)
class _Direction:
    """What one side has written."""

    held: bytearray = field(default_factory=bytearray)
    """The beginning of an Exchange Buffer."""
    trust: _Trust = _Trust.FRESH
    broken: bool = False
    """The stream cannot be followed any more."""
    dropped: int = 0
    """Octets since it broke."""

    def unreadable(self, octets: bytes) -> Iterator[str]:
        """Octets that are no command."""
        yield from _unknown(octets, MAX_UNKNOWN if self.trust is not _Trust.TORN else 0)
        if self.trust is _Trust.FRESH:
            self.trust = _Trust.TORN


class Transcript:
    """One connection. ``codes`` has the SSIDCODE of each side once it is known.

    What is held is bounded: of each direction what is there of one Exchange Buffer, and the lines of one that may repeat.
    """

    def __init__(self) -> None:
        self.codes: dict[Role, str] = {}
        self._levels: dict[Role, int] = {}
        self._directions = {role: _Direction() for role in Role}
        self._last: list[str] = []
        self._times = 0
        self._now: float | None = None

    def connected(self, now: float) -> Iterator[str]:
        """The connection stands; ``now`` is in seconds of any clock, as everywhere here."""
        self._now = now
        yield "connect"

    def wrote(self, writer: Role, octets: bytes, now: float) -> Iterator[str]:
        """A side has written octets, in pieces of any size. To be iterated to its end."""
        yield from self._pause(now)
        direction = self._directions[writer]
        if direction.broken:
            direction.dropped += len(octets)
            return
        direction.held += octets
        at = 0
        while (size := _size(direction.held, at)) is not None:
            if not size:
                yield from self._unfollowed(writer, bytes(direction.held[at:]))
                at = len(direction.held)
                break
            yield from self._entry(self._command(writer, bytes(direction.held[at : at + size])))
            at += size
        del direction.held[:at]

    def rest(self) -> Iterator[str]:
        """The lines that were held back because the same might come again."""
        if self._last:
            first, *others = self._last
            yield f"{first} *{self._times}" if self._times > 1 else first
            yield from others
        self._last = []

    def closed(self, now: float) -> Iterator[str]:
        """The connection is gone: what never became whole, and the end."""
        yield from self._pause(now)
        yield from self.rest()
        for writer, direction in self._directions.items():
            if direction.held:
                yield from self._incomplete(writer, bytes(direction.held))
            if direction.dropped:
                yield f"# {direction.dropped} more octets of {LETTERS[writer]} were not followed"
        yield "close"

    def _pause(self, now: float) -> Iterator[str]:
        waited = 0.0 if self._now is None else now - self._now
        if waited >= PAUSE:
            yield from self.rest()
            yield f"wait {waited:.1f}"
        self._now = now

    def _entry(self, lines: list[str]) -> Iterator[str]:
        """An entry, when it is known that no further one is the same."""
        if lines == self._last:
            self._times += 1
            return
        yield from self.rest()
        self._last, self._times = lines, 1

    # --- what one Exchange Buffer looks like --------------------------------------------------------------------

    def _command(self, writer: Role, framed: bytes) -> list[str]:
        buffer = framed[HEADER_SIZE:]
        direction = self._directions[writer]
        kind = COMMAND_OCTETS.get(buffer[0])
        header = _octets(framed[:HEADER_SIZE], _header_comment(len(framed)))
        if kind is None:
            return [f"{LETTERS[writer]}> unknown", *header, *direction.unreadable(buffer)]
        head = [f"{LETTERS[writer]}> {kind.__name__.upper()}", *header]
        level = self._level_of(kind, buffer)
        if kind is Data:
            if direction.trust is not _Trust.KNOWN:
                return [*head, *direction.unreadable(buffer)]
            return [*head, *_field(parts(kind, level)[0], buffer[:1]), *_data(buffer[1:])]
        try:
            command = codec.decode(buffer, level)
        except RemoteProtocolError as error:
            # Errors quote what they are about, but for what stands in an SSID.
            quotable = kind is Ssid or direction.trust is _Trust.KNOWN
            reason = _printable(str(error)) if quotable else "it is no such command"
            return [*head, f"    # cannot be read: {reason}", *self._spoiled(writer, kind, buffer)]
        if isinstance(command, Ssid):
            self.codes.setdefault(writer, command.code)
            self._levels.setdefault(writer, command.level)
            direction.trust = _Trust.KNOWN
        return [*head, *_fields(buffer, parts(kind, level))]

    def _spoiled(self, writer: Role, kind: type[Command], buffer: bytes) -> Iterator[str]:
        """A command that breaks its own form."""
        direction = self._directions[writer]
        if kind is Ssid and _in_place(buffer):
            direction.trust = _Trust.KNOWN
        elif kind in _SECRETIVE:
            direction.trust = _Trust.TORN
        if direction.trust is _Trust.KNOWN:
            yield from _fields(buffer, parts(kind, self._level_of(kind, buffer)))
        else:
            yield from direction.unreadable(buffer)

    def _level_of(self, kind: type[Command], buffer: bytes) -> Level:
        """The level by which a command is laid out: the lower one of both SSIDs; that of an SSID is its own."""
        said = [buffer[1] - ord("0")] if kind is Ssid and len(buffer) > 1 else list(self._levels.values())
        return Level.up_to(min(said, default=max(Level)))

    def _unfollowed(self, writer: Role, octets: bytes) -> Iterator[str]:
        """The stream leaves the form of section 8."""
        direction = self._directions[writer]
        direction.broken = True
        yield from self.rest()
        yield f"{LETTERS[writer]}> unknown"
        what = "no Exchange Buffer is so long" if octets[0] == VERSION else "no stream header begins so"
        yield f"    # {what}: what this side writes from here on cannot be followed"
        yield from direction.unreadable(octets)

    def _incomplete(self, writer: Role, octets: bytes) -> Iterator[str]:
        """An Exchange Buffer of which not all came."""
        buffer = octets[HEADER_SIZE:]
        kind = COMMAND_OCTETS.get(buffer[0]) if buffer else None
        yield f"{LETTERS[writer]}> {kind.__name__.upper() if kind else 'unknown'}"
        yield "    # the connection ended before the rest of it came"
        yield from _octets(octets[:HEADER_SIZE], "stream header")
        if kind is Data:
            yield from _hidden(len(buffer), "DATABUF")
        elif kind is not None:
            yield from self._spoiled(writer, kind, buffer)
        else:
            yield from self._directions[writer].unreadable(buffer)


def _size(held: bytearray, at: int) -> int | None:
    """The size of the framed buffer that begins at ``at``; None when it is not whole yet, 0 when there is none."""
    there = len(held) - at
    if there and held[at] != VERSION:
        return 0
    if there < HEADER_SIZE:
        return None
    size = int.from_bytes(held[at + 1 : at + HEADER_SIZE], "big")
    if not HEADER_SIZE < size <= MAX_BUFFER_SIZE + HEADER_SIZE:
        return 0
    return size if there >= size else None


def _fields(buffer: bytes, fields: Sequence[Part]) -> Iterator[str]:
    """The octets of a command, field by field; some are left out at its end, and one that is broken may go on."""
    at = announced = 0
    for part in fields:
        if len(buffer) - at == 1 and fields[-1].label.endswith("CR"):
            # An ESID of the older levels: nothing stands between its reason and its end.
            part = fields[-1]  # noqa: PLW2901 - it takes the place of what is not there
        piece = buffer[at : at + (announced if part.size is None else part.size)]
        at += len(piece)
        announced = _number(part, piece)
        yield from _field(part, piece)
    yield from _unknown(buffer[at:], MAX_UNKNOWN)


def _number(part: Part, piece: bytes) -> int:
    """How many octets the field announces, if it is a length."""
    if part.shape == "U":
        return int.from_bytes(piece, "big") if part.size == 2 else 0
    return int(piece) if piece.isdigit() and part.size == 3 else 0


def _field(part: Part, piece: bytes) -> Iterator[str]:
    if not piece:
        return
    if part.secret:
        yield from _hidden(len(piece), part.label)
    elif part.shape == "U":
        if len(piece) > MAX_BINARY:
            yield from _hidden(len(piece), f"{part.label} {len(piece)} octets")
        else:
            yield from _octets(piece, f"{part.label} {int.from_bytes(piece, 'big')}" if part.size == 2 else part.label)
    else:
        text = piece.decode("utf-8" if part.shape == "T" else "latin-1", "replace")
        yield from _octets(piece, f"{part.label} {text.rstrip(' ')!r}")


def _data(payload: bytes) -> Iterator[str]:
    """Subrecords of one kind in a row are one line; of their octets only the headers are there."""
    at, note = 0, "the rest of it"
    for _ in range(MAX_RUNS):
        if at == len(payload):
            return
        header = payload[at]
        compressed = bool(header & COMPRESSED)
        size = 2 if compressed else 1 + (header & COUNT)
        alike = payload[at::size]
        times = min(len(alike) - len(alike.lstrip(alike[:1])), (len(payload) - at) // size)
        if not times:
            note = "a subrecord goes beyond its end"
            break
        notes = f"{', compressed' if compressed else ''}{', end of record' if header & END_OF_RECORD else ''}"
        one = f"{header:02x}{f' xx*{size - 1}' if size > 1 else ''}"
        what = f"{times} subrecords" if times > 1 else "subrecord"
        yield _line(f"({one})*{times}" if times > 1 else one, f"DATABUF {what} of {header & COUNT} octets{notes}")
        at += times * size
    yield from _hidden(len(payload) - at, f"DATABUF {len(payload) - at} octets, {note}")


def _in_place(buffer: bytes) -> bool:
    """Whether the numbers behind the password of an SSID are where they belong, and so the password is."""
    return buffer[35:40].isdigit() and buffer[44:47].isdigit()


def _unknown(octets: bytes, shown: int) -> Iterator[str]:
    """Octets of which nothing is known."""
    seen = octets[:shown]
    yield from _octets(seen, f"unknown {seen.decode('latin-1')!r}")
    yield from _hidden(len(octets) - len(seen), "unknown, not shown")


def _header_comment(size: int) -> str:
    return f"stream header: version 1, no flags, {size} octets with itself"


def _hidden(octets: int, comment: str) -> Iterator[str]:
    if octets:
        yield _line(f"xx*{octets}", comment)


def _octets(octets: bytes, comment: str) -> Iterator[str]:
    for at in range(0, len(octets), _PER_LINE):
        digits = octets[at : at + _PER_LINE].hex(" ")
        yield _line(digits, comment) if not at else f"    {digits}"


def _line(digits: str, comment: str) -> str:
    return f"    {digits:<{_COLUMN}}# {comment}"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
