from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oftp2 import buffers
from oftp2.buffers import Encoded
from oftp2.errors import BufferSizeError, LocalProtocolError
from oftp2.framing import FrameReader
from oftp2.values import MAX_BUFFER_SIZE, MIN_BUFFER_SIZE
from tests.oftp2 import rfc5024

EDGE_SIZES = (128, 129, 130, 131, 190, 191, 192, 193, 194, 255, 256, 257, 1_024, 65_535, 99_935, 99_998, 99_999)

sizes = st.one_of(st.sampled_from(EDGE_SIZES), st.integers(MIN_BUFFER_SIZE, 1_000))


def reference_encode(octets: bytes, buffer_size: int, *, last: bool) -> list[bytes]:
    """RFC 5024 section 7, octet by octet: Data Exchange Buffers without stream headers."""
    found: list[bytearray] = []
    headers: list[tuple[bytearray, int]] = []
    at = 0
    while at < len(octets) or not found:
        if not found or buffer_size - len(found[-1]) < 2:
            found.append(bytearray(b"D"))
        subrecord = octets[at : at + min(63, buffer_size - len(found[-1]) - 1)]
        headers.append((found[-1], len(found[-1])))
        found[-1] += bytes([len(subrecord)]) + subrecord
        at += len(subrecord)
    if last:
        buffer, position = headers[-1]
        buffer[position] |= 0x80
    return [bytes(buffer) for buffer in found]


@dataclass(frozen=True)
class Read:
    """What a buffer holds, in values that compare."""

    octets: bytes
    ends: tuple[int, ...] = ()
    empty: int = 0
    compressed: int = 0


def read(payload: bytes | bytearray | memoryview) -> Read:
    decoded = buffers.decode(payload)
    return Read(bytes(decoded.octets), tuple(decoded.ends.tolist()), decoded.empty, decoded.compressed)


def reference_decode(payload: bytes) -> Read | None:
    """Section 7.2, octet by octet; None for a subrecord beyond the end."""
    octets = bytearray()
    ends: list[int] = []
    at = empty = compressed = 0
    while at < len(payload):
        header = payload[at]
        count = header % 64
        if header & 0x40:
            compressed += 1
            if at + 1 >= len(payload):
                return None
            octets += payload[at + 1 : at + 2] * count
            at += 2
        else:
            if at + 1 + count > len(payload):
                return None
            octets += payload[at + 1 : at + 1 + count]
            at += 1 + count
        if header >= 0x80:
            ends.append(len(octets))
        empty += count == 0
    return Read(bytes(octets), tuple(ends), empty, compressed)


def exchange_buffers(*written: Encoded) -> list[bytes]:
    """The Exchange Buffers without their stream headers; what was said of their bounds must be so."""
    assert all(bytes(each.between(0, len(each))) == bytes(each.stream) for each in written)
    reader = FrameReader()
    for each in written:
        assert b"".join(each.between(n, n + 1) for n in range(len(each))) == each.stream
    reader.feed(b"".join(each.stream for each in written))
    found = []
    while (buffer := reader.take()) is not None:
        found.append(buffer)
    assert not reader.held
    return found


def subrecord(header: int, octets: bytes) -> bytes:
    if header & 0x40:
        return bytes([header]) + (octets or b"\0")[:1]
    return bytes([header & 0xC0 | len(octets[:63])]) + octets[:63]


subrecords = st.one_of(
    st.builds(subrecord, st.integers(0, 255), st.binary(max_size=63)),
    st.just(b"\x3f" + bytes(range(63))),
    st.just(b"\0"),
    st.just(b"\x80"),
)


@pytest.mark.rfc("7.1", "7.2")
@given(st.binary(max_size=2_000), sizes, st.booleans())
@example(b"", 128, True)
@example(bytes(63), 128, True)
@example(bytes(125), 128, True)
@example(bytes(126), 128, False)
def test_buffers_are_those_of_a_naive_encoder(octets: bytes, size: int, last: bool) -> None:
    if not octets and not last:
        return
    assert exchange_buffers(buffers.encode(octets, size, last=last)) == reference_encode(octets, size, last=last)


