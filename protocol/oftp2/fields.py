"""The field formats of RFC 5024 section 5.3 as construct adapters.

Each is named with the RFC's own field name, so that an error says which field is wrong. Reading is lenient where real
systems are known to differ (``name`` takes any printable ASCII, texts are decoded with replacement); writing is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO, Final, Literal

from construct import Bytes, Computed, Construct, Default, ExprAdapter, GreedyBytes, If, Int16ub, Pass, Prefixed, this
from construct import Container as Context

from oftp2.errors import BufferSizeError, InvalidDataError, LocalProtocolError
from oftp2.values import MAX_TEXT

CARRIAGE_RETURNS: Final = (b"\x0d", b"\x8d", b"\x0a")
"""0D and 8D as the RFC has it; 0A because some real systems send it."""

FIRST_YEAR: Final = 80
"""The first of the two-digit years that are read as 19YY; OFTP is of 1986."""

UNSPECIFIED: Final = 99
"""What every list of reasons has for a reason that is not in the list."""

NO_COUNTER: Final = "0000"
"""The counter of a time stamp that has none."""

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A field as it lies in a buffer, for whoever shows octets instead of values: ``layouts.parts`` has those of a command."""

    label: str
    """The RFC's name; empty for reserved octets, which are named after their command."""
    shape: Literal["X", "9", "T", "U"]
    """Printable string, digits, UTF-8, binary, as section 5.3 has it."""
    size: int | None
    """Octets; None: the number before it says how many."""
    secret: bool = False
    """Whether it is shown to nobody."""


def _made_of(field: Construct, *made_of: Part) -> Construct:
    """The field, with a note of what it is made of in a buffer."""
    field.parts = made_of
    return field


def _field(part: Part, decode: Decoder, encode: Encoder) -> Construct:
    adapter = ExprAdapter(
        Bytes(part.size),
        decoder=lambda octets, _: decode(octets),
        encoder=lambda value, _: encode(value),
    )
    return _made_of(adapter, part)


def name(label: str, size: int, *, secret: bool = False) -> Construct:
    """X(n): a string, left justified and padded with blanks. A ``secret`` one is quoted in no error."""

    def decode(octets: bytes) -> str:
        if any(not 0x20 <= octet <= 0x7E for octet in octets):
            raise InvalidDataError(f"{label} holds octets outside the printable ASCII set")
        return octets.decode("ascii").rstrip(" ")

    def encode(value: str) -> bytes:
        if len(value) > size or any(not 0x20 <= ord(character) <= 0x7E for character in value):
            quoted = "" if secret else f", not {value!r}"
            raise LocalProtocolError(f"{label} takes up to {size} printable ASCII characters{quoted}")
        return value.encode("ascii").ljust(size, b" ")

    return _field(Part(label=label, shape="X", size=size, secret=secret), decode, encode)


def number(label: str, size: int, *, beside_secret: bool = False) -> Construct:
    """9(n): a number, right justified and padded with zeros.

    One ``beside_secret`` is quoted in no error: in a command that is out of place it may hold a piece of the secret.
    """

    def decode(octets: bytes) -> int:
        return int(_only_digits(label, octets, quote=not beside_secret))

    def encode(value: int) -> bytes:
        if not 0 <= value < 10**size:
            raise LocalProtocolError(f"{label} takes a number of up to {size} digits, not {value}")
        return b"%0*d" % (size, value)

    return _field(Part(label=label, shape="9", size=size), decode, encode)


def digits(label: str, size: int) -> Construct:
    """9(n) that is read as a text of digits: a date or a time stamp."""

    def decode(octets: bytes) -> str:
        return _only_digits(label, octets).decode("ascii")

    def encode(value: str) -> bytes:
        if len(value) != size or not (value.isascii() and value.isdigit()):
            raise LocalProtocolError(f"{label} takes exactly {size} digits, not {value!r}")
        return value.encode("ascii")

    return _field(Part(label=label, shape="9", size=size), decode, encode)


def short_date(label: str) -> Construct:
    """YYMMDD of RFC 2204, for us CCYYMMDD: 80 to 99 are read as 19YY, 00 to 79 as 20YY, and the century is not written."""
    stamp = digits(label, 6)
    return _made_of(
        ExprAdapter(
            stamp,
            decoder=lambda date, _: ("19" if int(date[:2]) >= FIRST_YEAR else "20") + date,
            encoder=lambda date, _: date[2:],
        ),
        *stamp.parts,
    )


