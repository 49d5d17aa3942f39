from __future__ import annotations

import contextlib
import re
from dataclasses import fields, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oftp2 import codec
from oftp2 import commands as c
from oftp2.errors import BufferSizeError, InvalidDataError, LocalProtocolError, RemoteProtocolError, UnknownCommandError
from oftp2.layouts import COMMAND_OCTETS, LAYOUTS, parts
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.values import MAX_BUFFER_SIZE, FileFormat, Level, Mode, SecurityLevel
from tests.oftp2.rfc5024 import fields_of_the_fixture, section_of
from tests.oftp2.wire import CODE_R, EERP, NERP, SAMPLES, SFID, SSID

printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


def names(size: int) -> st.SearchStrategy[str]:
    return st.text(printable, max_size=size).map(lambda text: text.rstrip(" "))


def numbers(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, 10**size - 1)


def digits(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=size, max_size=size)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=240)
binaries = st.binary(max_size=300)
identity = {
    "dataset": names(26),
    "date": digits(8),
    "time": digits(10),
    "destination": names(25),
    "originator": names(25),
}
COMMANDS: dict[type[c.Command], st.SearchStrategy[c.Command]] = {
    c.Ssrm: st.builds(c.Ssrm),
    c.Ssid: st.builds(
        c.Ssid,
        level=st.integers(5, 9),
        code=names(25),
        password=names(8),
        buffer_size=numbers(5),
        mode=st.sampled_from(Mode),
        compression=st.booleans(),
        restart=st.booleans(),
        special_logic=st.booleans(),
        credit=numbers(3),
        authentication=st.booleans(),
        user=names(8),
    ),
    c.Sfid: st.builds(
        c.Sfid,
        **identity,
        user=names(8),
        format=st.sampled_from(FileFormat),
        record_length=numbers(5),
        size=numbers(13),
        original_size=numbers(13),
        restart=numbers(17),
        security=st.sampled_from(SecurityLevel),
        cipher=numbers(2),
        compression=numbers(1),
        envelope=numbers(1),
        signed_response=st.booleans(),
        description=texts,
    ),
    c.Sfpa: st.builds(c.Sfpa, restart=numbers(17)),
    c.Sfna: st.builds(c.Sfna, reason=st.sampled_from(AnswerReason), retry=st.booleans(), text=texts),
    c.Data: st.builds(c.Data, payload=binaries),
    c.Cdt: st.builds(c.Cdt),
    c.Efid: st.builds(c.Efid, records=numbers(17), octets=numbers(17)),
    c.Efpa: st.builds(c.Efpa, change_direction=st.booleans()),
    c.Efna: st.builds(c.Efna, reason=st.sampled_from(AnswerReason), text=texts),
    c.Esid: st.builds(c.Esid, reason=st.sampled_from(EndSessionReason), text=texts),
    c.Cd: st.builds(c.Cd),
    c.Eerp: st.builds(c.Eerp, **identity, user=names(8), hash=binaries, signature=binaries),
    c.Nerp: st.builds(
        c.Nerp,
        **identity,
        creator=names(25),
        reason=st.sampled_from(NegativeResponseReason),
        text=texts,
        hash=binaries,
        signature=binaries,
    ),
    c.Rtr: st.builds(c.Rtr),
    c.Secd: st.builds(c.Secd),
    c.Auch: st.builds(c.Auch, challenge=binaries),
    c.Aurp: st.builds(c.Aurp, response=st.binary(min_size=20, max_size=20)),
}


def same(read: c.Command) -> c.Command:
    """A command with its payload as octets, to be compared."""
    return replace(read, payload=bytes(read.payload)) if isinstance(read, c.Data) else read


def sample(kind: str) -> bytes:
    return next(codec.encode(command) for command in SAMPLES if type(command).__name__.upper() == kind)


def test_there_are_eighteen_commands_and_a_way_to_write_each() -> None:
    assert set(COMMANDS) == set(COMMAND_OCTETS.values())
    assert len(COMMAND_OCTETS) == 18
    assert set(LAYOUTS[Level.REVISION_2_0]) == set(COMMANDS) - {c.Data}
    assert {type(command) for command in SAMPLES} == set(COMMANDS)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.rfc(section_of(kind.__name__.upper()))) for kind in COMMANDS],
    ids=lambda kind: kind.__name__.upper(),
)
def test_what_is_written_is_read_again(kind: type[c.Command]) -> None:
    @given(COMMANDS[kind])
    def round_trip(command: c.Command) -> None:
        assert same(codec.decode(codec.encode(command))) == command

    round_trip()


