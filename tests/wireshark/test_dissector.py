"""The Wireshark dissector tools/oftp2.lua: its tables are those of the code, and tshark shows sessions as they were."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from oftp2 import codec, reasons
from oftp2 import commands as c
from oftp2.framing import FrameReader, frame
from oftp2.layouts import COMMAND_OCTETS, LAYOUTS, parts
from oftp2.negotiation import Capabilities
from oftp2.values import Level, Role
from tests.oftp2.test_transcripts import written_pieces
from tests.oftp2.wire import AUTHENTICATED, PASSWORD, SAMPLES, SECRET, SMALL, SSID, on_the_wire
from tests.wireshark.capture import SCRIPT, seen, tree, write

I_, R_ = Role.INITIATOR, Role.RESPONDER


def tables() -> dict[int, dict[str, list[str]]]:
    """The tables of fields that are in the script."""
    text = SCRIPT.read_text("utf-8")
    return {
        int(level): {
            command: re.findall(r"\w+ \w\(\w+\)!?", listed)
            for command, listed in re.findall(r"(\w+):([^:]*\)!?)", table)
        }
        for level, table in re.findall(r"\[(\d)\] = \[\[(.*?)\]\]", text, re.DOTALL)
    }


@pytest.mark.parametrize("level", [Level.REVISION_1_2, Level.REVISION_1_4, Level.REVISION_2_0])
def test_the_fields_of_every_command_are_those_of_the_layouts(level: Level) -> None:
    assert tables()[level] == {
        kind.__name__.upper(): [
            f"{part.label} {part.shape}({part.size or 'n'}){'!' if part.secret else ''}" for part in parts(kind, level)
        ]
        for kind in COMMAND_OCTETS.values()
        if kind is c.Data or kind in LAYOUTS[level]
    }


def test_the_levels_1_and_2_are_laid_out_alike() -> None:
    assert LAYOUTS[Level.REVISION_1_2] == LAYOUTS[Level.REVISION_1_3]
    assert "LAYOUTS[2] = LAYOUTS[1]" in SCRIPT.read_text("utf-8")


def test_the_commands_are_those_of_the_layouts() -> None:
    (listed,) = re.findall(r"COMMANDS = \{(.*?)\}", SCRIPT.read_text("utf-8"), re.DOTALL)
    found = {letter or digit: name for letter, digit, name in re.findall(r'(?:(\w)|\["(\w)"\]) = "(\w+)"', listed)}
    assert found == {chr(octet): kind.__name__.upper() for octet, kind in COMMAND_OCTETS.items()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ESIDREAS", reasons.EndSessionReason),
        ("SFNAREAS", reasons.AnswerReason),
        ("NERPREAS", reasons.NegativeResponseReason),
    ],
)
def test_the_reasons_are_those_of_the_code(name: str, kind: type[reasons.Reason]) -> None:
    (listed,) = re.findall(rf"REASONS\.{name} = \{{(.*?)\}}", SCRIPT.read_text("utf-8"), re.DOTALL)
    assert dict(re.findall(r'\["(\d\d)"\] = "(.*?)"', listed)) == {f"{each.value:02}": each.meaning for each in kind}


def commands_of(written: list[tuple[Role, bytes]]) -> list[str]:
    readers = {role: FrameReader() for role in Role}
    found = []
    for writer, octets in written:
        readers[writer].feed(octets)
        while (buffer := readers[writer].take()) is not None:
            found.append(COMMAND_OCTETS[buffer[0]].__name__.upper())
    return found


@pytest.mark.parametrize("segment", [7, 1400])
@pytest.mark.parametrize("capabilities", [AUTHENTICATED, *(replace(SMALL, level=level) for level in Level)])
def test_a_session_of_any_level_is_seen_command_by_command(
    tmp_path: Path, segment: int, capabilities: Capabilities
) -> None:
    written = written_pieces(capabilities)
    write(tmp_path / "session.pcap", written, segment=segment)
    rows = seen(tmp_path / "session.pcap", "oftp2.command", "oftp2.level", "_ws.expert.message")
    assert [each for row in rows for each in row[0].split(",") if each] == commands_of(written)
    assert {each for row in rows for each in row[1].split(",") if each} - {"5"} <= {str(int(capabilities.level))}
    # Segments that are cut are told of by Wireshark itself; by us nothing.
    assert not any(told in row[2] for row in rows for told in ("The command is", "No such", "No stream", "beyond"))


def test_the_fields_have_the_values_that_were_said(tmp_path: Path) -> None:
    write(tmp_path / "session.pcap", [(I_, on_the_wire(*SAMPLES))], segment=100)
    names = ("ssidcode", "ssidsdeb", "sfiddsn", "sfiddesc", "efiducnt", "esidreas", "nerpreast", "eerphshl", "eerphsh")
    rows = seen(tmp_path / "session.pcap", *(f"oftp2.{name}" for name in names))
    assert ["".join(column) for column in zip(*rows, strict=True)] == [
        "O0013INITIATOR",
        "00128",
        "MARINER",
        "Café / the Ancient Mariner",
        "00000000000000003",
        "00",
        "später",
        "4",
        "68617368",
    ]


def test_data_is_seen_as_counts(tmp_path: Path) -> None:
    payload = b"\x3f" + bytes(63) + b"\x85abcde" + b"\x7f-" + b"\xc2-" + b"\0\0"
    octets = on_the_wire(c.Ssrm(), SSID, c.Data(payload=payload))
    write(tmp_path / "session.pcap", [(I_, octets)], segment=1400)
    counts = [f"oftp2.data.{name}" for name in ("subrecords", "octets", "records", "compressed")]
    assert seen(tmp_path / "session.pcap", *counts) == [["6", "133", "2", "2"]]


def test_passwords_challenges_and_contents_are_not_in_the_tree(tmp_path: Path) -> None:
    said = (
        SSID,
        c.Secd(),
        c.Auch(challenge=b"<secret envelope>"),
        c.Aurp(response=SECRET),
        c.Data(payload=b"\x06hidden"),
    )
    write(tmp_path / "session.pcap", [(I_, on_the_wire(*said))], segment=1400)
    shown = tree(tmp_path / "session.pcap")
    for name, size in (("SSIDPSWD", 8), ("AUCHCHAL", 17), ("AURPRSP", 20), ("DATABUF", 7)):
        assert f"{name}: {size} octets, not shown" in shown
    for secret in (PASSWORD, PASSWORD.encode().hex(), SECRET.hex(), "secret envelope", "hidden"):
        assert secret not in shown


def test_reasons_are_seen_with_their_meaning(tmp_path: Path) -> None:
    said = on_the_wire(c.Esid(reason=reasons.EndSessionReason.INVALID_PASSWORD, text="SSIDPSWD"))
    write(tmp_path / "session.pcap", [(R_, said)], segment=1400)
    assert "ESIDREAS: 04 (invalid password)" in tree(tmp_path / "session.pcap")


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (frame(codec.encode(c.Efid(octets=3))[:20]), "The command is shorter than its fields"),
        (frame(codec.encode(c.Cd()) + b"more"), "The command is longer than its fields"),
        (frame(b"Z"), "No such command at this level"),
        (frame(b"D\x03abc\x05ab"), "A subrecord goes beyond its buffer"),
        (b"GET / HTTP/1.1\r\n", "No stream transmission header"),
        (b"\x10\0\0\x04", "No stream transmission header"),
        (b"\x10\xff\xff\xff\0", "No stream transmission header"),
        (on_the_wire(replace(SSID, level=2)) + frame(b"J"), "No such command at this level"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, octets: bytes, message: str) -> None:
    write(tmp_path / "session.pcap", [(I_, octets)], segment=1400)
    assert message in str(seen(tmp_path / "session.pcap", "_ws.expert.message"))


def test_the_short_forms_of_real_systems_are_no_fault(tmp_path: Path) -> None:
    eerp = codec.encode(next(each for each in SAMPLES if isinstance(each, c.Eerp)))
    esids = (b"F03\r", b"F03", b"F00000")
    octets = b"".join(frame(buffer) for buffer in (eerp[:106], *esids))
    write(tmp_path / "session.pcap", [(R_, octets)], segment=1400)
    assert seen(tmp_path / "session.pcap", "oftp2.command", "_ws.expert.message") == [["EERP,ESID,ESID,ESID", ""]]


def test_a_session_on_another_port_is_recognised_by_its_first_command(tmp_path: Path) -> None:
    written = written_pieces(SMALL)
    write(tmp_path / "session.pcap", written, segment=1400, port=4711)
    found = seen(tmp_path / "session.pcap", "oftp2.command")
    assert ",".join(chain.from_iterable(found)).split(",") == commands_of(written)


def test_a_session_on_another_port_can_be_decoded_as_such(tmp_path: Path) -> None:
    write(tmp_path / "session.pcap", [(I_, on_the_wire(SSID))], segment=1400, port=4711)
    assert seen(tmp_path / "session.pcap", "oftp2.command") == []
    assert seen(tmp_path / "session.pcap", "oftp2.command", options=("-d", "tcp.port==4711,oftp2")) == [["SSID"]]
