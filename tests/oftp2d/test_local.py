from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.values import FileFormat
from oftp2d import local
from oftp2d.charsets import named
from oftp2d.ledger import LineEnds
from oftp2d.local import Form, LocalFileError, Text, ready_text, stage
from oftp2d.spool import Spool

AS_IS = Text(charset=None, line_ends=LineEnds.AS_IS)
T = Form(format=FileFormat.TEXT)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def text(charset: str | None = None, line_ends: LineEnds = LineEnds.AS_IS) -> Text:
    return Text(charset=named(charset) if charset else None, line_ends=line_ends)


def staged(spool: Spool, content: bytes, form: Form, how: Text = AS_IS) -> tuple[bytes, local.Outgoing]:
    outgoing = stage(spool, io.BytesIO(content), form, how)
    with spool.open_outgoing(outgoing.staged.name) as file:
        return file.read(), outgoing


def delivered(spool: Spool, content: bytes, how: Text, name: str = "T1") -> bytes:
    with spool.part(name) as part:
        part.write(content)
        part.seal()
    made = ready_text(spool, name, name, how)
    spool.place(name, name)
    found = spool.inbox_path(name).read_bytes()
    assert (made.octets, made.sha256) == (len(found), hashlib.sha256(found).hexdigest())
    return found


def nothing_is_left(tmp_path: Path) -> bool:
    return not list((tmp_path / "outgoing").iterdir()) and not list((tmp_path / "received").glob("*.ready"))


# --- U, F, V ------------------------------------------------------------------------------------------------------


def test_u_travels_as_it_is(spool: Spool) -> None:
    content, outgoing = staged(spool, b"any\n\0\xff", Form(format=FileFormat.UNSTRUCTURED), text("cp037", LineEnds.LF))
    assert content == b"any\n\0\xff"
    assert (outgoing.octets, outgoing.records, outgoing.record_length) == (6, 0, 0)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_f_is_whole_records(spool: Spool, count: int) -> None:
    content, outgoing = staged(spool, b"x" * 80 * count, Form(format=FileFormat.FIXED, record_length=80))
    assert len(content) == 80 * count
    assert (outgoing.octets, outgoing.records, outgoing.record_length) == (80 * count, count, 80)


def test_f_that_ends_inside_a_record_is_refused(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="record 2, the last, has 20 octets instead of 80") as refused:
        staged(spool, b"x" * 100, Form(format=FileFormat.FIXED, record_length=80))
    assert "multiple of 80 octets" in refused.value.advice
    assert nothing_is_left(tmp_path)


def test_v_is_records_led_by_their_lengths(spool: Spool) -> None:
    content, outgoing = staged(spool, b"\0\3abc\0\0\0\1d", Form(format=FileFormat.VARIABLE))
    assert content == b"\0\3abc\0\0\0\1d"
    assert (outgoing.octets, outgoing.records, outgoing.record_length) == (4, 3, 3)


def test_v_announces_the_length_that_was_agreed(spool: Spool) -> None:
    form = Form(format=FileFormat.VARIABLE, record_length=100)
    assert staged(spool, b"\0\3abc", form)[1].record_length == 100
    with pytest.raises(LocalFileError, match="record 1 is longer than 100 octets"):
        staged(spool, b"\0\x65" + b"x" * 101, form)


def test_v_that_is_cut_off_is_refused(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="record 2, the last, is cut off") as refused:
        staged(spool, b"\0\3abc\0\5d", Form(format=FileFormat.VARIABLE))
    assert "led by its length" in refused.value.advice
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("form", "record_length", "why"),
    [
        (FileFormat.UNSTRUCTURED, 80, "has no records"),
        (FileFormat.TEXT, 80, "has no records"),
        (FileFormat.FIXED, 0, "needs a record length"),
        (FileFormat.FIXED, 100_000, "use at most 99999"),
        (FileFormat.FIXED, -1, "use at most 99999"),
        (FileFormat.VARIABLE, 65_536, "use at most 65535"),
    ],
)
def test_a_record_length_must_go_with_the_format(form: FileFormat, record_length: int, why: str) -> None:
    with pytest.raises(LocalFileError, match=why):
        Form(format=form, record_length=record_length)


# --- T ------------------------------------------------------------------------------------------------------------


def test_text_without_settings_travels_as_it_is(spool: Spool) -> None:
    assert staged(spool, b"a\nb\r\n\xff", T)[0] == b"a\nb\r\n\xff"
    assert AS_IS.same
    assert AS_IS.line_end == b"\r\n"