@given(st.binary(min_size=1, max_size=400), st.sampled_from(sorted(COMMAND_OCTETS)))
@example(b"\0", ord("X"))
def test_any_octets_are_a_command_or_an_error_of_the_peer(octets: bytes, first: int) -> None:
    for buffer in (octets, bytes([first]) + octets):
        try:
            command = codec.decode(buffer)
        except RemoteProtocolError:
            continue
        assert type(command) is COMMAND_OCTETS[buffer[0]]


@given(st.sampled_from(SAMPLES), st.data())
def test_a_command_with_changed_octets_is_a_command_or_an_error_of_the_peer(
    command: c.Command, data: st.DataObject
) -> None:
    buffer = bytearray(codec.encode(command))
    for _ in range(data.draw(st.integers(1, 4))):
        buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnknownCommandError, InvalidDataError, BufferSizeError):
        codec.decode(bytes(buffer))


FIXED = [
    (field.command, field.field, int(field.position), int(re.sub(r"\D", "", field.format[3:])))
    for field in fields_of_the_fixture()
    if field.position and "n" not in field.format
]
LENIENT = ("RSV1", "CMD", "AURPRSP", "HSHL", "SIGL", "CHLL")
"""Reserved fields hold anything, the first octet is the command, and binary lengths can only be too long."""


@pytest.mark.parametrize(
    ("command", "field", "position", "size"),
    [pytest.param(*each, marks=pytest.mark.rfc(section_of(each[0]))) for each in FIXED],
    ids=[field for _, field, _, _ in FIXED],
)
def test_a_wrong_field_is_named_as_in_the_rfc(command: str, field: str, position: int, size: int) -> None:
    buffer = sample(command)
    broken = buffer[:position] + b"\0" * size + buffer[position + size :]
    if field.endswith(LENIENT):
        return
    text_of = {"SFIDDESCL": "SFIDDESC", "SFNAREASL": "SFNAREAST", "EFNAREASL": "EFNAREAST", "ESIDREASL": "ESIDREAST"}
    label = text_of.get(field, {"NERPREASL": "NERPREAST"}.get(field, field))
    with pytest.raises(InvalidDataError, match=rf"\b{label}\b"):
        codec.decode(broken)


@pytest.mark.parametrize(("command", "field", "position", "size"), FIXED, ids=[field for _, field, _, _ in FIXED])
def test_a_command_that_ends_in_a_field_is_too_short(command: str, field: str, position: int, size: int) -> None:
    if (command, field) in {("ESID", "ESIDREASL"), ("EERP", "EERPHSHL")} or field.endswith("CMD"):
        return  # may be left out
    with pytest.raises(BufferSizeError, match=command):
        codec.decode(sample(command)[: position + size - 1])


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__.upper())
def test_octets_behind_a_command_make_it_too_long(command: c.Command) -> None:
    if not isinstance(command, c.Data):
        with pytest.raises(BufferSizeError):
            codec.decode(codec.encode(command) + b"\0\0\0")


@pytest.mark.parametrize("octet", sorted(set(range(256)) - set(COMMAND_OCTETS)))
def test_an_unknown_first_octet_is_no_command(octet: int) -> None:
    with pytest.raises(UnknownCommandError):
        codec.decode(bytes([octet]))


@pytest.mark.rfc("5.3.1", "5.3.2", "5.3.11")
@pytest.mark.interop(1)
@pytest.mark.parametrize("octet", [b"\x0d", b"\x8d", b"\x0a"])
@pytest.mark.parametrize("command", [c.Ssrm(), SSID, c.Esid(reason=EndSessionReason.NORMAL, text="bye")])
def test_a_carriage_return_may_be_any_that_is_in_use(command: c.Command, octet: bytes) -> None:
    buffer = codec.encode(command)
    assert buffer[-1:] == b"\r"
    assert codec.decode(buffer[:-1] + octet) == command


def test_another_octet_is_no_carriage_return() -> None:
    with pytest.raises(InvalidDataError, match="SSIDCR"):
        codec.decode(codec.encode(SSID)[:-1] + b" ")


@pytest.mark.rfc("5.3.11")
@pytest.mark.interop(1)
@pytest.mark.parametrize(
    "buffer",
    [b"F00000\r", b"F00000\x8d", b"F00000\n", b"F00000", b"F00\r", b"F00\x8d", b"F00\n", b"F00"],
)
def test_esid_is_read_in_its_full_and_its_short_forms(buffer: bytes) -> None:
    assert codec.decode(buffer) == c.Esid(reason=EndSessionReason.NORMAL)


@pytest.mark.parametrize("buffer", [b"F00 ", b"F0000", b"F00003ab", b"F00003abcX", b"F00003abc\r\r", b"F00999\r"])
def test_esid_of_a_wrong_length_is_a_size_error(buffer: bytes) -> None:
    with pytest.raises(BufferSizeError, match="ESIDREAST"):
        codec.decode(buffer)


