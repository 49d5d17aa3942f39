from __future__ import annotations

import io
import re
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oftp2.commands import Sfid
from oftp2.records import (
    Ends,
    FixedReader,
    FixedWriter,
    PlainReader,
    PlainWriter,
    Position,
    Reader,
    RecordError,
    TextWriter,
    VariableReader,
    VariableWriter,
    Writer,
    has_records,
    last_position,
    reader,
    stored_octets,
    transferred_format,
    writer,
)
from oftp2.values import FileFormat, SecurityLevel

CRLF = b"\r\n"
EBCDIC_CRLF = b"\r\x25"

records = st.lists(st.one_of(st.binary(max_size=5), st.binary(min_size=250, max_size=600)), max_size=12)
cuts = st.lists(st.integers(0, 2_000), max_size=8)


def variable(contents: list[bytes]) -> bytes:
    """The stored form of V, record by record (RFC 5024 section 6.5)."""
    return b"".join(len(content).to_bytes(2, "big") + content for content in contents)


def ends_of(contents: list[bytes]) -> list[int]:
    return list(accumulate(map(len, contents)))


def pieces(octets: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(octets)) for cut in at), len(octets)]
    return [octets[begin:end] for begin, end in pairwise(bounds)]


def read_all(source: Reader, stored: list[bytes]) -> tuple[bytes, list[int]]:
    """The octets and record ends of the whole file."""
    octets = b""
    ends: list[int] = []
    for piece in stored:
        taken = source.take(piece)
        assert not len(taken.ends) or (taken.ends[0] >= 0 and taken.ends[-1] <= len(taken.octets))
        ends += [len(octets) + int(end) for end in taken.ends]
        octets += taken.octets
    source.finish()
    return octets, ends


def arrivals(octets: bytes, ends: list[int], at: list[int], *, late: bool) -> list[tuple[bytes, Ends]]:
    """The file as it may arrive: cut anywhere, an end at a cut before it or, if ``late``, behind it."""
    bounds = [0, *sorted(min(cut, len(octets)) for cut in at), len(octets)]
    found = []
    left = list(ends)
    for begin, end in pairwise(bounds):
        final = end == len(octets)
        here = [each for each in left if each < end or (each == end and (not late or final))]
        left = left[len(here) :]
        found.append((octets[begin:end], np.array([each - begin for each in here], dtype=np.int64)))
    assert not left
    return found


def write_all(target: Writer, arriving: list[tuple[bytes, Ends]]) -> bytes:
    stored = b"".join(bytes(target.take(octets, ends)) for octets, ends in arriving)
    return stored + target.finish()


def none() -> Ends:
    return np.empty(0, dtype=np.int64)


def ends(*offsets: int) -> Ends:
    return np.array(offsets, dtype=np.int64)


# --- U ------------------------------------------------------------------------------------------------------------


@given(content=st.binary(max_size=200), at=cuts)
def test_u_and_t_are_stored_as_their_octets_without_records(content: bytes, at: list[int]) -> None:
    for form in (FileFormat.UNSTRUCTURED, FileFormat.TEXT):
        source = reader(form, 0)
        assert isinstance(source, PlainReader)
        assert read_all(source, pieces(content, at)) == (content, [])
        assert source.records == 0
    target = writer(FileFormat.UNSTRUCTURED, 0)
    assert isinstance(target, PlainWriter)
    assert write_all(target, arrivals(content, [0, len(content)], at, late=False)) == content
    assert target.records == 0


# --- F ------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("1.5.3")
@given(length=st.integers(1, 300), count=st.integers(0, 12), at=cuts, late=st.booleans())
def test_f_is_stored_as_its_records_and_each_end_is_told(length: int, count: int, at: list[int], late: bool) -> None:
    content = bytes(index % 251 for index in range(length * count))
    expected = [length * (index + 1) for index in range(count)]
    source = reader(FileFormat.FIXED, length)
    assert isinstance(source, FixedReader)
    assert read_all(source, pieces(content, at)) == (content, expected)
    assert source.records == count

    target = writer(FileFormat.FIXED, length)
    assert isinstance(target, FixedWriter)
    assert write_all(target, arrivals(content, expected, at, late=late)) == content
    assert target.records == count


