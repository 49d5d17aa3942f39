"""BER as it streams by: read in pieces, bounded, and written."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms.ber import (
    CONSTRUCTED,
    END,
    INTEGER,
    OCTET_STRING,
    SEGMENT,
    SEQUENCE,
    SET,
    BerError,
    Decoding,
    Input,
    OctetString,
    Parser,
    TrailingOctetsError,
    der,
    distinguished,
    element,
    header,
)

ONE = element(INTEGER, b"\x01")


def read(
    octets: bytes, decode: Callable[[Input], Decoding[None]], *, cuts: Iterable[int] = (), depth: int = 32
) -> None:
    """All octets through a parser, cut at these positions."""
    parser = Parser(decode, depth=depth)
    edges = [0, *sorted(cuts), len(octets)]
    for start, end in pairwise(edges):
        parser.feed(octets[start:end])
    parser.finish()


def string(octets: bytes, *, tag: int = OCTET_STRING, **options: Any) -> bytes:
    """The content of an octet string that is the whole message."""
    content = bytearray()

    def decode(source: Input) -> Decoding[None]:
        assert (yield from source.octet_string(tag, content.extend)) == len(content)

    read(octets, decode, **options)
    return bytes(content)


def whole(octets: bytes, *, most: int = 1_000_000, **options: Any) -> bytes:
    """The whole message as one element."""
    found = bytearray()

    def decode(source: Input) -> Decoding[None]:
        found.extend((yield from source.element(most=most)))

    read(octets, decode, **options)
    return bytes(found)


def indefinite(tag: int, *contents: bytes) -> bytes:
    return header(tag, None) + b"".join(contents) + END


@st.composite
def octet_strings(draw: st.DrawFn, tag: int = OCTET_STRING, depth: int = 3) -> tuple[bytes, bytes]:
    """Any encoding of an octet string, and its content."""
    shape = draw(st.sampled_from(["primitive", "definite", "indefinite"])) if depth else "primitive"
    if shape == "primitive":
        content = draw(st.binary(max_size=200))
        return element(tag, content), content
    inner = draw(st.lists(octet_strings(depth=depth - 1), max_size=3))
    wrap = element if shape == "definite" else indefinite
    return wrap(tag | CONSTRUCTED, *(encoded for encoded, _ in inner)), b"".join(content for _, content in inner)


@given(octet_strings(), st.data())
def test_an_octet_string_is_read_however_it_is_encoded_and_cut(
    strings: tuple[bytes, bytes], data: st.DataObject
) -> None:
    encoded, content = strings
    cuts = data.draw(st.lists(st.integers(0, len(encoded))))
    assert string(encoded, cuts=cuts) == content
    assert string(encoded, cuts=range(len(encoded))) == content
    assert whole(encoded, cuts=cuts) == element(OCTET_STRING, content)


@given(octet_strings(tag=0x80))
def test_an_implicit_tag_is_that_of_the_outermost_string_alone(strings: tuple[bytes, bytes]) -> None:
    encoded, content = strings
    assert string(encoded, tag=0x80) == content


@given(octet_strings(), st.data())
def test_every_octet_string_that_breaks_off_is_refused(strings: tuple[bytes, bytes], data: st.DataObject) -> None:
    encoded, _ = strings
    kept = data.draw(st.integers(0, len(encoded) - 1))
    for reader in (string, whole):
        with pytest.raises(BerError):
            reader(encoded[:kept], cuts=range(kept))
    with pytest.raises(TrailingOctetsError):
        string(encoded + b"\x00")


@pytest.mark.parametrize(("octets", "pieces"), [(0, 70_000), (100, 300_000)])
def test_an_octet_string_is_not_cut_smaller_than_products_do(octets: int, pieces: int) -> None:
    segment = element(OCTET_STRING, bytes(octets))
    assert string(indefinite(OCTET_STRING | CONSTRUCTED, *[segment] * 60_000)) == bytes(octets * 60_000)
    with pytest.raises(BerError, match="very small pieces"):
        string(indefinite(OCTET_STRING | CONSTRUCTED, *[segment] * pieces))


def test_a_piece_inside_an_octet_string_is_handed_on_without_a_copy() -> None:
    piece, handed = bytes(1 << 20), []

    def decode(source: Input) -> Decoding[None]:
        yield from source.octet_string(OCTET_STRING, handed.append)

    parser = Parser(decode)
    parser.feed(header(OCTET_STRING, 3 << 20))
    for _ in range(3):
        parser.feed(piece)
    parser.finish()
    assert all(came is piece for came in handed)
    assert len(handed) == 3


def test_octets_that_were_handed_on_are_not_held() -> None:
    def decode(source: Input) -> Decoding[None]:
        yield from source.octet_string(OCTET_STRING, len)

    parser = Parser(decode)
    parser.feed(header(OCTET_STRING | CONSTRUCTED, None))
    tracemalloc.start()
    for _ in range(64):
        parser.feed(element(OCTET_STRING, bytes(1 << 20)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parser.feed(END)
    parser.finish()
    assert peak < 8 << 20


def structure(source: Input) -> Decoding[None]:
    """A sequence of a set and of any elements."""
    yield from source.enter(SEQUENCE)
    yield from source.enter(SET)
    while (yield from source.next_tag()) is not None:
        assert (yield from source.element(most=10)) == ONE
    yield from source.leave()
    while (yield from source.next_tag()) == INTEGER:
        yield from source.element(most=3)
    yield from source.leave()


STRUCTURES = [
    outer(SEQUENCE, inner(SET, *[ONE] * count), *[ONE] * more)
    for outer in (element, indefinite)
    for inner in (element, indefinite)
    for count in (0, 2)
    for more in (0, 3)
]


@pytest.mark.parametrize("octets", STRUCTURES, ids=bytes.hex)
def test_a_structure_is_read_with_definite_and_indefinite_lengths_cut_anywhere(octets: bytes) -> None:
    read(octets, structure)
    read(octets, structure, cuts=range(len(octets)))
    for cut in range(len(octets)):
        read(octets, structure, cuts=[cut])
        with pytest.raises(BerError):
            read(octets[:cut], structure)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("31 00", "31 stands where 30 belongs"),
        ("30 03 31 02 02", "longer than the one around"),
        ("30 80 31 05 02 01 01 00 00", "an end stands"),
        ("30 04 31 80 02 01", "longer than the one around"),
        ("30 02 31 80 00 00", "an element is missing"),
        ("30 05 31 00 04 01 00", "nothing more belongs"),
        ("30 80 31 00 04 01 00", "04 stands where nothing more belongs"),
        ("30 00 00 00", "an element is missing"),
        ("30 80 31 00 00 01 00", "end of contents has a content"),
        ("30 80 31 1F 02 01", "breaks off"),
        ("1F 80", "tag number is above 30"),
        ("02 80", "indefinite length"),
        ("30 89 01 01 01 01 01 01 01 01 01", "a length is written in 9 octets"),
        ("30 FF", "a length is written in 127 octets"),
        ("30 88 FF FF FF FF FF FF FF FF 31 80", "breaks off"),
        ("30 80 31 0C 02 0A" + "01" * 10, "more than 10 octets"),
    ],
)
def test_what_is_no_structure_is_refused(octets: str, text: str) -> None:
    with pytest.raises(BerError, match=text):
        read(bytes.fromhex(octets), structure)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("02 01 00", "02 stands where a piece of an octet string belongs"),
        ("24 80 02 01 00 00 00", "02 stands where a piece"),
        ("24 02 00 00", "00 stands where a piece"),
        ("00 00", "00 stands where a piece"),
        ("24 03 24 80 00 00 00", "longer than the one around"),
        ("24 02 24 80 00 00", "an element is missing"),
        ("24 03 04 05 00 00 00", "longer than the one around"),
        ("24 80" * 33, "more than 32 elements"),
        ("24 80" * 100_000, "more than 32 elements"),
    ],
)
def test_what_is_no_octet_string_is_refused(octets: str, text: str) -> None:
    with pytest.raises(BerError, match=text):
        string(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("00 00", "an end stands"),
        ("30 02 00 00", "an end stands"),
        ("30 80 30 02 00 00 00 00", "an end stands"),
        ("30 80" * 33, "more than 32 elements"),
        ("30 02" * 32 + "30 00", "longer than|too many"),
        ("30 04 02 03 01 01", "longer than the one around"),
        ("30 01 30", "breaks off"),
        ("30 03 02 82 01", "breaks off"),
        ("30 81 C9" + "00" * 201, "more than 200 octets"),
        ("30 84 FF FF FF FF", "more than 200 octets"),
        ("30 80" + "02 01 00" * 100, "more than 200 octets"),
        ("30 80 04 82 01 00", "more than 200 octets"),
        ("24 03 02 01 00", "segment of another kind"),
        ("06 81 81" + "01" * 129, "identifier has more than 128 octets"),
        ("30 80 06 81 81" + "81" * 128 + "01 00 00", "identifier has more than 128 octets"),
        ("23 00", "cannot be joined"),
        ("23 02 03 00", "cannot be joined"),
        ("23 08 03 02 01 FE 03 02 00 FF", "cannot be joined"),
    ],
)
def test_what_is_no_element_within_the_bound_is_refused(octets: str, text: str) -> None:
    with pytest.raises(BerError, match=text):
        whole(bytes.fromhex(octets), most=200)


def test_depth_is_counted_from_the_outermost_element_open() -> None:
    nested = ONE
    for _ in range(4):
        nested = element(SEQUENCE, nested)
    assert whole(nested, depth=4) == nested
    with pytest.raises(BerError, match="too many"):
        whole(nested, depth=3)

    def inside(source: Input) -> Decoding[None]:
        yield from source.enter(SEQUENCE)
        yield from source.element(most=100)
        yield from source.leave()

    read(nested, inside, depth=4)
    with pytest.raises(BerError, match="too many"):
        read(nested, inside, depth=3)
    with pytest.raises(BerError, match="more than 0"):
        read(nested, inside, depth=0)


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> tuple[bytes, bytes]:
    """Any element in BER, and the same with definite lengths and primitive strings."""
    kind = draw(st.sampled_from(["octets", "bits", "text", "integer", "sequence"] if depth else ["integer"]))
    if kind == "octets":
        encoded, content = draw(octet_strings())
        return encoded, element(OCTET_STRING, content)
    if kind == "integer":
        number: bytes = core.Integer(draw(st.integers())).dump()
        return number, number
    if kind in {"bits", "text"}:
        tag, lead = (0x03, b"\x00") if kind == "bits" else (0x0C, b"")
        pieces = draw(st.lists(st.binary(max_size=9), min_size=1, max_size=3))
        wrap = draw(st.sampled_from([element, indefinite]))
        segments = (element(tag, lead, piece) for piece in pieces)
        return wrap(tag | CONSTRUCTED, *segments), element(tag, lead, *pieces)
    inner = draw(st.lists(elements(depth=depth - 1), max_size=4))
    wrap, tag = draw(st.sampled_from([element, indefinite])), draw(st.sampled_from([SEQUENCE, SET, 0xA0, 0xA3]))
    return wrap(tag, *(encoded for encoded, _ in inner)), element(tag, *(normal for _, normal in inner))


@given(elements())
def test_an_element_comes_out_with_definite_lengths_and_primitive_strings(encodings: tuple[bytes, bytes]) -> None:
    encoded, normal = encodings
    assert whole(encoded) == whole(encoded, cuts=range(len(encoded))) == normal
    assert der(normal) == normal


@pytest.mark.parametrize(
    "octets", [bytes.fromhex(text) for text in ("30 81 03 02 01 01", "30 84 00 00 00 00", "31 06 02 01 02 02 01 01")]
)
def test_what_is_definite_stays_as_it_is(octets: bytes) -> None:
    """A signature may stand over just these octets."""
    assert whole(octets) == octets
    assert whole(indefinite(SEQUENCE, octets)) == element(SEQUENCE, octets)


@pytest.mark.parametrize(
    ("octets", "written_anew"),
    [
        ("30 81 03 02 01 01", "30 03 02 01 01"),
        ("30 04 02 82 00 00", "30 02 02 00"),
        ("31 06 02 01 02 02 01 01", "31 06 02 01 01 02 01 02"),
        ("30 80 31 80 02 01 02 24 80 04 81 01 FF 00 00 00 00 00 00", "30 08 31 06 02 01 02 04 01 FF"),
    ],
)
def test_the_distinguished_form_has_short_lengths_and_sorted_sets(octets: str, written_anew: str) -> None:
    assert distinguished(bytes.fromhex(octets)) == bytes.fromhex(written_anew)


@given(elements())
def test_the_distinguished_form_does_not_depend_on_the_encoding(encodings: tuple[bytes, bytes]) -> None:
    encoded, normal = encodings
    assert distinguished(encoded) == distinguished(normal) == distinguished(distinguished(normal))


def test_the_normal_form_is_that_of_one_element() -> None:
    with pytest.raises(TrailingOctetsError):
        der(ONE + b"\x00")
    with pytest.raises(BerError, match="breaks off"):
        der(b"")


def test_a_parser_that_refused_does_not_accept_in_the_end() -> None:
    parser = Parser(structure)
    with pytest.raises(BerError):
        parser.feed(ONE)
    with pytest.raises(BerError):
        parser.finish()


@given(st.binary(max_size=60), st.booleans())
def test_arbitrary_octets_raise_nothing_but_a_ber_error(octets: bytes, octetwise: bool) -> None:
    for reader in (string, whole):
        with suppress(BerError):
            reader(octets, cuts=range(len(octets)) if octetwise else ())


@given(st.integers(0, 2**64 - 1))
def test_headers_are_as_short_as_der_wants_them(length: int) -> None:
    octets = header(SEQUENCE, length)
    assert len(octets) <= 10

    def decode(source: Input) -> Decoding[None]:
        assert (yield from source.enter(SEQUENCE)) == length

    read(octets, decode, cuts=range(len(octets)))
    if length < 10_000:
        assert octets + bytes(length) == core.Sequence(contents=bytes(length)).dump()


@given(st.lists(st.binary(max_size=SEGMENT + 100), max_size=6), st.sampled_from([OCTET_STRING, 0x80]))
def test_an_octet_string_is_written_with_its_length_or_in_segments(pieces: list[bytes], tag: int) -> None:
    content = b"".join(pieces)
    known = OctetString(len(content), tag)
    assert known.begin + b"".join(map(known.update, pieces)) + known.finish() == element(tag, content)
    streamed = OctetString(None, tag)
    encoded = streamed.begin + b"".join(map(streamed.update, pieces)) + streamed.finish()
    assert string(encoded, tag=tag) == content
    assert encoded.startswith(header(tag | CONSTRUCTED, None))


def test_segments_are_long_enough_to_be_cheap() -> None:
    streamed = OctetString(None)
    pieces = [streamed.update(bytes(1000)) for _ in range(1000)]
    assert {len(piece) for piece in pieces if piece} == {66 * 1000 + 5}


def test_a_length_that_was_said_is_kept() -> None:
    with pytest.raises(ValueError, match="1 octets more"):
        OctetString(3).update(b"1234")
    writer = OctetString(3)
    writer.update(b"12")
    with pytest.raises(ValueError, match="1 octets less"):
        writer.finish()


def test_a_tag_can_be_looked_at_before_its_element_is_read() -> None:
    seen = []

    def decode(source: Input) -> Decoding[None]:
        seen.append((yield from source.next_tag()))
        assert source.position == 0
        seen.append((yield from source.element(most=3)))

    read(ONE, decode, cuts=range(3))
    assert seen == [INTEGER, ONE]