def test_esid_with_a_text_keeps_it_without_the_carriage_return() -> None:
    assert codec.decode(b"F02004 why") == c.Esid(reason=EndSessionReason.PROTOCOL_VIOLATION, text=" why")


@pytest.mark.rfc("5.3.5", "5.3.10", "5.3.11")
def test_an_unlisted_reason_is_unspecified() -> None:
    assert codec.decode(b"F98\r") == c.Esid(reason=EndSessionReason.UNSPECIFIED)
    assert codec.decode(b"377N000") == c.Sfna(reason=AnswerReason.UNSPECIFIED)


@pytest.mark.interop(5)
def test_a_text_that_is_no_utf8_is_replaced() -> None:
    assert codec.decode(b"513003\xff\xfeA") == c.Efna(reason=AnswerReason.DUPLICATE_FILE, text="\ufffd\ufffdA")


@pytest.mark.rfc("5.3.13", "5.3.14")
@pytest.mark.interop(4)
@pytest.mark.parametrize("command", [EERP, NERP], ids=["EERP", "NERP"])
def test_the_trailer_of_an_end_response_may_be_missing(command: c.EndResponse) -> None:
    bare = replace(command, hash=b"", signature=b"")
    buffer = codec.encode(bare)
    assert buffer.endswith(b"\0\0\0\0")
    assert codec.decode(buffer[:-2]) == bare
    assert codec.decode(buffer[:-4]) == bare
    assert codec.decode(codec.encode(replace(bare, hash=b"abc"))[:-2]) == replace(bare, hash=b"abc")


@pytest.mark.parametrize("cut", [1, 3])
@pytest.mark.parametrize("command", [EERP, NERP], ids=["EERP", "NERP"])
def test_half_a_trailer_is_too_short(command: c.EndResponse, cut: int) -> None:
    with pytest.raises(BufferSizeError):
        codec.decode(codec.encode(replace(command, hash=b"", signature=b""))[:-cut])


TEXTS: list[c.Command] = [
    replace(SFID, description="Grüße 東京"),
    c.Sfna(reason=AnswerReason.FILE_TOO_BIG, text="größer als 1 €"),
    c.Efna(reason=AnswerReason.INVALID_BYTE_COUNT, text="ä"),
    c.Esid(reason=EndSessionReason.UNSPECIFIED, text="bis später"),
]


@pytest.mark.interop(5)
@pytest.mark.parametrize("command", TEXTS, ids=lambda command: type(command).__name__.upper())
def test_a_length_in_characters_is_understood_at_the_end_of_a_command(command: c.Command) -> None:
    text = command.description if isinstance(command, c.Sfid) else command.text  # type: ignore[union-attr]  # they have one
    octets = text.encode()
    written = codec.encode(command)
    counted = written.replace(b"%03d" % len(octets) + octets, b"%03d" % len(text) + octets)
    assert counted != written
    assert codec.decode(counted) == command
    with pytest.raises(BufferSizeError):
        codec.decode(written.replace(b"%03d" % len(octets) + octets, b"%03d" % (len(text) - 1) + octets))


@pytest.mark.interop(5)
def test_a_length_beyond_the_buffer_is_never_trusted() -> None:
    for buffer in (codec.encode(EERP)[:106] + b"\xff\xffshort", b"A\xff\xffshort", b"513999short", b"302N999short"):
        with pytest.raises(BufferSizeError):
            codec.decode(buffer)


WRONG: list[tuple[c.Command, str]] = [
    (replace(SSID, code="X" * 26), "SSIDCODE"),
    (replace(SSID, code="GRÜN"), "SSIDCODE"),
    (replace(SSID, code="A\nB"), "SSIDCODE"),
    (replace(SSID, password="TOOLONGPW"), "SSIDPSWD"),
    (replace(SSID, password="pä"), "SSIDPSWD"),
    (replace(SSID, user="123456789"), "SSIDUSER"),
    (replace(SSID, buffer_size=100_000), "SSIDSDEB"),
    (replace(SSID, credit=1_000), "SSIDCRED"),
    (replace(SSID, credit=-1), "SSIDCRED"),
    (replace(SSID, level=10), "SSIDLEV"),
    (replace(SFID, dataset="X" * 27), "SFIDDSN"),
    (replace(SFID, date="2024-2-29"), "SFIDDATE"),
    (replace(SFID, date="202402291"), "SFIDDATE"),
    (replace(SFID, time="11595900 1"), "SFIDTIME"),
    (replace(SFID, time="١٢٣٤٥٦٧٨٩٠"), "SFIDTIME"),
    (replace(SFID, restart=10**17), "SFIDREST"),
    (replace(SFID, description="ä" * 500), "SFIDDESC"),
    (c.Sfpa(restart=-1), "SFPAACNT"),
    (c.Sfna(reason=AnswerReason.UNSPECIFIED, text="x" * 1_000), "SFNAREAST"),
    (c.Esid(reason=EndSessionReason.UNSPECIFIED, text="x" * 1_000), "ESIDREAST"),
    (replace(EERP, hash=bytes(65_536)), "EERPHSH"),
    (replace(EERP, signature=bytes(65_536)), "EERPSIG"),
    (replace(NERP, hash=bytes(65_536)), "NERPHSH"),
    (replace(EERP, hash=bytes(65_535), signature=bytes(65_535)), "EERP"),
    (c.Auch(challenge=bytes(65_536)), "AUCHCHAL"),
    (c.Aurp(response=bytes(19)), "AURPRSP"),
]