def short_time(label: str) -> Construct:
    """HHMMSS of RFC 2204, for us HHMMSScccc: the counter is read as 0000, and not written."""
    stamp = digits(label, 6)
    return _made_of(
        ExprAdapter(
            stamp,
            decoder=lambda time, _: time + NO_COUNTER,
            encoder=lambda time, _: time[: -len(NO_COUNTER)],
        ),
        *stamp.parts,
    )


def code(label: str, size: int, meanings: type[Enum], listed: Container[int] = range(100)) -> Construct:
    """F 9(n): one of the listed numbers. One that this layout does not list is written as 99, unspecified."""

    def decode(octets: bytes) -> Enum:
        number = int(_only_digits(label, octets))
        try:
            return meanings(number)
        except ValueError:
            raise InvalidDataError(f"{label} has no value {number}") from None

    def encode(value: Enum) -> bytes:
        return b"%0*d" % (size, value.value if value.value in listed else UNSPECIFIED)

    return _field(Part(label=label, shape="9", size=size), decode, encode)


def choice(label: str, meanings: type[Enum]) -> Construct:
    """F X(1): one of the listed letters."""

    def decode(octets: bytes) -> Enum:
        try:
            return meanings(octets.decode("latin-1"))
        except ValueError:
            raise InvalidDataError(f"{label} has no value {octets!r}") from None

    def encode(value: Enum) -> bytes:
        return str(value.value).encode("ascii")

    return _field(Part(label=label, shape="X", size=1), decode, encode)


def indicator(label: str) -> Construct:
    """F X(1): Y or N."""

    def decode(octets: bytes) -> bool:
        if octets not in {b"Y", b"N"}:
            raise InvalidDataError(f"{label} is Y or N, not {octets!r}")
        return octets == b"Y"

    def encode(value: bool) -> bytes:  # noqa: FBT001 - the value of the field, not a switch
        return b"Y" if value else b"N"

    return _field(Part(label=label, shape="X", size=1), decode, encode)


def reserved(size: int) -> Construct:
    """Written as blanks, ignored when read."""
    blanks = Default(ExprAdapter(Bytes(size), lambda *_: None, lambda *_: b" " * size), None)
    return _made_of(blanks, Part(label="", shape="X", size=size))


def literal(label: str, octets: bytes) -> Construct:
    """The same octets in every command."""

    def decode(read: bytes) -> None:
        if read != octets:
            raise InvalidDataError(f"{label} is {read!r}, not {octets!r}")

    part = Part(label=label, shape="X", size=len(octets))
    return _made_of(Default(_field(part, decode, lambda _: octets), None), part)


def carriage_return(label: str) -> Construct:
    """X(1): 0D or 8D, and 0A from those who send it."""

    def decode(octets: bytes) -> None:
        if octets not in CARRIAGE_RETURNS:
            raise InvalidDataError(f"{label} is {octets!r}, not a carriage return")

    part = Part(label=label, shape="U", size=1)
    return _made_of(Default(_field(part, decode, lambda _: b"\r"), None), part)


def text(label: str) -> Construct:
    """9(3) and T(n) at the end of a command: a text of UTF-8 with its length in octets.

    Read as well when the length counts characters, as one real system has it; what is no UTF-8 is replaced, not refused.
    """

    def decode(octets: bytes) -> str:
        size, body = _counted(label, octets)
        if len(body) != size and len(_decode_text(body)) != size:
            raise BufferSizeError(f"{label} announces {size} octets, {len(body)} are there")
        return _decode_text(body)

    def encode(value: str) -> bytes:
        octets = _encode_text(label, value)
        return b"%03d" % len(octets) + octets

    adapter = ExprAdapter(GreedyBytes, lambda octets, _: decode(octets), lambda value, _: encode(value))
    return _made_of(adapter, *_text_parts(label))


def inner_text(label: str) -> Construct:
    """The same within a command, where only the length says what comes next."""
    body = ExprAdapter(GreedyBytes, lambda octets, _: _decode_text(octets), lambda value, _: _encode_text(label, value))
    return _made_of(Prefixed(number(f"the length of {label}", 3), body), *_text_parts(label))