def test_f_that_ends_inside_a_record_is_no_f_file() -> None:
    source = FixedReader(80)
    source.take(bytes(200))
    with pytest.raises(RecordError, match=r"^record 3, the last, has 40 octets instead of 80$"):
        source.finish()


@pytest.mark.interop(2)
def test_f_may_lack_the_last_end_flag() -> None:
    target = FixedWriter(4)
    assert target.take(b"abcdefgh", ends(4)) == b"abcdefgh"
    assert target.records == 1
    assert target.finish() == b""
    assert target.records == 2


def test_f_may_say_an_end_more_than_once_or_before_anything() -> None:
    target = FixedWriter(4)
    target.take(b"", ends(0, 0))
    target.take(b"abcd", ends(0, 4, 4))
    target.take(b"", ends(0))
    target.take(b"efgh", none())
    target.take(b"", none())
    target.take(b"ijkl", ends(0, 4))
    target.finish()
    assert target.records == 3


@pytest.mark.parametrize(
    ("arriving", "why"),
    [
        ([(b"abc", ends(3))], "record 1 has 3 octets instead of 4"),
        ([(b"abcdef", ends(4, 6))], "record 2 has 2 octets instead of 4"),
        ([(b"ab", none()), (b"c", ends(1))], "record 1 has 3 octets instead of 4"),
        ([(b"abcdefghij", ends(4, 7, 8))], "record 2 has 3 octets instead of 4"),
        ([(b"abcdefgh", ends(8))], "record 1 is longer than 4 octets"),
        ([(b"abcde", none())], "record 1 is longer than 4 octets"),
        ([(b"abcdefghi", ends(4))], "record 2 is longer than 4 octets"),
        ([(b"abcd", none()), (b"e", none())], "record 1 is longer than 4 octets"),
        ([(b"abcd", none()), (b"e", ends(1))], "record 1 is longer than 4 octets"),
        ([(b"abcdef", ends(4))], "record 2, the last, has 2 octets instead of 4"),
    ],
)
def test_f_with_a_record_of_another_length_is_refused(arriving: list[tuple[bytes, Ends]], why: str) -> None:
    target = FixedWriter(4)
    with pytest.raises(RecordError, match=f"^{why}$"):
        write_all(target, arriving)


# --- V ------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("1.5.3", "6.5")
@pytest.mark.interop(15)
@given(contents=records, at=cuts, late=st.booleans())
@example(contents=[b"", b"", b"a", b""], at=[0, 0, 1, 1], late=True)
@example(contents=[bytes(65_535), b"", bytes(65_535)], at=[1, 2, 65_536, 65_538], late=False)
def test_v_is_stored_with_the_length_of_each_record(contents: list[bytes], at: list[int], late: bool) -> None:
    stored = variable(contents)
    octets, expected = b"".join(contents), ends_of(contents)
    source = reader(FileFormat.VARIABLE, 0)
    assert isinstance(source, VariableReader)
    assert read_all(source, pieces(stored, at)) == (octets, expected)
    assert source.records == len(contents)
    assert source.longest == max(map(len, contents), default=0)

    target = writer(FileFormat.VARIABLE, 0)
    assert isinstance(target, VariableWriter)
    assert write_all(target, arrivals(octets, expected, at, late=late)) == stored
    assert target.records == len(contents)
    assert stored_octets(FileFormat.VARIABLE, len(octets), len(contents)) == len(stored)


@given(contents=records)
def test_v_is_read_octet_by_octet_as_in_one_go(contents: list[bytes]) -> None:
    stored = variable(contents)
    single = [stored[at : at + 1] for at in range(len(stored))]
    assert read_all(VariableReader(), single) == read_all(VariableReader(), [stored])


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"\0\1a\0", "record 2, the last, is cut off: half of its length is missing"),
        (b"\0\1a\0\5bc", "record 2, the last, is cut off: 3 of its octets are missing"),
        (b"\0", "record 1, the last, is cut off: half of its length is missing"),
    ],
)
def test_v_that_ends_inside_a_record_is_no_v_file(stored: bytes, why: str) -> None:
    with pytest.raises(RecordError, match=f"^{why}$"):
        read_all(VariableReader(), [stored])


