"""Layers of secured files as others write them, and octets cut into pieces."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

from asn1crypto import cms
from hypothesis import strategies as st

from oftp2.cms import ber
from oftp2.cms.stage import Stage, chain

OCTET_STRINGS = frozenset({0x04, 0x80})
"""OCTET STRING, and the [0] IMPLICIT one of encryptedContent. Names of certificates are inside, and stay as they are."""


def run(stages: Sequence[Stage] | Stage, pieces: Iterable[bytes] | bytes) -> bytes:
    """All that comes out of stages."""
    whole = [pieces] if isinstance(pieces, bytes) else pieces
    return b"".join(chain(stages if isinstance(stages, Sequence) else [stages], whole))


def cut(octets: bytes, lengths: Sequence[int]) -> Iterator[bytes]:
    """The octets in pieces of these lengths, over and over."""
    at = turn = 0
    while at < len(octets):
        length = lengths[turn % len(lengths)]
        yield octets[at : at + length]
        at, turn = at + length, turn + 1


LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=5)
"""For :func:`cut`."""


def compressed_data(content: bytes, **changed: object) -> bytes:
    """A ContentInfo with CompressedData by asn1crypto, its content by zlib. ``stream`` takes the place of zlib's."""
    stream = changed.pop("stream", None) or zlib.compress(content)
    info = {
        "version": "v0",
        "compression_algorithm": {"algorithm": "zlib"},
        "encap_content_info": {"content_type": "data", "content": stream},
    }
    made: bytes = cms.ContentInfo(
        {"content_type": "compressed_data", "content": cms.CompressedData({**info, **changed})}
    ).dump()
    return made


def loosened(der: bytes, segment: int = 5) -> bytes:
    """The same in BER: indefinite lengths everywhere, long octet strings constructed, and these nested."""
    out, at = [], 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        content, at = der[at : at + length], at + length
        if tag in OCTET_STRINGS and length > 16:
            inner = [ber.element(ber.OCTET_STRING, content[:segment]), ber.element(ber.OCTET_STRING)]
            nested = ber.element(0x24, ber.element(0x24, ber.element(ber.OCTET_STRING, content[segment:])))
            out.append(ber.header(tag | 0x20, None) + b"".join(inner) + nested + ber.END)
        elif tag & 0x20:
            out.append(ber.header(tag, None) + loosened(content, segment) + ber.END)
        else:
            out.append(ber.element(tag, content))
    return b"".join(out)


@st.composite
def damaged(draw: st.DrawFn, octets: bytes) -> bytes:
    """The same with a few changes: flipped bits, octets put in, taken out, doubled and moved, by themselves and in blocks."""
    changed = bytearray(octets)
    for _ in range(draw(st.integers(1, 3))):
        at, other = draw(st.integers(0, len(changed) - 1)), draw(st.integers(0, len(changed) - 1))
        length = draw(st.sampled_from([1, 2, 8, 16, 32, 64]))
        block = bytes(changed[at : at + length])
        match draw(st.sampled_from(["flip", "put in", "take out", "double", "swap"])):
            case "flip":
                changed[at] ^= 1 << draw(st.integers(0, 7))
            case "put in":
                changed[at:at] = draw(st.binary(min_size=1, max_size=length))
            case "take out" if length < len(changed):
                del changed[at : at + length]
            case "double":
                changed[other:other] = block
            case _:
                changed[at : at + length] = changed[other : other + length]
                changed[other : other + length] = block
    return bytes(changed)