def closing_text(label: str, *, short: bool = False) -> Construct:
    """The text and the carriage return that end an ESID.

    Written in full, or in the ``short`` form of RFC 2204 that has no text. Either is read at any level, and without the
    carriage return too, because real systems end sessions in the form of another level; lengths as in ``text``.
    """

    def decode(octets: bytes) -> str:
        if len(octets) <= 1:
            size, body, rest = 0, b"", octets
        else:
            size, body = _counted(label, octets)
            if len(body) < size:
                raise BufferSizeError(f"{label} announces {size} octets, {len(body)} are there")
            bare = body[:-1] if body[-1:] in CARRIAGE_RETURNS else body
            end = len(bare) if len(_decode_text(bare)) == size else size
            body, rest = body[:end], body[end:]
        if rest and rest not in CARRIAGE_RETURNS:
            raise BufferSizeError(f"{label} is followed by {len(rest)} octets that are no carriage return")
        return _decode_text(body)

    def encode(value: str) -> bytes:
        octets = _encode_text(label, value)
        return b"\r" if short else b"%03d" % len(octets) + octets + b"\r"

    adapter = ExprAdapter(GreedyBytes, lambda octets, _: decode(octets), lambda value, _: encode(value))
    return _made_of(adapter, *(() if short else _text_parts(label)), Part(label=f"{label[:4]}CR", shape="U", size=1))


def binary(label: str, *, secret: bool = False) -> Construct:
    """U(2) and U(n): octets with their length."""

    def encode(value: bytes) -> bytes:
        if len(value) > 0xFFFF:
            raise LocalProtocolError(f"{label} takes up to 65535 octets, not {len(value)}")
        return value

    body = ExprAdapter(GreedyBytes, lambda octets, _: octets, lambda value, _: encode(value))
    length = Part(label="AUCHCHLL" if label == "AUCHCHAL" else f"{label}L", shape="U", size=2)
    return _made_of(Prefixed(Int16ub, body), length, Part(label=label, shape="U", size=None, secret=secret))


def secret_octets(label: str, size: int) -> Construct:
    """U(n): so many octets that are shown to nobody."""
    return _made_of(Bytes(size), Part(label=label, shape="U", size=size, secret=True))


def absent(label: str, *, means: Any) -> Construct:
    """A field that this layout lacks: read as what that means, and nothing else can be written."""

    def check(given: Any) -> None:
        if given != means:
            raise LocalProtocolError(f"{label} needs release level 5: what it asks for cannot be said at a lower one")

    return _made_of(ExprAdapter(Pass, lambda *_: means, lambda given, _: check(given)))


def dropped() -> Construct:
    """A text for people that this layout lacks: read as empty, and left out when written."""
    return _made_of(ExprAdapter(Pass, lambda *_: "", lambda *_: None))


def same_as(field: str) -> Construct:
    """A number that this layout lacks: read as another field of the command, and left out when written."""
    return _made_of(Computed(this[field]))


def omissible(field: Construct) -> Construct:
    """A field that some leave out at the end of a command; then it is empty. Always written."""

    def is_there(context: Context) -> bool:
        return context["_building"] or _has_more(context["_io"])

    there = ExprAdapter(If(is_there, field), lambda value, _: value or b"", lambda value, _: value)
    return _made_of(there, *field.parts)


def _text_parts(label: str) -> tuple[Part, Part]:
    """SFIDDESCL and SFIDDESC, SFNAREASL and SFNAREAST: the length takes the place of a T at the end."""
    length = f"{label[:-1]}L" if label.endswith("REAST") else f"{label}L"
    return Part(label=length, shape="9", size=3), Part(label=label, shape="T", size=None)


def _counted(label: str, octets: bytes) -> tuple[int, bytes]:
    """The announced length of a text and all that follows it."""
    if len(octets) < 3:
        raise BufferSizeError(f"{label} has no length")
    return int(_only_digits(f"the length of {label}", octets[:3])), octets[3:]


def _has_more(stream: BinaryIO) -> bool:
    at = stream.tell()
    more = bool(stream.read(1))
    stream.seek(at)
    return more


def _decode_text(octets: bytes) -> str:
    return octets.decode("utf-8", errors="replace")


def _encode_text(label: str, value: str) -> bytes:
    octets = value.encode("utf-8", errors="replace")
    if len(octets) > MAX_TEXT:
        raise LocalProtocolError(f"{label} takes up to {MAX_TEXT} octets of UTF-8, not {len(octets)}")
    return octets


def _only_digits(label: str, octets: bytes, *, quote: bool = True) -> bytes:
    if not octets.isdigit():
        raise InvalidDataError(f"{label} is {octets!r}, not a number" if quote else f"{label} is not a number")
    return octets