@pytest.mark.parametrize("at", [[], [1], [6], [9]])
def test_v_with_a_record_longer_than_said_is_no_such_file(at: list[int]) -> None:
    with pytest.raises(RecordError, match=r"^record 3 is longer than 5 octets$"):
        read_all(VariableReader(5), pieces(variable([b"abc", b"abcde", b"abcdef", b""]), at))


@pytest.mark.parametrize(
    ("arriving", "record"),
    [
        ([(b"abcdef", ends(6))], 1),
        ([(b"abcdef", none())], 1),
        ([(b"abc", ends(3)), (b"abcd", none()), (b"ef", none())], 2),
        ([(b"abcabcdefxxxxxxxxxxxx", ends(3, 9, 10))], 2),
    ],
)
def test_v_with_a_record_longer_than_announced_is_refused(arriving: list[tuple[bytes, Ends]], record: int) -> None:
    target = VariableWriter(5)
    with pytest.raises(RecordError, match=f"^record {record} is longer than 5 octets$"):
        write_all(target, arriving)


def test_v_without_an_announced_length_is_bounded_by_what_two_octets_say() -> None:
    for announced in (0, 65_535, 99_999):
        target = writer(FileFormat.VARIABLE, announced)
        target.take(bytes(65_535), none())
        with pytest.raises(RecordError, match=re.escape("record 1 is longer than 65535 octets")):
            target.take(b"x", none())


@pytest.mark.interop(2)
def test_v_may_lack_the_last_end_flag() -> None:
    target = VariableWriter(10)
    assert target.take(b"abcd", ends(2)) == b"\0\2ab"
    assert target.records == 1
    assert target.finish() == b"\0\2cd"
    assert target.records == 2
    assert target.finish() == b""


# --- T ------------------------------------------------------------------------------------------------------------


def lines_stored(lines: list[bytes], line_end: bytes) -> bytes:
    return b"".join(line + line_end for line in lines)


@pytest.mark.interop(13)
@given(
    line_end=st.sampled_from([CRLF, EBCDIC_CRLF]),
    lines=st.lists(st.binary(max_size=4), min_size=1, max_size=6),
    at=cuts,
    late=st.booleans(),
)
def test_lines_sent_as_records_get_their_line_ends_back(
    line_end: bytes, lines: list[bytes], at: list[int], late: bool
) -> None:
    octets, expected = b"".join(lines), ends_of(lines)
    target = writer(FileFormat.TEXT, 0, line_end)
    assert isinstance(target, TextWriter)
    stored = write_all(target, arrivals(octets, expected, at, late=late))
    if len(octets) == expected[0] or lines[0].endswith(line_end):
        # Nothing behind the first end: it is the end of the file.
        assert stored == octets
        assert target.added == 0
    else:
        assert stored == lines_stored(lines, line_end)
        assert target.added == len(lines) * len(line_end)


@pytest.mark.interop(2, 13)
@given(content=st.binary(max_size=100), at=cuts, late=st.booleans())
def test_text_with_one_end_or_none_is_stored_as_it_comes(content: bytes, at: list[int], late: bool) -> None:
    for said in ([], [len(content)]):
        target = TextWriter()
        assert write_all(target, arrivals(content, said, at, late=late)) == content
        assert target.added == 0
        assert target.records == 0


@pytest.mark.interop(13)
@given(lines=st.lists(st.binary(max_size=4), max_size=6), at=cuts, late=st.booleans())
def test_lines_sent_as_records_with_their_line_ends_are_stored_as_they_come(
    lines: list[bytes], at: list[int], late: bool
) -> None:
    whole = [line + CRLF for line in lines]
    octets = b"".join(whole)
    # Some say once more that the file is over.
    arriving = [*arrivals(octets, ends_of(whole), at, late=late), (b"", ends(0))]
    target = TextWriter()
    assert write_all(target, arriving) == octets