@pytest.mark.parametrize(
    ("command", "field"), WRONG, ids=[f"{field}-{index}" for index, (_, field) in enumerate(WRONG)]
)
def test_what_the_wire_cannot_carry_is_refused_by_field(command: c.Command, field: str) -> None:
    with pytest.raises(LocalProtocolError, match=field):
        codec.encode(command)


@pytest.mark.rfc("5.1.1", "5.2")
def test_the_longest_texts_and_buffers_are_carried() -> None:
    for command in (replace(SFID, description="ä" * 499 + "x"), replace(EERP, signature=bytes(65_535))):
        assert codec.decode(codec.encode(command)) == command
        assert len(codec.encode(command)) <= MAX_BUFFER_SIZE


def test_a_lone_surrogate_does_not_break_a_text() -> None:
    assert codec.decode(codec.encode(replace(SFID, description="\ud800!"))) == replace(SFID, description="?!")


def test_no_secret_is_shown() -> None:
    aurp = c.Aurp(response=b"S3CR3T" + bytes(14))
    assert "TOPSECRT" not in repr(SSID) + str(SSID)
    assert "S3CR3T" not in repr(aurp)
    for command in (
        replace(SSID, password="S3CR3T\x00"),
        replace(SSID, password="S3CR3TTOOLONG"),
        c.Aurp(response=b"S3CR3T"),
    ):
        with pytest.raises(LocalProtocolError) as local:
            codec.encode(command)
        assert "S3CR3T" not in str(local.value)


@pytest.mark.parametrize("shift", range(-25, 26))
def test_no_error_quotes_more_than_an_octet_of_a_password_out_of_place(shift: int) -> None:
    buffer = codec.encode(replace(SSID, password="qwzxvkjy"))
    head, tail = buffer[:2], buffer[2:]
    moved = head + (tail[-shift:] if shift < 0 else b" " * shift + tail)
    for candidate in (moved, moved.ljust(len(buffer), b" ")[: len(buffer)]):
        error = ""
        try:
            codec.decode(candidate)
        except RemoteProtocolError as raised:
            error = str(raised)
        assert not any("qwzxvkjy"[at : at + 2] in error for at in range(7)), error


@pytest.mark.rfc("1.5.2", "5.3.13", "5.3.14")
def test_an_end_response_names_the_file_as_its_originator_does() -> None:
    assert EERP.identity == NERP.identity == SFID.identity
    assert str(SFID.identity) == f"MARINER 20240229 1159590001 O0013INITIATOR>{CODE_R}"


@pytest.mark.rfc("5.3.14")
def test_an_end_response_is_the_word_of_its_creator_or_else_of_whoever_the_file_was_for() -> None:
    assert EERP.station == EERP.originator
    assert replace(NERP, creator="O0013BETWEEN").station == "O0013BETWEEN"
    assert replace(NERP, creator="").station == NERP.originator


@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind is not c.Data], ids=lambda kind: kind.__name__)
def test_a_layout_carries_every_field_of_its_command(kind: type[c.Command]) -> None:
    laid_out = {part.name for part in LAYOUTS[Level.REVISION_2_0][kind].subcons}
    assert {field.name for field in fields(kind)} <= laid_out


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_the_parts_of_a_command_are_the_fields_of_the_rfc(kind: type[c.Command]) -> None:
    found, at = [], 0
    for part in parts(kind, Level.REVISION_2_0):
        found.append((part.label, str(at) if at is not None else "", f"{part.shape}({part.size or 'n'})"))
        at = None if at is None or part.size is None else at + part.size
    fixed = [
        (each.field, each.position, each.format[2:])
        for each in fields_of_the_fixture()
        if each.command == kind.__name__.upper()
    ]
    # The RFC calls the closing carriage return a character; its octet is no printable one.
    assert [(label, at, form.replace("U(1)", "X(1)")) for label, at, form in found] == fixed