@pytest.mark.parametrize(
    ("how", "ours", "theirs"),
    [
        (text(line_ends=LineEnds.LF), b"one\ntwo\xe4\n", b"one\r\ntwo\xe4\r\n"),
        (text(line_ends=LineEnds.LF), b"no end", b"no end"),
        (text(line_ends=LineEnds.LF), b"\r", b"\r"),
        (text(line_ends=LineEnds.LF), b"", b""),
        (text(line_ends=LineEnds.CRLF), b"one\r\ntwo", b"one\r\ntwo"),
        (text("latin-1"), "Stra\u00dfe\n".encode(), b"Stra\xdfe\n"),
        (text("cp273", LineEnds.LF), "\u00c4\n[\n".encode(), b"\x4a\r\x25\x63\r\x25"),
        (text("cp500", LineEnds.CRLF), b"A\r\n", b"\xc1\r\x25"),
        (text("utf-8", LineEnds.LF), "\u20ac\n".encode(), "\u20ac\r\n".encode()),
    ],
)
def test_text_is_turned_into_the_partners_and_back(spool: Spool, how: Text, ours: bytes, theirs: bytes) -> None:
    content, outgoing = staged(spool, ours, T, how)
    assert content == theirs
    assert (outgoing.octets, outgoing.records, outgoing.record_length) == (len(theirs), 0, 0)
    assert delivered(spool, theirs, how) == ours
    assert not how.same


@given(
    piece=st.integers(1, 7),
    ours=st.text(st.sampled_from("aZ \u00e4\u20ac\r\n")),
    charset=st.sampled_from([None, "utf-8", "cp1252", "cp1140", "cp1141"]),
    line_ends=st.sampled_from(LineEnds),
)
def test_whatever_is_taken_comes_back_the_same(piece: int, ours: str, charset: str | None, line_ends: LineEnds) -> None:
    """Cut into pieces anywhere."""
    how = text(charset, line_ends)
    octets = ours.encode()
    pieces = [octets[at : at + piece] for at in range(0, len(octets), piece)]
    try:
        sent = b"".join(local._outgoing_text(pieces, how))
    except LocalFileError:
        assert line_ends is not LineEnds.AS_IS
        assert "\r\n" in ours if line_ends is LineEnds.LF else ours.count("\n") != ours.count("\r\n")
        return
    assert line_ends is LineEnds.AS_IS or sent.count(how.theirs.encode("\n")) == sent.count(how.line_end)
    arriving = [sent[at : at + piece] for at in range(0, len(sent), piece)]
    assert b"".join(local._incoming_text(arriving, how)) == octets


@pytest.mark.parametrize(
    ("how", "ours", "what", "advice"),
    [
        (text(line_ends=LineEnds.LF), b"a\nb\r\nc\n", "line 2 ends with CR-LF", "--text-line-ends crlf or as-is"),
        (text(line_ends=LineEnds.CRLF), b"a\r\nb\nc", "line 2 ends with LF alone", "--text-line-ends lf or as-is"),
        (
            text("latin-1"),
            "a\nb\u20ac".encode(),
            r"line 2 holds '\u20ac' \(U\+20AC\), which .* iso8859-1 does not",
            "replace",
        ),
        (text("cp037"), b"a\nb\n\xe4", "line 3 holds the octet E4, which is no text in utf-8", "correct the file"),
        (text("cp037"), b"a\xc3", "line 1 holds the octet C3", "correct the file"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_line(
    spool: Spool, how: Text, ours: bytes, what: str, advice: str
) -> None:
    for piece in (1, 2, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "PIECE", piece)
            with pytest.raises(LocalFileError, match=what) as refused:
                stage(spool, io.BytesIO(ours), T, how)
        assert advice in refused.value.advice
    assert spool.sweep(set()) == []


def test_received_octets_that_are_no_text_are_refused_with_their_line(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="line 2 holds the octet 81, which is no text in cp1252"):
        delivered(spool, b"a\r\nb\x81", text("cp1252", LineEnds.LF))
    assert nothing_is_left(tmp_path)
    with spool.open_received("T1") as file:
        assert file.read() == b"a\r\nb\x81"


def test_line_ends_a_partner_ought_not_send_stay_what_they_are(spool: Spool) -> None:
    assert delivered(spool, b"a\nb\r\nc\r", text(line_ends=LineEnds.LF)) == b"a\nb\nc\r"


def test_delivering_again_after_a_crash_does_no_harm(spool: Spool, tmp_path: Path) -> None:
    how = text("cp037", LineEnds.LF)
    assert delivered(spool, b"\xc1\r\x25", how) == b"A\n"
    # What a crash in the middle of it leaves behind is longer than what comes.
    (tmp_path / "received" / "T1.ready").write_bytes(b"something half done")
    made = ready_text(spool, "T1", "T1", how)
    spool.place("T1", "T1")
    assert [path.read_bytes() for path in (tmp_path / "inbox").iterdir()] == [b"A\n"]
    assert made.octets == 2
    spool.remove_received("T1")
    assert spool.sweep(set()) == []