@pytest.mark.rfc("7.3")
@pytest.mark.parametrize("size", [*range(128, 322), *EDGE_SIZES[12:]])
def test_every_buffer_size_is_filled_and_never_exceeded(size: int) -> None:
    each = buffers.capacity(size)
    for count in {0, 1, 62, 63, 64, each - 1, each, each + 1, 2 * each, 2 * each + 1}:
        octets = bytes(index % 251 for index in range(count))
        written = exchange_buffers(buffers.encode(octets, size, last=True))
        assert written == reference_encode(octets, size, last=True)
        assert len(written) == max(-(-count // each), 1)
        assert all(len(buffer) <= size for buffer in written)
        # One octet may stay free: a header alone carries nothing.
        assert all(len(buffer) >= size - 1 for buffer in written[:-1])
        parts = [read(buffer[1:]) for buffer in written]
        assert b"".join(part.octets for part in parts) == octets
        assert [part.ends for part in parts] == [()] * (len(parts) - 1) + [(len(parts[-1].octets),)]


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Octets with runs in them, and where records end."""
    parts = st.one_of(
        st.binary(max_size=200), st.builds(lambda one, n: one * n, st.binary(max_size=1), st.integers(0, 300))
    )
    octets = b"".join(draw(st.lists(parts, max_size=12)))
    return octets, sorted(draw(st.lists(st.integers(0, len(octets)), max_size=12)))


@pytest.mark.rfc("7.2")
@given(files(), sizes, st.booleans(), st.booleans())
@example((b"", [0, 0]), 128, False, True)
@example((b"a" * 200, [0, 0, 3, 3, 100, 200, 200]), 128, True, True)
@example((b"ab" * 100, [200]), 128, True, False)
def test_records_and_runs_come_back_as_they_were(
    file: tuple[bytes, list[int]], size: int, last: bool, compress: bool
) -> None:
    octets, ends = file
    if not octets and not ends and not last:
        return
    written = exchange_buffers(buffers.encode(octets, size, ends=ends, last=last, compress=compress))
    assert all(len(buffer) <= size for buffer in written)
    parts = [reference_decode(buffer[1:]) for buffer in written]
    found, at, ended = b"", 0, []
    for part in parts:
        assert part is not None
        found += part.octets
        ended += [at + end for end in part.ends]
        at += len(part.octets)
        assert compress or not part.compressed
    assert found == octets
    assert ended == ends + ([len(octets)] if last and (not ends or ends[-1] < len(octets)) else [])
    assert [read(buffer[1:]) for buffer in written] == parts


@pytest.mark.parametrize("ends", [[-1], [4], [2, 1]])
def test_records_that_end_elsewhere_are_not_written(ends: list[int]) -> None:
    with pytest.raises(LocalProtocolError, match="in order"):
        buffers.encode(b"abc", 128, ends=ends, last=True)


def test_runs_are_compressed_where_that_is_worth_it() -> None:
    runs, noise = bytes(63) * 1_000, np.random.default_rng(1).bytes(63_000)
    assert len(buffers.encode(runs, 1_024, last=True, compress=True).stream) < 63_000 // 28
    for octets, compress in [(runs, False), (noise, True)]:
        written = buffers.encode(octets, 1_024, last=True, compress=compress)
        assert written.stream == buffers.encode(octets, 1_024, last=True).stream


def test_buffers_of_one_length_are_read_at_once() -> None:
    octets = bytes(index % 251 for index in range(1_000))
    for ends in ([], [125, 125, 600]):
        written = exchange_buffers(buffers.encode(octets, 193, ends=ends, last=False))
        alike = [buffer for buffer in written if len(buffer) == len(written[0])]
        assert len(alike) > 1
        rows = np.frombuffer(b"".join(alike), dtype=np.uint8).reshape(len(alike), -1)[:, 1:]
        decoded = buffers.decode_rows(rows)
        parts = [read(buffer[1:]) for buffer in alike]
        assert decoded.octets == b"".join(part.octets for part in parts)
        starts = np.cumsum([0, *(len(part.octets) for part in parts)]).tolist()
        assert decoded.ends.tolist() == [
            end + start for part, start in zip(parts, starts, strict=False) for end in part.ends
        ]


@given(st.lists(subrecords, max_size=60))
@example([b"\x3f" + bytes(63)] * 3 + [b"\0"] * 40)
@example([b"\0"] * 5 + [b"\x01x"] + [b"\0"] * 5)
@example([b"\0"] * 5 + [b"\x05" + bytes(5)] + [b"\0"] * 5)
@example([b"\x41\0", b"\0"])
@example([b"\x3f" + bytes(63)] * 2 + [b"\xbf" + bytes(63)])
def test_valid_buffers_are_read_as_by_a_naive_decoder(parts: list[bytes]) -> None:
    payload = b"".join(parts)
    assert read(payload) == reference_decode(payload)
    assert read(memoryview(payload)) == reference_decode(payload)


@given(st.binary(max_size=400))
@example(b"\x40")
@example(b"\x3f" + bytes(62))
@example(b"\x00\x02\x00")
@example(b"\x02\x00")
@example(b"\x3f" + bytes(63) + b"\x3f" + bytes(10))
def test_arbitrary_octets_are_read_as_by_a_naive_decoder_or_refused(payload: bytes) -> None:
    expected = reference_decode(payload)
    if expected is None:
        with pytest.raises(BufferSizeError, match="beyond"):
            buffers.decode(payload)
    else:
        assert read(payload) == expected


def test_a_buffer_without_subrecords_holds_nothing() -> None:
    assert read(b"") == Read(b"")


@pytest.mark.rfc("7.3")
def test_an_empty_file_is_one_buffer_with_an_empty_last_subrecord() -> None:
    assert exchange_buffers(buffers.encode(b"", 128, last=True)) == [b"D\x80"]
    assert read(b"\x80") == Read(b"", ends=(0,), empty=1)


def test_nothing_is_no_data_unless_it_is_the_end() -> None:
    with pytest.raises(LocalProtocolError):
        buffers.encode(b"", 128, last=False)


def test_input_may_be_any_view_of_octets_and_is_left_alone() -> None:
    octets = bytearray(b"abc" * 100)
    once = buffers.encode(memoryview(octets), 128, last=True)
    assert once.stream == buffers.encode(bytes(octets), 128, last=True).stream
    assert octets == b"abc" * 100


def test_a_file_in_parts_is_a_file() -> None:
    octets = bytes(range(256)) * 4
    pieces = [
        buffers.encode(octets[:300], 128, last=False),
        buffers.encode(octets[300:301], 128, last=False),
        buffers.encode(octets[301:], 128, last=True),
    ]
    parts = [read(buffer[1:]) for buffer in exchange_buffers(*pieces)]
    assert b"".join(part.octets for part in parts) == octets
    assert sum(len(part.ends) for part in parts) == 1


def test_compressed_subrecords_expand_to_at_most_32_times_their_size() -> None:
    expanded = read(b"\x7fx" * 49_999)
    assert expanded == Read(b"x" * 63 * 49_999, compressed=49_999)
    assert len(expanded.octets) < 32 * MAX_BUFFER_SIZE


HOSTILE = {
    "zero headers": bytes(99_998),
    "zero headers before an octet": bytes(99_996) + b"\x01x",
    "single octets": b"\x01x" * 49_999,
    "compressed nothing": b"\x40x" * 49_999,
    "compressed single octets": b"\x41x" * 49_999,
    "empty records": b"\x80" * 99_998,
    "zeros of data behind zero headers": bytes(50_000) + b"\x3f" + bytes(49_997),
}


@pytest.mark.interop(2)
@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_buffers_are_read_as_any_other(payload: bytes) -> None:
    assert read(payload) == reference_decode(payload)


@pytest.mark.rfc("7.1", "7.2", "7.3", "8.2")
def test_the_example_of_appendix_a_is_read_and_written() -> None:
    sent = appendix_a()
    parts = [read(buffer[1:]) for buffer in sent]
    text = b"".join(part.octets for part in parts)
    assert text.startswith(b"It is an ancient Mariner,\r\nAnd he stoppeth one of three.\r\n")
    assert text.endswith(b"Below the light-house top.\r\n")
    assert sum(len(part.ends) for part in parts) == 1
    (buffer,) = sent
    assert exchange_buffers(buffers.encode(text, len(buffer), last=True)) == [buffer]


def appendix_a() -> list[bytes]:
    """The Exchange Buffers of the RFC's example, from its lines of hexadecimal digits."""
    text = (rfc5024.FIXTURES / "rfc5024-appendix-a.txt").read_text(encoding="ascii")
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    high, low = rows[::2], rows[1::2]
    return [bytes.fromhex("".join(a + b for a, b in zip("".join(high), "".join(low), strict=True)))]


@pytest.mark.skipif(not rfc5024.TEXT.exists(), reason=f"the text of RFC 5024 is not at {rfc5024.TEXT.parent}")
def test_the_fixture_has_the_digits_of_appendix_a() -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    appendix = text[text.rindex("Exchange Buffer 1") : text.rindex("Appendix B.  ISO 646")]
    rows = [line.strip() for line in appendix.splitlines() if re.fullmatch(r" {5,8}[0-9A-F]{40,70}", line)]
    fixture = (rfc5024.FIXTURES / "rfc5024-appendix-a.txt").read_text(encoding="ascii")
    assert [line for line in fixture.splitlines() if line and not line.startswith("#")] == rows
