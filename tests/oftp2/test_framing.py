from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.errors import BufferSizeError, UnknownCommandError
from oftp2.framing import FrameReader, frame
from oftp2.values import MAX_BUFFER_SIZE

buffers = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


def taken(reader: FrameReader) -> list[bytes]:
    found = []
    while (buffer := reader.take()) is not None:
        found.append(buffer)
    return found


@pytest.mark.rfc("8.1", "8.2")
def test_a_buffer_is_led_by_version_flags_and_the_length_of_all() -> None:
    assert frame(b"R") == b"\x10\x00\x00\x05R"
    assert frame(b"D" * MAX_BUFFER_SIZE)[:4] == b"\x10" + (100_003).to_bytes(3, "big")


@given(buffers, st.data())
def test_buffers_are_found_however_the_stream_is_cut(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, sent))
    reader = FrameReader()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        found += taken(reader)
    assert found == sent
    assert reader.held == 0


@given(buffers)
def test_octet_by_octet_is_the_same_as_all_at_once(sent: list[bytes]) -> None:
    reader = FrameReader()
    found = []
    for octet in b"".join(map(frame, sent)):
        reader.feed(bytes([octet]))
        found += taken(reader)
    assert found == sent


@pytest.mark.rfc("8.2")
@pytest.mark.parametrize("first", [0x00, 0x11, 0x20, 0x1F, 0x16, 0xFF])
def test_another_version_or_a_flag_is_refused_at_its_first_octet(first: int) -> None:
    reader = FrameReader()
    reader.feed(bytes([first]))
    with pytest.raises(UnknownCommandError, match="0x10"):
        reader.take()


@pytest.mark.rfc("8.2")
@pytest.mark.parametrize("size", [0, 1, 4, 100_004, 0xFFFFFF])
def test_a_length_that_no_buffer_has_is_refused_before_the_buffer_comes(size: int) -> None:
    reader = FrameReader()
    reader.feed(b"\x10" + size.to_bytes(3, "big"))
    with pytest.raises(BufferSizeError, match="5 to 100003"):
        reader.take()


def test_the_smallest_and_the_longest_buffer_are_taken() -> None:
    reader = FrameReader()
    for buffer in (b"R", b"D" * MAX_BUFFER_SIZE):
        reader.feed(frame(buffer))
        assert reader.take() == buffer
        assert reader.take() is None


def test_a_reader_may_be_given_a_lower_limit() -> None:
    reader = FrameReader(limit=128)
    reader.feed(frame(b"D" * 129))
    with pytest.raises(BufferSizeError, match="5 to 132"):
        reader.take()


def test_what_is_held_can_be_forgotten() -> None:
    reader = FrameReader()
    reader.feed(frame(b"R") + frame(b"P")[:3])
    assert reader.take() == b"R"
    assert reader.held == 3
    reader.clear()
    assert reader.held == 0
    assert reader.take() is None


def test_memory_is_bounded_by_one_buffer_and_one_piece() -> None:
    reader = FrameReader()
    stream = frame(b"D" * MAX_BUFFER_SIZE) * 3
    tracemalloc.start()
    try:
        for _ in range(30):
            for at in range(0, len(stream), 16_384):
                reader.feed(stream[at : at + 16_384])
                while reader.take() is not None:
                    pass
                assert reader.held < MAX_BUFFER_SIZE + 4
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MAX_BUFFER_SIZE


def test_a_long_buffer_is_found_octet_by_octet() -> None:
    stream = frame(b"D" * 99_996)
    reader = FrameReader()
    found = []
    for at in range(len(stream)):
        reader.feed(stream[at : at + 1])
        found.append(reader.take())
    assert found[:-1] == [None] * (len(stream) - 1)
    assert found[-1] == b"D" * 99_996


def test_many_small_buffers_are_found_in_one_piece() -> None:
    reader = FrameReader()
    reader.feed(frame(b"C  ") * 40_000)
    assert taken(reader) == [b"C  "] * 40_000
