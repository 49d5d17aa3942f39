from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2 import codec
from oftp2 import commands as c
from oftp2.framing import HEADER_SIZE, frame
from oftp2.transcript import MAX_RUNS, MAX_UNKNOWN, Transcript
from oftp2.values import Role
from tests.oftp2.replay import ROLES, entries_of
from tests.oftp2.test_transcripts import TRANSCRIPTS
from tests.oftp2.wire import CODE_I, CODE_R, EERP, NERP, SAMPLES, SECRET, SFID, SSID, on_the_wire

ONE, OTHER = Role.INITIATOR, Role.RESPONDER
SECRETIVE = replace(SSID, password="qwzxvkjy")
"""No two letters of it stand anywhere else."""


def shown(*written: tuple[Role, bytes]) -> list[str]:
    """All lines for what the sides wrote, up to the end of the connection."""
    transcript = Transcript()
    lines = [line for writer, octets in written for line in transcript.wrote(writer, octets, 0)]
    return lines + list(transcript.closed(0))


def of(octets: bytes) -> list[str]:
    """The lines for octets behind an SSID, without its own and the end."""
    before = (ONE, on_the_wire(replace(SSID, user="BEFORE")))
    return shown(before, (ONE, octets))[len(shown(before)) - 1 : -1]


def comments(lines: Iterable[str]) -> list[str]:
    return [line.partition("# ")[2] for line in lines if "# " in line]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_what_is_shown_has_the_form_of_the_fixtures(path: Path) -> None:
    said = [(ROLES[entry.first[0]], entry.octets) for entry in entries_of(path) if entry.octets]
    lines = [line for line in shown(*said) if "xx*" not in line]
    known = re.sub(r"(?m)^(.>) (unknown|oversized|ESID in).*", r"\1 unknown", path.read_text("utf-8")).splitlines()
    strange = [line for line in lines if line not in known]
    # Repetition, the short forms and what is not understood have comments of their own.
    assert all(
        re.match(r"[IR]> (DATA \*|ESID)|.*# (unknown|no Exchange|ESID|stream header)|close", line) for line in strange
    )


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_every_command_is_named_and_so_are_its_fields(command: c.Command) -> None:
    lines = of(on_the_wire(command))
    name = type(command).__name__.upper()
    assert lines[0] == f"I> {name}"
    assert all(comment.startswith((name, "stream header")) for comment in comments(lines))


@given(st.lists(st.sampled_from(SAMPLES), max_size=6), st.data())
def test_octets_that_come_in_pieces_are_shown_as_those_that_come_at_once(
    commands: list[c.Command], data: st.DataObject
) -> None:
    octets = on_the_wire(*commands)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    pieces = [octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    assert shown(*((ONE, piece) for piece in pieces)) == shown((ONE, octets))


def test_passwords_challenges_and_their_answers_are_only_counted() -> None:
    lines = shown((ONE, on_the_wire(SSID, c.Auch(challenge=b"<secret envelope>"), c.Aurp(response=SECRET))))
    assert [line.split() for line in lines if "xx" in line] == [
        ["xx*8", "#", "SSIDPSWD"],
        ["xx*17", "#", "AUCHCHAL"],
        ["xx*20", "#", "AURPRSP"],
    ]


@given(
    st.integers(0, 69),
    st.integers(0, 20),
    st.binary(max_size=3) | st.just(b"\x10\x00\x00\x10"),
    st.sampled_from([command for command in SAMPLES if not isinstance(command, c.Ssid)]),
    st.binary(max_size=80),
)
def test_a_password_is_not_shown_however_the_octets_around_it_are_broken(
    at: int, removed: int, inserted: bytes, before: c.Command, after: bytes
) -> None:
    octets = on_the_wire(SECRETIVE)
    for start in (b"", on_the_wire(before)):
        broken = octets[:at] + inserted + octets[at + removed :]
        lines = " ".join(shown((ONE, start + broken), (ONE, after)))
        for place in range(7):
            piece = SECRETIVE.password[place : place + 2]
            assert piece not in lines
            assert piece.encode().hex(" ") not in lines


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.binary(max_size=300)), max_size=5))
def test_octets_of_any_kind_are_shown_without_an_error(written: list[tuple[Role, bytes]]) -> None:
    assert shown(*written)[-1] == "close"