def test_a_line_end_cut_in_two_is_seen() -> None:
    target = TextWriter()
    arriving = [(b"ab\r", none()), (b"\n", none()), (b"", ends(0)), (b"cd", ends(2))]
    assert write_all(target, arriving) == b"ab\r\ncd"


# --- restart ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("1.5.4", "5.3.3")
@pytest.mark.parametrize("form", [FileFormat.UNSTRUCTURED, FileFormat.TEXT])
@pytest.mark.parametrize(
    ("size", "most", "blocks"), [(0, None, 0), (1_023, None, 0), (1_024, None, 1), (5_000, None, 4), (5_000, 3, 3)]
)
def test_u_and_t_are_restarted_at_whole_blocks(form: FileFormat, size: int, most: int | None, blocks: int) -> None:
    position = last_position(form, 0, size, io.BytesIO().read, most=most)
    assert position == Position(count=blocks, offset=blocks * 1_024, records=0, octets=blocks * 1_024)


@pytest.mark.rfc("1.5.4", "5.3.3")
@pytest.mark.parametrize(
    ("size", "most", "count"), [(0, None, 0), (79, None, 0), (80, None, 1), (250, 9, 3), (250, 2, 2)]
)
def test_f_is_restarted_at_whole_records(size: int, most: int | None, count: int) -> None:
    position = last_position(FileFormat.FIXED, 80, size, io.BytesIO().read, most=most)
    assert position == Position(count=count, offset=count * 80, records=count, octets=count * 80)


@pytest.mark.rfc("1.5.4", "5.3.3", "6.5")
@given(contents=records, data=st.data())
def test_v_is_restarted_at_whole_records(contents: list[bytes], data: st.DataObject) -> None:
    stored = variable(contents)
    size = data.draw(st.integers(0, len(stored)))
    most = data.draw(st.one_of(st.none(), st.integers(0, len(contents) + 1)))
    whole = [
        count
        for count in range(len(contents) + 1)
        if len(variable(contents[:count])) <= size and (most is None or count <= most)
    ][-1]
    source = io.BytesIO(stored)
    steps = data.draw(st.integers(1, 400))
    position = last_position(FileFormat.VARIABLE, 600, size, lambda octets: source.read(min(octets, steps)), most=most)
    assert position == Position(
        count=whole,
        offset=len(variable(contents[:whole])),
        records=whole,
        octets=sum(map(len, contents[:whole])),
    )


def test_no_more_of_a_v_file_is_read_than_it_takes_to_find_a_position() -> None:
    stored = variable([bytes(1_000)] * 1_000)
    source = io.BytesIO(stored)
    assert last_position(FileFormat.VARIABLE, 1_000, len(stored), source.read, most=10).offset == 10_020
    assert source.tell() <= 1 << 19


# --- formats ------------------------------------------------------------------------------------------------------


def test_only_f_and_v_have_records() -> None:
    assert {form for form in FileFormat if has_records(form)} == {FileFormat.FIXED, FileFormat.VARIABLE}
    assert [stored_octets(form, 100, 5) for form in FileFormat] == [
        110 if form is FileFormat.VARIABLE else 100 for form in FileFormat
    ]


@pytest.mark.rfc("6.5")
@pytest.mark.interop(15)
@pytest.mark.parametrize("change", [{}, {"security": SecurityLevel.SIGNED}, {"compression": 1}, {"envelope": 1}])
def test_a_secured_file_travels_as_u(change: dict[str, int]) -> None:
    offer = Sfid(
        dataset="A",
        date="20260101",
        time="1200000001",
        destination="B",
        originator="A",
        format=FileFormat.VARIABLE,
        size=1,
        original_size=1,
        **change,  # type: ignore[arg-type]  # a change of any field
    )
    assert transferred_format(offer) is (FileFormat.UNSTRUCTURED if change else FileFormat.VARIABLE)
