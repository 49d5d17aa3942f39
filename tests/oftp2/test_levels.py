"""The release levels below 5: layouts of RFC 2204 (levels 1 and 2) and of revision 1.4 (level 4), and sessions at each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2 import codec
from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.errors import BufferSizeError, InvalidDataError, LocalProtocolError, RemoteProtocolError, UnknownCommandError
from oftp2.layouts import COMMAND_OCTETS, LAYOUTS, parts
from oftp2.negotiation import Capabilities
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.tables import State
from oftp2.values import Level, Mode, Role, SecurityLevel
from tests.oftp2.rfc5024 import Field, fields_of_rfc2204, fields_of_the_fixture
from tests.oftp2.test_codec import COMMANDS, same
from tests.oftp2.wire import (
    CODE_I,
    CODE_R,
    EERP,
    NERP,
    PASSWORD,
    SAMPLES,
    SFID,
    SMALL,
    SSID,
    SessionPair,
    commands_in,
    make,
    on_the_wire,
)

LOWER = (Level.REVISION_1_2, Level.REVISION_1_3, Level.REVISION_1_4)
OF_2_0 = {c.Secd, c.Auch, c.Aurp}
MISSING = {
    Level.REVISION_1_2: {c.Nerp, *OF_2_0},
    Level.REVISION_1_3: {c.Nerp, *OF_2_0},
    Level.REVISION_1_4: OF_2_0,
    Level.REVISION_2_0: set[type[c.Command]](),
}

lower_levels = pytest.mark.parametrize("level", LOWER, ids=lambda level: f"level {level}")
levels = pytest.mark.parametrize("level", Level, ids=lambda level: f"level {level}")


def table(level: Level) -> list[Field]:
    """The fields at a level. Those of level 4 are put together from both RFCs, as the docstring of the layouts says."""
    if level is Level.REVISION_2_0:
        return fields_of_the_fixture()
    if level is not Level.REVISION_1_4:
        return fields_of_rfc2204()
    newer = {row.field: row for row in fields_of_the_fixture()}
    taken = {f"{command}{field}" for command in ("SFID", "EERP") for field in ("RSV1", "DATE", "TIME")}
    nerp = [row for row in fields_of_the_fixture() if row.command == "NERP" and row.position.isdigit()]
    return [newer[row.field] if row.field in taken else row for row in fields_of_rfc2204()] + [
        row for row in nerp if int(row.position) <= int(newer["NERPREAS"].position)
    ]


def size_of(field: Field) -> int:
    return int(re.sub(r"\D", "", field.format[3:]))


def at_level(command: c.Command, level: Level) -> c.Command:
    """What comes out when ``command`` has been said at ``level``, which it must be able to."""
    changes: dict[str, object] = {}
    has = {field.name for field in fields(command)}
    if isinstance(command, c.Ssid):
        changes = {"level": level, "authentication": False}
    elif level is not Level.REVISION_2_0:
        reset = {"text": "", "description": "", "hash": b"", "signature": b""}
        changes = {name: value for name, value in reset.items() if name in has}
        if isinstance(command, c.Sfid):
            changes["original_size"] = command.size
    if level <= Level.REVISION_1_3 and "time" in has:
        changes["time"] = f"{command.time[:6]}0000"  # type: ignore[union-attr]  # those that have one
    return replace(command, **changes)


def sayable(level: Level) -> list[c.Command]:
    return [at_level(command, level) for command in SAMPLES if type(command) not in MISSING[level]]


FIXED = [
    (level, *row)
    for level in LOWER
    for row in table(level)
    if "n" not in row.format and not row.field.endswith(("RSV1", "CMD"))
]


# --- layouts


@levels
def test_the_commands_of_a_level_are_those_of_its_rfc(level: Level) -> None:
    named = {row.command for row in table(level)} - {"DATA"}
    assert {kind.__name__.upper() for kind in LAYOUTS[level]} == named
    assert set(LAYOUTS[level]) == set(COMMAND_OCTETS.values()) - MISSING[level] - {c.Data}


@levels
@pytest.mark.parametrize("kind", COMMAND_OCTETS.values(), ids=lambda kind: kind.__name__.upper())
def test_a_layout_fills_every_field_of_its_command(level: Level, kind: type[c.Command]) -> None:
    if kind not in MISSING[level] | {c.Data}:
        laid_out = {part.name for part in LAYOUTS[level][kind].subcons}
        assert {field.name for field in fields(kind)} <= laid_out


@pytest.mark.rfc("5.3")
@pytest.mark.interop(6)
@levels
def test_every_command_consists_of_the_fields_of_its_rfc(level: Level) -> None:
    for kind in (*LAYOUTS[level], c.Data):
        found, at = [], 0
        for part in parts(kind, level):
            found.append((part.label, str(at) if at is not None else "", part.size))
            at = None if at is None or part.size is None else at + part.size
        named = [row for row in table(level) if row.command == kind.__name__.upper()]
        assert found == [(row.field, row.position, None if "n" in row.format else size_of(row)) for row in named]


@lower_levels
def test_every_command_is_as_long_as_its_rfc_has_it(level: Level) -> None:
    ends = {row.command: int(row.position) + size_of(row) for row in table(level) if "n" not in row.format}
    for command in sayable(level):
        if not isinstance(command, c.Data):
            assert len(codec.encode(command, level)) == ends[type(command).__name__.upper()]


@pytest.mark.parametrize(
    ("level", "command", "position", "field", "format_"), FIXED, ids=[f"{row[0]}-{row[3]}" for row in FIXED]
)
def test_a_field_stands_where_its_rfc_has_it(
    level: Level, command: str, position: str, field: str, format_: str
) -> None:
    at, size = int(position), size_of(Field(command, position, field, format_))
    sample = next(each for each in sayable(level) if type(each).__name__.upper() == command)
    buffer = codec.encode(sample, level)
    broken = buffer[:at] + b"\0" * size + buffer[at + size :]
    # ESIDCR may be missing, so what stands there is a wrong length.
    error = BufferSizeError if field == "ESIDCR" else InvalidDataError
    with pytest.raises(error, match="ESIDREAST" if field == "ESIDCR" else rf"\b{field}\b"):
        codec.decode(broken, level)
    if field != "ESIDCR":
        with pytest.raises(BufferSizeError, match=command):
            codec.decode(buffer[: at + size - 1], level)


@lower_levels
@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__.upper())
def test_what_a_level_carries_is_read_again(level: Level, kind: type[c.Command]) -> None:
    if kind in MISSING[level]:
        return

    @given(COMMANDS[kind])
    def round_trip(command: c.Command) -> None:
        said = within(command, level)
        assert same(codec.decode(codec.encode(said, level), level)) == at_level(said, level)

    round_trip()


def within(command: c.Command, level: Level) -> c.Command:  # noqa: PLR0911 - one case for each kind of command
    """A command of any values, brought into the ranges of ``level``."""
    match command:
        case c.Ssid():
            return replace(command, level=level, authentication=False)
        case c.Sfid():
            # The century comes back for the dates of a hundred years.
            return replace(
                command,
                date=f"20{int(command.date[2:4]) % 80:02}{command.date[4:]}",
                size=command.size % 10**7,
                restart=command.restart % 10**9,
                security=SecurityLevel.NONE,
                cipher=0,
                compression=0,
                envelope=0,
                signed_response=False,
            )
        case c.Eerp() | c.Nerp():
            date = f"19{80 + int(command.date[2:4]) % 20}{command.date[4:]}"
            reason = {"reason": NegativeResponseReason.PROCESSING_FAILED} if isinstance(command, c.Nerp) else {}
            return replace(command, date=date, hash=b"", signature=b"", **reason)
        case c.Sfpa():
            return c.Sfpa(restart=command.restart % 10**9)
        case c.Efid():
            return c.Efid(records=command.records % 10**9, octets=command.octets % 10**12)
        case c.Sfna() | c.Efna():
            return replace(command, reason=AnswerReason.DUPLICATE_FILE)
        case c.Esid():
            return replace(command, reason=EndSessionReason.PROTOCOL_VIOLATION)
    return command


@given(st.binary(min_size=1, max_size=200), st.sampled_from(sorted(COMMAND_OCTETS)), st.sampled_from(LOWER))
def test_any_octets_are_a_command_of_the_level_or_an_error_of_the_peer(octets: bytes, first: int, level: Level) -> None:
    for buffer in (octets, bytes([first]) + octets):
        try:
            command = codec.decode(buffer, level)
        except RemoteProtocolError:
            continue
        assert type(command) not in MISSING[level]


@lower_levels
def test_a_command_of_a_later_level_is_not_known(level: Level) -> None:
    for command in SAMPLES:
        if type(command) in MISSING[level]:
            with pytest.raises(UnknownCommandError, match=f"at release level {level}"):
                codec.decode(codec.encode(command), level)
            with pytest.raises(LocalProtocolError, match=f"at release level {level}"):
                codec.encode(command, level)


# --- what a lower level has no room for


REFUSED: list[tuple[c.Command, str]] = [
    (replace(SSID, level=1, authentication=True), "SSIDAUTH"),
    (replace(SFID, security=SecurityLevel.SIGNED), "SFIDSEC"),
    (replace(SFID, cipher=1), "SFIDCIPH"),
    (replace(SFID, compression=1), "SFIDCOMP"),
    (replace(SFID, envelope=1), "SFIDENV"),
    (replace(SFID, signed_response=True), "SFIDSIGN"),
    (replace(SFID, size=10**7), "SFIDFSIZ"),
    (replace(SFID, restart=10**9), "SFIDREST"),
    (c.Sfpa(restart=10**9), "SFPAACNT"),
    (c.Efid(records=10**9, octets=0), "EFIDRCNT"),
    (c.Efid(octets=10**12), "EFIDUCNT"),
    (replace(EERP, hash=b"h"), "EERPHSH"),
    (replace(EERP, hash=b"", signature=b"s"), "EERPSIG"),
]


@lower_levels
@pytest.mark.parametrize(("command", "field"), REFUSED, ids=[field for _, field in REFUSED])
def test_what_a_level_has_no_room_for_is_refused_by_field(level: Level, command: c.Command, field: str) -> None:
    with pytest.raises(LocalProtocolError, match=field):
        codec.encode(command, level)


@pytest.mark.parametrize(("change", "field"), [({"hash": b"h"}, "NERPHSH"), ({"signature": b"s"}, "NERPSIG")])
def test_a_signed_nerp_needs_level_5(change: dict[str, bytes], field: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"{field} needs release level 5"):
        codec.encode(replace(NERP, **change), Level.REVISION_1_4)


@lower_levels
def test_texts_for_people_and_the_original_size_are_left_out(level: Level) -> None:
    told = [
        (c.Sfna(reason=AnswerReason.DUPLICATE_FILE, retry=True, text="why"), b"313Y"),
        (c.Efna(reason=AnswerReason.INVALID_BYTE_COUNT, text="why"), b"511"),
        (c.Esid(reason=EndSessionReason.TIME_OUT, text="why"), b"F09\r"),
    ]
    for command, octets in told:
        assert codec.encode(command, level) == octets
        assert codec.decode(octets, level) == replace(command, text="")
    read = codec.decode(codec.encode(replace(SFID, original_size=77), level), level)
    assert isinstance(read, c.Sfid)
    assert (read.description, read.original_size) == ("", SFID.size)


def unlisted(level: Level) -> Iterator[tuple[c.Command, bytes]]:
    newest_answer = 13 if level <= Level.REVISION_1_3 else 14
    for answer in AnswerReason:
        written = answer if answer <= newest_answer else 99
        yield c.Sfna(reason=answer), b"3%02dN" % written
        yield c.Efna(reason=answer), b"5%02d" % written
    for end in EndSessionReason:
        yield c.Esid(reason=end), b"F%02d\r" % (end if end not in {11, 12} else 99)


@lower_levels
def test_a_reason_that_the_level_does_not_list_is_written_as_unspecified(level: Level) -> None:
    for command, octets in unlisted(level):
        assert codec.encode(command, level) == octets


def test_a_nerp_of_level_4_tells_nothing_of_file_security() -> None:
    for reason in NegativeResponseReason:
        octets = codec.encode(replace(NERP, reason=reason), Level.REVISION_1_4)
        assert octets[126:] == b"%02d" % (99 if 25 <= reason <= 33 else reason)


@pytest.mark.parametrize(
    ("written", "read"),
    [("240229", "20240229"), ("791231", "20791231"), ("800101", "19800101"), ("991231", "19991231")],
)
def test_a_date_without_century_is_of_1980_to_2079(written: str, read: str) -> None:
    buffer = codec.encode(replace(EERP, hash=b"", date=read), Level.REVISION_1_2)
    assert buffer[36:42] == written.encode()
    command = codec.decode(buffer, Level.REVISION_1_2)
    assert isinstance(command, c.Eerp)
    assert (command.date, command.time) == (read, "1159590000")


@pytest.mark.parametrize(
    "wrong", [{"date": "2024022"}, {"date": "2024X229"}, {"time": "115959000"}, {"time": "1159X90001"}]
)
def test_half_a_stamp_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(LocalProtocolError, match="SFID"):
        codec.encode(replace(SFID, **wrong), Level.REVISION_1_2)


# --- SSID and ESID, which come in the form of another level


@pytest.mark.rfc("5.3.2")
@pytest.mark.interop(6)
@levels
def test_an_ssid_is_laid_out_by_the_level_it_names(level: Level) -> None:
    ssid = replace(SSID, level=level, authentication=level is Level.REVISION_2_0)
    buffer = codec.encode(ssid)
    assert buffer[47:52] == (b"Y    " if level is Level.REVISION_2_0 else b"     ")
    for session_level in Level:
        assert codec.decode(buffer, session_level) == ssid


def test_what_an_old_ssid_holds_in_its_reserved_octets_is_ignored() -> None:
    buffer = codec.encode(replace(SSID, level=2))
    assert codec.decode(buffer[:47] + b"Y\0\xff  " + buffer[52:]) == replace(SSID, level=2)


@pytest.mark.rfc("5.3.11")
@pytest.mark.interop(1)
@levels
@pytest.mark.parametrize(
    "buffer",
    [b"F00\r", b"F00\x8d", b"F00\n", b"F00", b"F00000\r", b"F00000"],
)
def test_an_esid_is_read_in_the_form_of_any_level(level: Level, buffer: bytes) -> None:
    assert codec.decode(buffer, level) == c.Esid(reason=EndSessionReason.NORMAL)


# --- sessions


def pair_at(initiator: Level, responder: Level) -> SessionPair:
    pair = SessionPair(replace(SMALL, level=initiator), replace(SMALL, level=responder))
    pair.establish()
    return pair


@pytest.mark.rfc("5.3.2")
@pytest.mark.interop(6)
@pytest.mark.parametrize("responder", Level, ids=lambda level: f"R{level}")
@pytest.mark.parametrize("initiator", Level, ids=lambda level: f"I{level}")
def test_two_of_any_levels_exchange_files_and_end_responses_at_the_lower_one(
    initiator: Level, responder: Level
) -> None:
    pair = pair_at(initiator, responder)
    level = min(initiator, responder)
    for side in pair.sides:
        assert side.session.terms is not None
        assert side.session.terms.level is level
    sfid = at_level(SFID, level)
    assert isinstance(sfid, c.Sfid)
    eerp = replace(EERP, time=sfid.time, hash=b"")
    for _ in range(2):
        speaker, listener = pair.speaker, pair.other(pair.speaker)
        assert pair.transfer(b"It is an ancient Mariner", sfid=sfid) == b"It is an ancient Mariner"
        pair.ask(speaker, r.SendEndResponse(command=eerp))
        told = listener.expect(e.EndResponseReceived).command
        assert told == eerp
        assert told.identity == sfid.identity
        pair.ask(listener, r.SendReady())
        speaker.expect(e.ReadyReceived)
        pair.ask(speaker, r.ChangeDirection())
        listener.expect(e.TurnReceived)
    pair.ask(pair.speaker, r.EndSession(reason=EndSessionReason.EMERGENCY_CLOSE_DOWN, text="lights out"))
    aborted = pair.responder.expect(e.SessionAborted)
    assert aborted.reason is EndSessionReason.EMERGENCY_CLOSE_DOWN
    assert aborted.text == ("lights out" if level is Level.REVISION_2_0 else "")
    first, *_, last = commands_in(bytes(pair.initiator.written), level)
    assert isinstance(first, c.Ssid)
    assert first.level == initiator
    assert isinstance(last, c.Esid)
    answer = next(each for each in commands_in(bytes(pair.responder.written), level) if isinstance(each, c.Ssid))
    assert answer.level == level


@pytest.mark.parametrize("granted", Level, ids=lambda level: f"level {level}")
def test_a_responder_speaks_with_one_initiator_at_a_lower_level_than_with_others(granted: Level) -> None:
    pair = SessionPair()
    pair.connect()
    pair.responder.expect(e.SessionOffered)
    pair.ask(pair.responder, r.AcceptSession(code=CODE_R, password=PASSWORD, level=granted))
    assert pair.initiator.expect(e.SessionEstablished).terms.level is granted
    assert pair.responder.expect(e.SessionEstablished).terms.level is granted


@pytest.mark.parametrize(
    ("granted", "terms"),
    [
        ({"mode": Mode.SENDER}, {"mode": Mode.SENDER}),
        ({"mode": Mode.RECEIVER}, {"mode": Mode.RECEIVER}),
        ({"compression": False}, {"compression": False}),
        ({"restart": False}, {"restart": False}),
        ({"buffer_size": 128, "credit": 1}, {"buffer_size": 128, "credit": 1}),
        ({"buffer_size": 99_999, "credit": 999}, {"buffer_size": 128, "credit": 2}),
    ],
)
def test_a_responder_grants_one_initiator_less_than_others(granted: dict[str, Any], terms: dict[str, Any]) -> None:
    pair = SessionPair()
    pair.connect()
    usual = pair.responder.session.terms
    assert usual is not None
    pair.responder.expect(e.SessionOffered)
    pair.ask(pair.responder, r.AcceptSession(code=CODE_R, password=PASSWORD, **granted))
    agreed = pair.responder.expect(e.SessionEstablished).terms
    assert agreed == replace(usual, **terms)
    opposite = {Mode.SENDER: Mode.RECEIVER, Mode.RECEIVER: Mode.SENDER, Mode.BOTH: Mode.BOTH}
    assert pair.initiator.expect(e.SessionEstablished).terms == replace(agreed, mode=opposite[agreed.mode])


@pytest.mark.parametrize("mode", [Mode.SENDER, Mode.RECEIVER])
def test_a_responder_ends_with_10_when_an_initiator_can_only_do_what_it_shall_not(mode: Mode) -> None:
    session = make(Role.RESPONDER)
    session.connected(0.0)
    session.receive_data(on_the_wire(replace(SSID, mode=mode)), 0.0)
    (aborted,) = session.send(r.AcceptSession(code=CODE_R, password=PASSWORD, mode=mode), 0.0)
    assert isinstance(aborted, e.SessionAborted)
    assert aborted.reason is EndSessionReason.INCOMPATIBLE


@pytest.mark.rfc("5.3.11")
@pytest.mark.interop(6)
@lower_levels
def test_a_responder_ends_with_10_when_the_level_is_not_enough_for_this_initiator(level: Level) -> None:
    for demand in (
        r.AcceptSession(code=CODE_R, password=PASSWORD, lowest_level=Level.REVISION_2_0),
        r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=True),
    ):
        session = make(Role.RESPONDER)
        session.connected(0.0)
        session.receive_data(on_the_wire(replace(SSID, level=level)), 0.0)
        (aborted,) = session.send(demand, 0.0)
        assert isinstance(aborted, e.SessionAborted)
        assert aborted.reason is EndSessionReason.INCOMPATIBLE
        assert "level 5 is required" in aborted.text
        assert session.data_to_send().endswith(b"F10\r")


@lower_levels
def test_an_initiator_that_requires_authentication_ends_with_10_at_a_lower_level(level: Level) -> None:
    session = make(Role.INITIATOR, replace(SMALL, authentication=True))
    session.connected(0.0)
    (aborted,) = session.receive_data(on_the_wire(c.Ssrm(), replace(SSID, level=level)), 0.0)
    assert isinstance(aborted, e.SessionAborted)
    assert aborted.reason is EndSessionReason.INCOMPATIBLE
    assert session.data_to_send().endswith(b"F10\r")
    assert session.peer == replace(SSID, level=level)


def test_a_grant_that_contradicts_itself_is_refused_and_changes_nothing() -> None:
    session = make(Role.RESPONDER, replace(SMALL, mode=Mode.SENDER))
    session.connected(0.0)
    session.receive_data(on_the_wire(SSID), 0.0)
    session.data_to_send()
    for wrong in (
        r.AcceptSession(code=CODE_R, password=PASSWORD, level=Level.REVISION_1_2, lowest_level=Level.REVISION_1_4),
        r.AcceptSession(code=CODE_R, password=PASSWORD, mode=Mode.RECEIVER),
    ):
        with pytest.raises(LocalProtocolError):
            session.send(wrong, 0.0)
        assert session.state is State.A_WF_CONRS
        assert session.data_to_send() == b""


@pytest.mark.parametrize("stored", [False, True], ids=["as Speaker", "before the turn comes"])
def test_a_nerp_at_level_1_is_refused_and_changes_nothing(*, stored: bool) -> None:
    pair = pair_at(Level.REVISION_1_2, Level.REVISION_1_2)
    if stored:
        pair.transfer(b"", wants_turn=True, sfid=replace(SFID, time="1159590000", description=""))
    side = pair.responder if stored else pair.initiator
    state = side.session.state
    with pytest.raises(LocalProtocolError, match="no NERP at release level 1"):
        side.session.send(r.SendEndResponse(command=NERP), 0.0)
    assert side.session.state is state
    assert side.session.data_to_send() == b""


def test_a_command_of_level_5_ends_a_session_of_level_1() -> None:
    pair = pair_at(Level.REVISION_2_0, Level.REVISION_1_2)
    (aborted,) = pair.responder.session.receive_data(on_the_wire(NERP), 0.0)
    assert isinstance(aborted, e.SessionAborted)
    assert aborted.reason is EndSessionReason.COMMAND_NOT_RECOGNISED
    assert pair.responder.session.data_to_send().endswith(b"F01\r")


def test_the_level_of_a_session_is_offered_from_the_start() -> None:
    session = make(Role.INITIATOR, Capabilities(level=Level.REVISION_1_4))
    session.connected(0.0)
    session.receive_data(on_the_wire(c.Ssrm()), 0.0)
    (ssid,) = commands_in(session.data_to_send())
    assert isinstance(ssid, c.Ssid)
    assert (ssid.level, ssid.code) == (4, CODE_I)