@given(st.sampled_from(SAMPLES), st.binary(max_size=40), st.integers(0, 300))
def test_a_broken_command_is_shown_with_the_reason(command: c.Command, more: bytes, size: int) -> None:
    buffer = (codec.encode(command) + more)[: max(size, 1)]
    lines = of(frame(buffer))
    assert lines[0] == f"I> {type(command).__name__.upper()}"


def test_a_field_that_breaks_its_format_is_named_and_the_others_are_shown() -> None:
    lines = of(on_the_wire(SFID).replace(b"20240229", b"29.02.24"))
    assert "    # cannot be read: SFIDDATE is b'29.02.24', not a number" in lines
    assert "SFIDDSN 'MARINER'" in comments(lines)
    assert f"SFIDORIG '{CODE_I}'" in comments(lines)


def test_an_ssid_with_another_end_is_shown_but_for_the_password() -> None:
    lines = shown((ONE, on_the_wire(SSID)[:-1] + b"!"), (ONE, on_the_wire(c.Cd())))
    assert {f"SSIDCODE '{CODE_I}'", "SSIDPSWD", "SSIDCRED '002'", "CDCMD 'R'"} <= set(comments(lines))


def test_of_an_ssid_whose_code_is_not_padded_nothing_is_shown() -> None:
    buffer = codec.encode(SECRETIVE).replace(b" ", b"")
    assert comments(shown((ONE, frame(buffer))))[1:] == [
        "cannot be read: SSID is too short with 38 octets",
        "unknown, not shown",
    ]


def test_what_follows_a_torn_answer_to_a_challenge_is_not_shown() -> None:
    torn = frame(codec.encode(c.Aurp(response=SECRET))[:11]) + frame(b"Z" + SECRET[11:])
    assert comments(of(torn))[-1] == "unknown, not shown"


def test_too_many_octets_are_shown_in_part() -> None:
    lines = of(frame(codec.encode(c.Cd()) + b"and much more than that"))
    assert comments(lines)[-2:] == ["unknown 'and much'", "unknown, not shown"]


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"GET / HTTP/1.1\r\nHost: oftp.acme.example", "no stream header begins so"),
        (b"\x10\x01\x86\xa4D", "no Exchange Buffer is so long"),
        (b"\x10\x00\x00\x04", "no Exchange Buffer is so long"),
    ],
)
def test_a_stream_that_is_no_oftp_is_shown_by_its_first_octets_alone(octets: bytes, what: str) -> None:
    lines = shown((ONE, octets), (ONE, b"more"), (OTHER, on_the_wire(c.Ssrm())), (ONE, bytes(10)))
    assert lines[:2] == ["I> unknown", f"    # {what}: what this side writes from here on cannot be followed"]
    assert comments(lines)[1] == f"unknown {octets[:MAX_UNKNOWN].decode('latin-1')!r}"
    assert lines[-2:] == ["# 14 more octets of I were not followed", "close"]


@pytest.mark.parametrize(
    ("octets", "word", "comment"),
    [
        (b"\x10\x00", "unknown", "stream header"),
        (on_the_wire(SFID)[:40], "SFID", "SFIDDATE '202402'"),
        (on_the_wire(c.Data(payload=b"\x83abc"))[:7], "DATA", "DATABUF"),
        (on_the_wire(c.Aurp(response=SECRET))[:9], "AURP", "unknown, not shown"),
        (frame(b"Z123")[:6], "unknown", "unknown 'Z1'"),
    ],
)
def test_what_never_became_whole_is_shown_at_the_end(octets: bytes, word: str, comment: str) -> None:
    lines = of(octets)
    assert lines[:2] == [f"I> {word}", "    # the connection ended before the rest of it came"]
    assert comments(lines)[-1] == comment


