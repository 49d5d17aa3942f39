"""What stands inside the signature of an end response: looked at, put in, and read as fields (RFC 5024 5.3.13, 5.3.14).

RFC 5024 wants what is signed to be part of the signature; some leave it out, since the command says it all. With it put
in, a signature proves by itself what was signed, and stays as valid as it was. Nothing here verifies anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from oftp2.cms import ber
from oftp2.cms.ber import OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, BerError, Decoding, Input, Parser
from oftp2.cms.errors import SignatureError
from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.reasons import NegativeResponseReason

_EXPLICIT: Final = 0xA0
_SIGNED_DATA: Final = bytes((OBJECT_IDENTIFIER, 9)) + bytes.fromhex("2a864886f70d010702")
_MOST: Final = 65_535
"""Octets that EERPSIG and NERPSIG can have."""

_FIELDS: Final = (26, 8, 10, 25, 25)
"""DSN, DATE, TIME, DEST and ORIG; CREA is as long as the last."""


@dataclass(slots=True)
class _Parts:
    """SignedData, as far as it matters here: what stands before the content, the content, and all behind it."""

    head: list[bytes] = field(default_factory=list)
    kind: bytes = b""
    content: list[bytes] | None = None
    tail: list[bytes] = field(default_factory=list)


def content_of(signature: bytes) -> bytes | None:
    """What is signed, where it is part of the signature; DER or BER. Raises :class:`SignatureError`."""
    content = _parts(signature).content
    return None if content is None else b"".join(content)


def with_content(signature: bytes, content: bytes) -> bytes:
    """The same signature with ``content`` as a part of it. Raises :class:`SignatureError`."""
    parts = _parts(signature)
    encapsulated = ber.element(SEQUENCE, parts.kind, ber.element(_EXPLICIT, ber.element(OCTET_STRING, content)))
    signed = ber.element(SEQUENCE, *parts.head, encapsulated, *parts.tail)
    return ber.element(SEQUENCE, _SIGNED_DATA, ber.element(_EXPLICIT, signed))


def read_content(content: bytes, *, hash_octets: int) -> EndResponse:
    """The end response of which this is signed, with a hash of that length; what is not signed is not known.

    A NERP gets the reason 99 (unspecified). Raises :class:`SignatureError` for what no such content is.
    """
    fields, at = [], 0
    lengths = _FIELDS if len(content) == sum(_FIELDS) + hash_octets else (*_FIELDS, _FIELDS[-1])
    for length in lengths:
        fields.append(content[at : at + length])
        at += length
    if len(content) != at + hash_octets or not all(0x20 <= octet <= 0x7E for octet in content[:at]):
        raise SignatureError("what is signed is no end response")
    dataset, date, time, destination, originator, *creator = (each.decode("ascii").rstrip(" ") for each in fields)
    if not creator:
        return Eerp(
            dataset=dataset,
            date=date,
            time=time,
            destination=destination,
            originator=originator,
            hash=content[at:],
        )
    return Nerp(
        dataset=dataset,
        date=date,
        time=time,
        destination=destination,
        originator=originator,
        creator=creator[0],
        reason=NegativeResponseReason.UNSPECIFIED,
        hash=content[at:],
    )


def _parts(signature: bytes) -> _Parts:
    parts = _Parts()

    def decode(source: Input) -> Decoding[None]:
        yield from source.enter(SEQUENCE)
        if (yield from source.element(most=_MOST)) != _SIGNED_DATA:
            raise BerError("it is no signature")
        yield from source.enter(_EXPLICIT)
        yield from source.enter(SEQUENCE)
        for _ in ("version", "digest algorithms"):
            parts.head.append((yield from source.element(most=_MOST)))
        yield from source.enter(SEQUENCE)
        parts.kind = yield from source.element(most=_MOST)
        if (yield from source.next_tag()) is not None:
            parts.content = []
            yield from source.enter(_EXPLICIT)
            yield from source.octet_string(OCTET_STRING, parts.content.append)
            yield from source.leave()
        yield from source.leave()
        while (yield from source.next_tag()) is not None:
            parts.tail.append((yield from source.element(most=_MOST)))
        for _ in ("signed data", "content", "content info"):
            yield from source.leave()

    parser = Parser(decode)
    try:
        parser.feed(signature)
        parser.finish()
    except BerError as error:
        raise SignatureError(f"the signature cannot be read: {error}") from None
    return parts