def test_data_is_shown_as_the_sizes_of_its_subrecords() -> None:
    payload = b"\x3f" + bytes(63) + b"\x3f" + bytes(63) + b"\x85abcde" + b"\x7f-" + b"\xc2-" + bytes(3)
    assert [line.split("#") for line in of(on_the_wire(c.Data(payload=payload)))[3:]] == [
        [f"    {digits:<62}", f" DATABUF {what}"]
        for digits, what in [
            ("(3f xx*63)*2", "2 subrecords of 63 octets"),
            ("85 xx*5", "subrecord of 5 octets, end of record"),
            ("7f xx*1", "subrecord of 63 octets, compressed"),
            ("c2 xx*1", "subrecord of 2 octets, compressed, end of record"),
            ("(00)*3", "3 subrecords of 0 octets"),
        ]
    ]


def test_many_kinds_of_subrecords_are_cut_short() -> None:
    payload = b"\x01a\x02bb" * MAX_RUNS
    lines = of(on_the_wire(c.Data(payload=payload)))[3:]
    assert len(lines) == MAX_RUNS + 1
    assert comments(lines)[-1] == f"DATABUF {len(payload) // 2} octets, the rest of it"


def test_a_subrecord_beyond_its_buffer_is_called_so() -> None:
    assert comments(of(frame(b"D\x03abc\x05ab")))[-1] == "DATABUF 3 octets, a subrecord goes beyond its end"
    assert comments(of(frame(b"D\x45")))[-1] == "DATABUF 1 octets, a subrecord goes beyond its end"


def test_data_before_any_ssid_is_not_read_as_data() -> None:
    assert comments(shown((ONE, frame(b"Dqwzxvkjy"))))[1] == "unknown 'Dqwzxvkj'"


def test_buffers_that_look_alike_are_shown_once_with_their_number() -> None:
    data = on_the_wire(c.Data(payload=b"\x03abc"), c.Data(payload=b"\x03xyz"))
    assert [line for line in of(data + data + on_the_wire(c.Efid(octets=12))) if line[1] == ">"] == [
        "I> DATA *4",
        "I> EFID",
    ]


def test_a_signature_is_shown_as_its_size_and_a_hash_as_it_is() -> None:
    lines = of(on_the_wire(replace(EERP, hash=bytes(32), signature=bytes(2048))))
    assert comments(lines)[-4:] == ["EERPHSHL 32", "EERPHSH", "EERPSIGL 2048", "EERPSIG 2048 octets"]
    assert lines[-1].split()[0] == "xx*2048"


def test_texts_are_shown_on_one_line_whatever_is_in_them() -> None:
    assert "NERPREAST 'a\\nb\\x1b[2J'" in comments(of(on_the_wire(replace(NERP, text="a\nb\x1b[2J"))))


def test_the_codes_of_both_sides_are_known_from_their_ssids() -> None:
    transcript = Transcript()
    for writer, code in ((ONE, CODE_I), (OTHER, CODE_R)):
        list(transcript.wrote(writer, on_the_wire(replace(SSID, code=code)), 0))
    assert transcript.codes == {ONE: CODE_I, OTHER: CODE_R}


def test_silence_is_noted_in_seconds() -> None:
    transcript = Transcript()
    lines = list(transcript.connected(100.0))
    lines += transcript.wrote(OTHER, on_the_wire(c.Ssrm()), 100.9)
    lines += transcript.wrote(ONE, on_the_wire(c.Cd()), 103.4)
    lines += transcript.closed(163.4)
    assert [line for line in lines if line[:4] != "    "] == [
        "connect",
        "R> SSRM",
        "wait 2.5",
        "I> CD",
        "wait 60.0",
        "close",
    ]


def test_what_is_held_is_bounded_by_one_exchange_buffer() -> None:
    transcript = Transcript()
    octets = b"\x10\x01\x86\xa3D" + bytes(99_998)
    for _ in range(3):
        for at in range(0, len(octets), 10_000):
            list(transcript.wrote(ONE, octets[at : at + 10_000], 0))
            assert len(transcript._directions[ONE].held) < 99_999 + HEADER_SIZE
    list(transcript.wrote(ONE, b"!", 0))
    for _ in range(20):
        list(transcript.wrote(ONE, octets, 0))
    assert not transcript._directions[ONE].held
