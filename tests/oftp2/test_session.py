"""One session in each of its states: every input, every timer, every kind of bad input."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from oftp2 import codec
from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.deviations import EFFECTIVE, UNCONNECTED
from oftp2.errors import LocalProtocolError
from oftp2.framing import frame
from oftp2.negotiation import Capabilities
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.session import (
    CLOSING,
    INACTIVITY,
    LISTENER,
    MAX_CREDITS,
    MAX_EMPTY_SUBRECORDS,
    OURS,
    SPEAKER,
    Session,
    input_of,
)
from oftp2.tables import Input, State
from oftp2.values import Level, Mode, Role, Turn
from tests.oftp2.wire import (
    AUTHENTICATED,
    CODE_I,
    CODE_R,
    CONNECT,
    EERP,
    NERP,
    PASSWORD,
    PATHS,
    REQUESTS,
    SAMPLES,
    SECRET,
    SFID,
    SMALL,
    SSID,
    commands_in,
    in_state,
    make,
    merged,
    on_the_wire,
    pieces,
    snapshot,
    take_step,
)

FROM_PEER = (
    *SAMPLES,
    c.Esid(reason=EndSessionReason.EMERGENCY_CLOSE_DOWN, text="lights out"),
    c.Sfpa(restart=1),
    replace(SFID, restart=1),
    replace(SSID, authentication=True),
    replace(SSID, level=3),
    c.Efpa(change_direction=True),
)
CONNECTED = sorted(set(State) - UNCONNECTED - {State.WF_NDISC})

states = pytest.mark.parametrize("state", State, ids=lambda state: state.value)
connected_states = pytest.mark.parametrize("state", CONNECTED, ids=lambda state: state.value)
waiting_states = pytest.mark.parametrize("state", sorted(set(CONNECTED) - OURS), ids=lambda state: state.value)


def assert_aborted(session: Session, events: list[e.Event], reason: EndSessionReason) -> e.SessionAborted:
    """The session has told its User Monitor and its peer why it ends, and waits for the connection to close."""
    aborted = events[-1]
    assert aborted == e.SessionAborted(origin=e.Origin.LOCAL, reason=reason, text=aborted.text)
    assert isinstance(aborted, e.SessionAborted)
    assert aborted.text
    level = session._machine.variables.level
    esid = commands_in(session.data_to_send(), level)[-1]
    assert esid == c.Esid(reason=reason, text=aborted.text if level is Level.REVISION_2_0 else "")
    assert session.state is State.WF_NDISC
    assert not session.finished
    return aborted


@pytest.mark.rfc("9.3")
@states
def test_there_is_a_way_into_every_state(state: State) -> None:
    assert in_state(state).state is state


@pytest.mark.rfc("9.1", "9.4")
@states
@pytest.mark.parametrize("command", FROM_PEER, ids=lambda command: type(command).__name__.upper())
def test_every_command_is_taken_in_every_state_as_the_tables_say(state: State, command: c.Command) -> None:
    session = in_state(state)
    events = session.receive_data(on_the_wire(command), 1.0)
    decision = EFFECTIVE[state, input_of(command)]
    if isinstance(decision, str):
        assert state in UNCONNECTED
        assert (events, session.state) == ([], state)
        return
    assert session.state in {row.to for row in decision}
    if session.state is State.WF_NDISC and state is not State.WF_NDISC:
        (aborted,) = events
        assert isinstance(aborted, e.SessionAborted)
        assert_aborted(session, events, aborted.reason)


@pytest.mark.rfc("9.1", "3.2.1")
@states
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_every_request_is_done_or_refused_without_a_trace(state: State, request_: r.Request) -> None:
    session = in_state(state)
    before = snapshot(session)
    decision = EFFECTIVE[state, input_of(request_)]
    try:
        session.send(request_, 1.0)
    except LocalProtocolError as error:
        refused = str(error)
        assert snapshot(session) == before
        assert isinstance(decision, str) or refused
    else:
        assert not isinstance(decision, str)
        assert session.state in {row.to for row in decision}
        assert session.accepts(type(request_)) in {True, False}


@states
def test_what_a_session_accepts_is_what_the_tables_allow(state: State) -> None:
    session = in_state(state)
    for request in REQUESTS:
        if not isinstance(request, r.EndSession) or request.reason is EndSessionReason.NORMAL:
            event = Input.F_EERP_RQ if isinstance(request, r.SendEndResponse) else input_of(request)
            assert session.accepts(type(request)) is not isinstance(EFFECTIVE[state, event], str)


@pytest.mark.rfc("3.3.4", "3.3.4.1", "4.3.1")
@states
def test_the_turn_follows_from_the_state(state: State) -> None:
    expected = Turn.SPEAKER if state in SPEAKER else Turn.LISTENER if state in LISTENER else Turn.NOBODY
    assert in_state(state).turn is expected
    assert not SPEAKER & LISTENER


# Time


@states
def test_each_state_has_its_deadline(state: State) -> None:
    session = in_state(state, now=100.0)
    if state in UNCONNECTED | OURS:
        assert session.deadline is None
        assert session.tick(1e9) == []
    else:
        assert session.deadline == 100.0 + (CLOSING if state is State.WF_NDISC else INACTIVITY)


def test_a_peer_that_waits_for_data_to_be_dealt_with_is_not_timed_out() -> None:
    session = receiving()
    session.receive_data(on_the_wire(c.Data(payload=b"\x03abc")), 100.0)
    assert session.deadline is None
    session.send(r.Consumed(octets=2), 500.0)
    assert session.tick(1e9) == []
    session.send(r.Consumed(octets=1), 600.0)
    assert session.deadline == 600.0 + INACTIVITY


@pytest.mark.rfc("4.7.2", "9.9")
@waiting_states
def test_silence_ends_the_session_with_a_word_to_both(state: State) -> None:
    session = in_state(state, now=100.0)
    assert session.tick(219.9) == []
    assert session.state is state
    events = session.tick(220.0)
    aborted = assert_aborted(session, events, EndSessionReason.TIME_OUT)
    assert state.value in aborted.text
    assert session.deadline == 230.0
    assert session.tick(229.9) == []
    assert session.tick(230.0) == []
    assert session.finished
    assert session.deadline is None
    assert session.tick(1e9) == []


@pytest.mark.rfc("4.7.2")
@waiting_states
def test_what_the_peer_takes_rearms_the_deadline(state: State) -> None:
    session = in_state(state, now=100.0)
    session.taken(150.0)
    assert session.deadline == 150.0 + INACTIVITY == 150.0 + session.patience


def test_what_the_peer_takes_after_our_esid_rearms_nothing() -> None:
    session = in_state(State.WF_NDISC, now=100.0)
    session.taken(105.0)
    assert session.deadline == 100.0 + CLOSING == 100.0 + session.patience


def test_where_no_timer_runs_none_is_begun() -> None:
    session = Session(Role.RESPONDER, SMALL)
    session.taken(100.0)
    assert session.deadline is None


@waiting_states
def test_part_of_a_command_is_no_sign_of_life(state: State) -> None:
    session = in_state(state, now=100.0)
    assert session.receive_data(on_the_wire(SFID)[:50], 150.0) == []
    assert session.deadline == 220.0


def test_an_accepted_command_rearms_the_deadline() -> None:
    session = in_state(State.WF_RTR, now=100.0)
    session.receive_data(on_the_wire(c.Rtr()), 150.0)
    assert session.deadline == 150.0 + INACTIVITY


def test_a_request_rearms_the_deadline() -> None:
    session = in_state(State.IDLESP, now=100.0)
    session.send(r.ChangeDirection(), 150.0)
    assert session.deadline == 150.0 + INACTIVITY


def test_a_refused_request_does_not() -> None:
    session = in_state(State.IDLELI, now=100.0)
    with pytest.raises(LocalProtocolError):
        session.send(r.CloseFile(octets=0), 150.0)
    assert session.deadline == 220.0


@pytest.mark.parametrize("command", [command for command in FROM_PEER if not isinstance(command, c.Esid)])
def test_a_peer_cannot_hold_a_session_that_is_over(command: c.Command) -> None:
    session = in_state(State.WF_NDISC, now=100.0)
    assert session.receive_data(on_the_wire(command), 109.0) == []
    assert session.data_to_send() == b""
    assert session.deadline == 110.0


def test_garbage_cannot_hold_a_session_that_is_over() -> None:
    session = in_state(State.WF_NDISC, now=100.0)
    for now in (105.0, 106.0, 107.0):
        assert session.receive_data(b"garbage" * 1_000, now) == []
    assert session.deadline == 110.0
    assert session.data_to_send() == b""


@pytest.mark.interop(3)
def test_late_credits_cannot_keep_a_listener_from_answering_for_ever() -> None:
    session = in_state(State.CLOP, now=100.0)
    assert session.receive_data(on_the_wire(c.Cdt()), 200.0) == []
    assert session.deadline == 220.0
    assert session.credit == 0


def test_times_are_chosen_by_the_application() -> None:
    session = Session(Role.RESPONDER, SMALL, inactivity=5.0, closing=1.0)
    session.connected(100.0)
    assert session.deadline == 105.0
    assert_aborted(session, session.tick(105.0), EndSessionReason.TIME_OUT)
    assert session.deadline == 106.0


# What a peer can do wrong


def ssid_with(position: int, octets: bytes) -> bytes:
    buffer = codec.encode(SSID)
    return frame(buffer[:position] + octets + buffer[position + len(octets) :])


def sfid_with(position: int, octets: bytes) -> bytes:
    buffer = codec.encode(SFID)
    return frame(buffer[:position] + octets + buffer[position + len(octets) :])


BAD: dict[str, tuple[State, bytes, EndSessionReason, str]] = {
    "a header of another version": (State.IDLELI, b"\x20\0\0\5R", EndSessionReason.COMMAND_NOT_RECOGNISED, "header"),
    "a header with flags": (State.IDLELI, b"\x11\0\0\5R", EndSessionReason.COMMAND_NOT_RECOGNISED, "header"),
    "TLS on a plain port": (State.A_NC_ONLY, b"\x16\x03\x01\x02", EndSessionReason.COMMAND_NOT_RECOGNISED, "header"),
    "HTTP": (State.A_NC_ONLY, b"GET / HTTP/1.1\r\n", EndSessionReason.COMMAND_NOT_RECOGNISED, "header"),
    "an empty frame": (State.IDLELI, b"\x10\0\0\4", EndSessionReason.BUFFER_SIZE_ERROR, "header"),
    "a frame shorter than its header": (State.IDLELI, b"\x10\0\0\0", EndSessionReason.BUFFER_SIZE_ERROR, "header"),
    "an oversized frame": (State.OPI, b"\x10\x01\x86\xa4", EndSessionReason.BUFFER_SIZE_ERROR, "header"),
    "an unknown command": (State.IDLELI, frame(b"Z"), EndSessionReason.COMMAND_NOT_RECOGNISED, "Z"),
    "an unknown command in front of SSID": (
        State.A_NC_ONLY,
        frame(b"\0"),
        EndSessionReason.COMMAND_NOT_RECOGNISED,
        "x00",
    ),
    "a command that is too short": (State.A_NC_ONLY, frame(b"X5"), EndSessionReason.BUFFER_SIZE_ERROR, "SSID"),
    "a command that is too long": (State.IDLELI, frame(b"R "), EndSessionReason.BUFFER_SIZE_ERROR, "CD"),
    "a text beyond the end": (State.OPOP, frame(b"301N009short"), EndSessionReason.BUFFER_SIZE_ERROR, "SFNA"),
    "a text length that is no number": (State.OPOP, frame(b"301NXXX"), EndSessionReason.INVALID_DATA, "SFNAREAST"),
    "another ready message": (
        State.I_WF_RM,
        frame(b"IODETTE FTP READY\r "),
        EndSessionReason.INVALID_DATA,
        "SSRMMSG",
    ),
    "non-ASCII in a code": (State.A_NC_ONLY, ssid_with(2, "Ä".encode()), EndSessionReason.INVALID_DATA, "SSIDCODE"),
    "a control character in a code": (State.A_NC_ONLY, ssid_with(5, b"\n"), EndSessionReason.INVALID_DATA, "SSIDCODE"),
    "a NUL in a password": (State.A_NC_ONLY, ssid_with(27, b"\0"), EndSessionReason.INVALID_DATA, "SSIDPSWD"),
    "a level that is no digit": (State.A_NC_ONLY, ssid_with(1, b"V"), EndSessionReason.INVALID_DATA, "SSIDLEV"),
    "an unknown level": (State.A_NC_ONLY, ssid_with(1, b"3"), EndSessionReason.INCOMPATIBLE, "level 3"),
    "no level": (State.A_NC_ONLY, ssid_with(1, b"0"), EndSessionReason.INCOMPATIBLE, "level 0"),
    "a buffer below the minimum": (State.A_NC_ONLY, ssid_with(35, b"00127"), EndSessionReason.INVALID_DATA, "SSIDSDEB"),
    "no credit": (State.A_NC_ONLY, ssid_with(44, b"000"), EndSessionReason.INVALID_DATA, "SSIDCRED"),
    "an unknown mode": (State.A_NC_ONLY, ssid_with(40, b"X"), EndSessionReason.INVALID_DATA, "SSIDSR"),
    "no carriage return": (State.A_NC_ONLY, ssid_with(60, b"\0"), EndSessionReason.INVALID_DATA, "SSIDCR"),
    "an answer with an unknown level": (State.I_WF_SSID, ssid_with(1, b"3"), EndSessionReason.INCOMPATIBLE, "level 3"),
    "an answer with a small buffer": (
        State.I_WF_SSID,
        ssid_with(35, b"00000"),
        EndSessionReason.INVALID_DATA,
        "SSIDSDEB",
    ),
    "an answer without credit": (State.I_WF_SSID, ssid_with(44, b"000"), EndSessionReason.INVALID_DATA, "SSIDCRED"),
    "an answer that wants authentication": (
        State.I_WF_SSID,
        ssid_with(47, b"Y"),
        EndSessionReason.AUTHENTICATION_INCOMPATIBLE,
        "secure authentication",
    ),
    "non-ASCII in a file name": (State.IDLELI, sfid_with(1, b"\xc4"), EndSessionReason.INVALID_DATA, "SFIDDSN"),
    "a line feed in a file name": (State.IDLELI, sfid_with(3, b"\n"), EndSessionReason.INVALID_DATA, "SFIDDSN"),
    "a date that is no number": (State.IDLELI, sfid_with(30, b"2024-2-9"), EndSessionReason.INVALID_DATA, "SFIDDATE"),
    "an unknown format": (State.IDLELI, sfid_with(106, b"Q"), EndSessionReason.INVALID_DATA, "SFIDFMT"),
    "an unknown security level": (State.IDLELI, sfid_with(155, b"04"), EndSessionReason.INVALID_DATA, "SFIDSEC"),
    "data out of order": (
        State.IDLELI,
        on_the_wire(c.Data(payload=b"\x80")),
        EndSessionReason.PROTOCOL_VIOLATION,
        "DATA",
    ),
    "the end of no file": (State.IDLELI, on_the_wire(c.Efid(octets=0)), EndSessionReason.PROTOCOL_VIOLATION, "EFID"),
    "a file in a file": (State.OPI, on_the_wire(SFID), EndSessionReason.PROTOCOL_VIOLATION, "SFID"),
    "a file before the session stands": (
        State.A_NC_ONLY,
        on_the_wire(SFID),
        EndSessionReason.PROTOCOL_VIOLATION,
        "SFID",
    ),
    "a file before authentication": (State.WF_SECD, on_the_wire(SFID), EndSessionReason.PROTOCOL_VIOLATION, "SFID"),
    "a file during authentication": (State.WF_AURP, on_the_wire(SFID), EndSessionReason.PROTOCOL_VIOLATION, "SFID"),
    "the wrong answer to a challenge": (
        State.WF_AURP,
        on_the_wire(c.Aurp(response=bytes(20))),
        EndSessionReason.INVALID_CHALLENGE_RESPONSE,
        "challenge",
    ),
    "a short answer to a challenge": (State.WF_AURP, frame(b"S123"), EndSessionReason.BUFFER_SIZE_ERROR, "AURP"),
    "a restart beyond what was offered": (
        State.OPOP,
        on_the_wire(c.Sfpa(restart=1)),
        EndSessionReason.PROTOCOL_VIOLATION,
        "SFPAACNT",
    ),
    "a subrecord beyond its buffer": (State.OPI, frame(b"D\x05abc"), EndSessionReason.BUFFER_SIZE_ERROR, "subrecord"),
    "a longer buffer than agreed": (
        State.OPI,
        frame(b"D\x3f" + bytes(63) + b"\x3f" + bytes(63) + bytes(1)),
        EndSessionReason.BUFFER_SIZE_ERROR,
        "130 octets, agreed are 128",
    ),
    "a speaker that asks for the turn it has": (
        State.OPOP,
        on_the_wire(c.Cd()),
        EndSessionReason.PROTOCOL_VIOLATION,
        "CD",
    ),
    "a turn given back unused": (State.IDLELICD, on_the_wire(c.Cd()), EndSessionReason.PROTOCOL_VIOLATION, "CD"),
}


@pytest.mark.rfc("4.7.1", "5.3.11", "9.2", "9.9")
@pytest.mark.interop(7)
@pytest.mark.parametrize(("state", "octets", "reason", "word"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("cut", [False, True], ids=["at once", "in pieces"])
def test_bad_input_is_answered_with_its_reason(
    state: State, octets: bytes, reason: EndSessionReason, word: str, *, cut: bool
) -> None:
    session = in_state(state)
    events: list[e.Event] = []
    for piece in pieces(octets + b"more of it", random.Random(1)) if cut else [octets]:  # noqa: S311
        events += session.receive_data(piece, 1.0)
    aborted = assert_aborted(session, events, reason)
    assert word in aborted.text
    assert len(events) == 1
    assert session.receive_data(on_the_wire(c.Cd()) * 10, 2.0) == []
    assert session.data_to_send() == b""


@pytest.mark.rfc("5.3.2")
@pytest.mark.parametrize("mode", [Mode.SENDER, Mode.RECEIVER])
def test_two_that_only_send_or_only_receive_are_incompatible(mode: Mode) -> None:
    session = make(Role.RESPONDER, replace(SMALL, mode=mode))
    session.connected(0.0)
    session.data_to_send()
    events = session.receive_data(on_the_wire(replace(SSID, mode=mode)), 0.0)
    assert_aborted(session, events, EndSessionReason.INCOMPATIBLE)


def listening(capabilities: Capabilities, ssid: c.Ssid = SSID) -> Session:
    session = make(Role.RESPONDER, capabilities)
    for step in (CONNECT, ssid, r.AcceptSession(code=CODE_R, password=PASSWORD)):
        take_step(session, step)
    session.data_to_send()
    return session


def receiving(capabilities: Capabilities = SMALL) -> Session:
    session = listening(capabilities)
    for step in (SFID, r.AcceptFile()):
        take_step(session, step)
    session.data_to_send()
    return session


@pytest.mark.rfc("4.3.3", "5.3.3", "9.12")
def test_a_restart_that_was_not_agreed_is_a_violation() -> None:
    session = listening(replace(SMALL, restart=False))
    events = session.receive_data(on_the_wire(replace(SFID, restart=1)), 0.0)
    aborted = assert_aborted(session, events, EndSessionReason.PROTOCOL_VIOLATION)
    assert "restart" in aborted.text


@pytest.mark.rfc("5.3.2")
def test_a_file_to_one_who_only_sends_is_a_violation() -> None:
    session = listening(replace(SMALL, mode=Mode.SENDER))
    assert session.terms is not None
    assert session.terms.mode is Mode.SENDER
    events = session.receive_data(on_the_wire(SFID), 0.0)
    assert_aborted(session, events, EndSessionReason.PROTOCOL_VIOLATION)


@pytest.mark.rfc("5.3.7")
def test_data_beyond_the_credit_is_a_violation() -> None:
    session = receiving()
    data = on_the_wire(c.Data(payload=b"\x03abc"))
    assert merged(session.receive_data(data * 2, 0.0)) == [e.DataReceived(octets=b"abcabc")]
    assert session.listener_credit == 0
    events = session.receive_data(data, 0.0)
    aborted = assert_aborted(session, events, EndSessionReason.PROTOCOL_VIOLATION)
    assert "credit" in aborted.text


def test_data_before_a_violation_is_still_told() -> None:
    session = receiving()
    events = session.receive_data(on_the_wire(c.Data(payload=b"\x03abc")) * 2 + b"\xff", 0.0)
    assert events[0] == e.DataReceived(octets=b"abcabc")
    assert_aborted(session, events, EndSessionReason.COMMAND_NOT_RECOGNISED)


@pytest.mark.rfc("5.3.2", "7.2")
def test_compressed_data_is_taken_only_when_agreed() -> None:
    data = on_the_wire(c.Data(payload=b"\x45x"))
    assert receiving().receive_data(data, 0.0) == [e.DataReceived(octets=b"xxxxx")]
    session = receiving(replace(SMALL, compression=False))
    aborted = assert_aborted(session, session.receive_data(data, 0.0), EndSessionReason.INVALID_DATA)
    assert "compressed" in aborted.text


@pytest.mark.rfc("5.3.6")
@pytest.mark.interop(2)
def test_one_octet_more_than_agreed_is_tolerated() -> None:
    session = receiving()
    payload = b"\x3f" + bytes(63) + b"\x3e" + bytes(62) + b"\0"
    assert len(payload) + 1 == 129
    assert session.receive_data(on_the_wire(c.Data(payload=payload)), 0.0) == [e.DataReceived(octets=bytes(125))]


@pytest.mark.rfc("7.3")
@pytest.mark.interop(2)
def test_data_padded_with_a_thousand_empty_subrecords_is_tolerated() -> None:
    session = listening(replace(SMALL, buffer_size=2_000), replace(SSID, buffer_size=2_000))
    for step in (SFID, r.AcceptFile()):
        take_step(session, step)
    data = on_the_wire(c.Data(payload=b"\x04abcd" + bytes(1_019)))
    told: list[e.Event] = []
    for _ in range(100):
        told += session.receive_data(data, 0.0)
        session.send(r.Consumed(octets=4), 0.0)
    assert merged(told) == [e.DataReceived(octets=b"abcd" * 100)]
    assert session.state is State.OPI


@pytest.mark.interop(2)
def test_too_many_empty_subrecords_in_one_file_are_invalid_data() -> None:
    wide = Capabilities(buffer_size=99_999, credit=999)
    session = listening(wide, replace(SSID, buffer_size=99_999, credit=999))
    data = on_the_wire(c.Data(payload=bytes(99_998)))
    for _ in range(2):
        # The count begins anew with every file.
        for step in (SFID, r.AcceptFile()):
            take_step(session, step)
        for _ in range(MAX_EMPTY_SUBRECORDS // 99_998):
            assert session.receive_data(data, 0.0) == [e.DataReceived(octets=b"")]
        for step in (c.Efid(octets=0), r.ConfirmFile()):
            take_step(session, step)
    for step in (SFID, r.AcceptFile()):
        take_step(session, step)
    for _ in range(MAX_EMPTY_SUBRECORDS // 99_998):
        session.receive_data(data, 0.0)
    aborted = assert_aborted(session, session.receive_data(data, 0.0), EndSessionReason.INVALID_DATA)
    assert "empty subrecords" in aborted.text


@pytest.mark.rfc("3.4.2", "5.3.11")
@connected_states
@pytest.mark.parametrize("reason", [EndSessionReason.USER_CODE_NOT_KNOWN, EndSessionReason.RESOURCES_NOT_AVAILABLE])
def test_a_peer_may_end_its_session_at_any_time_and_its_reason_is_told(state: State, reason: EndSessionReason) -> None:
    session = in_state(state)
    events = session.receive_data(on_the_wire(c.Esid(reason=reason, text="because")), 1.0)
    assert events == [e.SessionAborted(origin=e.Origin.PEER, reason=reason, text="because")]
    assert session.finished
    assert session.data_to_send() == b""


@pytest.mark.rfc("5.3.11")
@pytest.mark.interop(1)
@pytest.mark.parametrize("octets", [b"F03\r", b"F03\x8d", b"F03", b"F03000", b"F03000\n"])
def test_a_refusal_in_the_short_form_is_understood(octets: bytes) -> None:
    session = in_state(State.I_WF_SSID)
    assert session.receive_data(frame(octets), 1.0) == [
        e.SessionAborted(origin=e.Origin.PEER, reason=EndSessionReason.USER_CODE_NOT_KNOWN, text="")
    ]


@pytest.mark.rfc("2.2.3", "9.9")
@connected_states
def test_a_lost_connection_ends_the_session_in_every_state(state: State) -> None:
    session = in_state(state)
    assert session.connection_lost("the cable was cut", 1.0) == [
        e.SessionAborted(origin=e.Origin.NETWORK, reason=EndSessionReason.UNSPECIFIED, text="the cable was cut")
    ]
    assert session.finished
    assert session.connection_lost("again", 2.0) == []
    assert session.receive_data(on_the_wire(c.Cd()), 2.0) == []


def test_a_connection_that_fails_to_come_up_is_told() -> None:
    session = in_state(State.I_WF_NC)
    (aborted,) = session.connection_lost("connection refused", 1.0)
    assert isinstance(aborted, e.SessionAborted)
    assert str(aborted) == "connection refused"
    assert session.finished


def test_a_connection_that_closes_after_our_esid_is_no_event() -> None:
    session = in_state(State.WF_NDISC)
    assert session.connection_lost("closed", 1.0) == []
    assert session.finished


def test_an_event_of_the_end_is_one_line_for_people() -> None:
    refused = e.SessionAborted(origin=e.Origin.PEER, reason=EndSessionReason.INVALID_PASSWORD, text="try again")
    assert str(refused) == "ended by the peer, ESID 04 (invalid password): try again"
    assert str(replace(refused, text="")) == "ended by the peer, ESID 04 (invalid password)"


# What we can do wrong ourselves


@pytest.mark.rfc("5.3.2")
@pytest.mark.parametrize(
    "build",
    [
        lambda: Session(Role.INITIATOR, SMALL, code="X" * 26, password=PASSWORD),
        lambda: Session(Role.INITIATOR, SMALL, code="Ü", password=PASSWORD),
        lambda: Session(Role.INITIATOR, SMALL, code=CODE_I, password="123456789"),
        lambda: Session(Role.RESPONDER, replace(SMALL, user="123456789")),
    ],
)
def test_an_introduction_that_cannot_be_written_is_refused_before_there_is_a_session(
    build: Callable[[], Session],
) -> None:
    with pytest.raises(LocalProtocolError, match="SSID"):
        build()


BROKEN: dict[str, tuple[State, r.Request]] = {
    "SSID": (State.A_WF_CONRS, r.AcceptSession(code="Ü", password=PASSWORD)),
    "SFID": (State.IDLESP, r.StartFile(command=replace(SFID, dataset="Ü"))),
    "stored SFID": (State.WF_CD, r.StartFile(command=replace(SFID, dataset="Ü"))),
    "SFPA": (State.OPIP, r.AcceptFile(restart=-1)),
    "SFPA beyond": (State.OPIP, r.AcceptFile(restart=1)),
    "SFNA": (State.OPIP, r.RefuseFile(reason=AnswerReason.UNSPECIFIED, text="x" * 1_000)),
    "DATA of nothing": (State.OPO, r.SendData(octets=b"")),
    "DATA of too much at once": (State.OPO, r.SendData(octets=bytes(r.MAX_DATA + 1))),
    "DATA without credit": (State.OPOWFC, r.SendData(octets=b"x")),
    "DATA with records out of order": (State.OPO, r.SendData(octets=b"abc", ends=(2, 1))),
    "EFID": (State.OPO, r.CloseFile(octets=10**17)),
    "EFID without credit": (State.OPOWFC, r.CloseFile(octets=250)),
    "EFNA": (State.CLIP, r.RejectFile(reason=AnswerReason.UNSPECIFIED, text="x" * 1_000)),
    "EERP": (State.IDLESP, r.SendEndResponse(command=replace(EERP, hash=bytes(65_536)))),
    "stored EERP": (State.WF_CD, r.SendEndResponse(command=replace(EERP, hash=bytes(65_536)))),
    "stored NERP": (State.WF_CD, r.SendEndResponse(command=replace(NERP, creator="X" * 26))),
    "ESID": (State.IDLESP, r.EndSession(reason=EndSessionReason.UNSPECIFIED, text="x" * 1_000)),
    "AUCH": (State.WF_CHALLENGE_RS, r.SendChallenge(envelope=bytes(65_536), secret=SECRET)),
    "AURP": (State.WF_RESPONSE_RS, r.AnswerChallenge(secret=b"short")),
}


@pytest.mark.parametrize(("state", "request_"), BROKEN.values(), ids=BROKEN.keys())
def test_a_request_that_cannot_be_written_changes_nothing(state: State, request_: r.Request) -> None:
    session = in_state(state)
    before = snapshot(session)
    with pytest.raises(LocalProtocolError):
        session.send(request_, 1.0)
    assert snapshot(session) == before
    assert session.data_to_send() == b""


@pytest.mark.rfc("4.3.3", "9.10")
def test_a_file_with_a_restart_that_was_not_agreed_is_refused() -> None:
    session = make(Role.INITIATOR, replace(SMALL, restart=False))
    for step in (CONNECT, c.Ssrm(), SSID):
        take_step(session, step)
    with pytest.raises(LocalProtocolError):
        session.send(r.StartFile(command=replace(SFID, restart=1)), 1.0)


def test_a_file_from_one_who_only_receives_is_refused_now_and_while_waiting_for_the_turn() -> None:
    for steps in ((c.Cd(),), (SFID, r.AcceptFile(), c.Efid(octets=0), r.ConfirmFile(wants_turn=True))):
        session = listening(replace(SMALL, mode=Mode.RECEIVER))
        for step in steps:
            take_step(session, step)
        before = snapshot(session)
        with pytest.raises(LocalProtocolError):
            session.send(r.StartFile(command=SFID), 1.0)
        assert snapshot(session) == before


def test_a_connection_cannot_come_up_twice() -> None:
    session = in_state(State.IDLESP)
    with pytest.raises(LocalProtocolError):
        session.connected(1.0)


def test_a_session_that_is_over_takes_no_other_connection() -> None:
    session = in_state(State.IDLELI)
    session.connection_lost("gone", 1.0)
    with pytest.raises(LocalProtocolError, match="another session"):
        session.connected(2.0)
    assert session.finished


@pytest.mark.rfc("3.4.1", "4.6.1")
def test_a_speaker_who_has_spoken_passes_the_turn_before_it_leaves() -> None:
    session = in_state(State.IDLESP)
    take_step(session, r.SendEndResponse(command=EERP))
    take_step(session, c.Rtr())
    with pytest.raises(LocalProtocolError):
        session.send(r.EndSession(), 1.0)


# Small facts


@pytest.mark.rfc("4.2.1", "4.2.2", "5.3.1")
def test_an_initiator_speaks_only_after_the_ready_message() -> None:
    session = make(Role.INITIATOR)
    assert session.state is State.I_WF_NC
    assert session.connected(0.0) == []
    assert session.data_to_send() == b""
    assert session.receive_data(on_the_wire(c.Ssrm()), 0.0) == []
    (ssid,) = commands_in(session.data_to_send())
    assert ssid == replace(SSID, code=CODE_I)
    assert session.peer is None
    assert session.terms is None


@pytest.mark.rfc("5.3.2")
def test_a_responder_answers_with_what_is_agreed() -> None:
    session = make(Role.RESPONDER, Capabilities(buffer_size=4_096, credit=1, compression=True))
    take_step(session, CONNECT)
    (offered,) = take_step(session, replace(SSID, mode=Mode.SENDER))
    assert offered == e.SessionOffered(peer=replace(SSID, mode=Mode.SENDER))
    session.data_to_send()
    (established,) = take_step(session, r.AcceptSession(code=CODE_R, password=PASSWORD))
    assert established == e.SessionEstablished(peer=replace(SSID, mode=Mode.SENDER), terms=session.terms)
    (ssid,) = commands_in(session.data_to_send())
    assert ssid == c.Ssid(
        code=CODE_R, password=PASSWORD, buffer_size=128, mode=Mode.RECEIVER, credit=1, compression=True
    )
    assert session.peer == replace(SSID, mode=Mode.SENDER)


@pytest.mark.rfc("5.3.2")
def test_a_responder_narrows_the_window_for_an_initiator_it_knows() -> None:
    session = make(Role.RESPONDER, Capabilities(buffer_size=4_096, credit=20))
    take_step(session, CONNECT)
    take_step(session, replace(SSID, buffer_size=2_048, credit=10))
    session.data_to_send()
    take_step(session, r.AcceptSession(code=CODE_R, password=PASSWORD, buffer_size=1_024, credit=5))
    (ssid,) = commands_in(session.data_to_send())
    assert isinstance(ssid, c.Ssid)
    assert (ssid.buffer_size, ssid.credit) == (1_024, 5)
    assert session.terms is not None
    assert (session.terms.buffer_size, session.terms.credit) == (1_024, 5)


@pytest.mark.parametrize("window", [{"buffer_size": 127}, {"credit": 0}])
def test_a_window_that_no_ssid_allows_is_refused(window: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not"):
        r.AcceptSession(code=CODE_R, password=PASSWORD, **window)


@pytest.mark.rfc("5.3.11")
@pytest.mark.parametrize("reason", [EndSessionReason.USER_CODE_NOT_KNOWN, EndSessionReason.INVALID_PASSWORD])
def test_a_responder_refuses_whom_it_does_not_know(reason: EndSessionReason) -> None:
    session = in_state(State.A_WF_CONRS)
    assert session.send(r.EndSession(reason=reason, text="no"), 1.0) == []
    assert commands_in(session.data_to_send()) == [c.Esid(reason=reason, text="no")]
    assert session.state is State.WF_NDISC


@pytest.mark.rfc("5.3.2", "5.3.11")
@pytest.mark.parametrize(("capabilities", "wanted"), [(SMALL, True), (AUTHENTICATED, False)])
def test_a_responder_with_other_requirements_of_authentication_ends_with_12(
    capabilities: Capabilities, *, wanted: bool
) -> None:
    session = in_state(State.A_NC_ONLY)
    take_step(session, replace(SSID, authentication=capabilities.authentication))
    events = take_step(session, r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=wanted))
    assert_aborted(session, events, EndSessionReason.AUTHENTICATION_INCOMPATIBLE)


@pytest.mark.rfc("4.4.1", "5.3.7")
@pytest.mark.interop(3)
def test_what_the_credit_does_not_cover_goes_when_credit_comes() -> None:
    session = in_state(State.OPO)
    assert session.credit == 2
    assert session.send(r.SendData(octets=bytes(5 * 125), last=True), 1.0) == []
    assert (session.state, session.credit) == (State.OPOWFC, 0)
    assert len(commands_in(session.data_to_send())) == 2
    assert session.receive_data(on_the_wire(c.Cdt()), 1.0) == []
    assert len(commands_in(session.data_to_send())) == 2
    assert session.receive_data(on_the_wire(c.Cdt()), 1.0) == [e.CreditReceived()]
    assert commands_in(session.data_to_send()) == [c.Data(payload=b"\x3f" + bytes(63) + b"\xbe" + bytes(62))]
    assert (session.state, session.credit) == (State.OPO, 1)


@pytest.mark.rfc("9.11")
@pytest.mark.interop(3)
def test_a_file_is_not_closed_while_data_waits_for_credit() -> None:
    session = in_state(State.OPO)
    session.send(r.SendData(octets=bytes(3 * 125), last=True), 1.0)
    with pytest.raises(LocalProtocolError):
        session.send(r.CloseFile(octets=375), 1.0)
    session.receive_data(on_the_wire(c.Cdt()), 1.0)
    assert session.send(r.CloseFile(octets=375), 1.0) == []


@pytest.mark.parametrize("end", [r.EndSession(reason=EndSessionReason.EMERGENCY_CLOSE_DOWN), r.Abort()])
def test_data_that_waits_for_credit_is_forgotten_when_the_session_ends(end: r.Request) -> None:
    session = in_state(State.OPO)
    session.send(r.SendData(octets=bytes(3 * 125)), 1.0)
    session.data_to_send()
    session.send(end, 1.0)
    session.receive_data(on_the_wire(c.Cdt()), 1.0)
    assert not any(isinstance(said, c.Data) for said in commands_in(session.data_to_send()))
    assert session._waiting is None


@pytest.mark.rfc("7.2")
def test_records_travel_with_their_ends() -> None:
    speaker, listener = in_state(State.OPO), receiving()
    speaker.send(r.SendData(octets=b"onethreefour", ends=(3, 3, 8)), 0.0)
    (told,) = listener.receive_data(speaker.data_to_send(), 0.0)
    assert told == e.DataReceived(octets=b"onethreefour", ends=np.array([3, 3, 8]))
    assert told != e.DataReceived(octets=b"onethreefour")
    assert told != e.CreditReceived()
    assert hash(told) == hash(e.DataReceived(octets=b"onethreefour"))


def test_buffers_of_several_lengths_are_told_as_one_piece() -> None:
    session = receiving()
    (told,) = session.receive_data(on_the_wire(c.Data(payload=b"\x83abc"), c.Data(payload=b"\x01d\x81e")), 0.0)
    assert told == e.DataReceived(octets=b"abcde", ends=np.array([3, 5]))


@pytest.mark.rfc("7.2")
def test_runs_are_compressed_only_where_both_sides_can() -> None:
    for compression, fewer in ((True, True), (False, False)):
        session = make(Role.INITIATOR, replace(SMALL, compression=compression))
        for step in (True, c.Ssrm(), replace(SSID, code=CODE_R), r.StartFile(command=SFID), c.Sfpa()):
            take_step(session, step)
        session.data_to_send()
        session.send(r.SendData(octets=bytes(240), compress=True), 0.0)
        assert (len(session.data_to_send()) < 20) is fewer


@pytest.mark.interop(3)
def test_an_early_credit_refills_the_window_and_never_exceeds_it() -> None:
    session = in_state(State.OPO)
    session.send(r.SendData(octets=bytes(125)), 1.0)
    for _ in range(3):
        assert session.receive_data(on_the_wire(c.Cdt()), 1.0) == [e.CreditReceived()]
        assert session.credit == 2


@pytest.mark.rfc("5.3.7", "9.12")
@pytest.mark.interop(3)
@pytest.mark.interop(3)
@pytest.mark.parametrize("state", [State.OPO, State.CLOP])
def test_credit_given_again_and_again_for_no_data_is_a_violation(state: State) -> None:
    session = in_state(state)
    told = session.receive_data(on_the_wire(c.Cdt()) * MAX_CREDITS, 1.0)
    assert {type(event) for event in told} <= {e.CreditReceived}
    assert session.state is state
    esid = assert_aborted(
        session, session.receive_data(on_the_wire(c.Cdt()) * 100_000, 2.0), EndSessionReason.PROTOCOL_VIOLATION
    )
    assert "credit" in esid.text


def test_the_count_of_credits_begins_anew_with_data() -> None:
    session = in_state(State.OPO)
    for _ in range(3):
        session.receive_data(on_the_wire(c.Cdt()) * MAX_CREDITS, 1.0)
        session.send(r.SendData(octets=b"x"), 1.0)
    assert session.state is State.OPO


def test_credit_is_given_when_it_is_used_up_and_all_data_consumed() -> None:
    session = receiving()
    data = on_the_wire(c.Data(payload=b"\x03abc"))
    session.receive_data(data, 0.0)
    session.send(r.Consumed(octets=3), 0.0)
    assert session.data_to_send() == b""
    session.receive_data(data, 0.0)
    session.send(r.Consumed(octets=2), 0.0)
    assert session.data_to_send() == b""
    session.send(r.Consumed(octets=1), 0.0)
    assert commands_in(session.data_to_send()) == [c.Cdt()]
    assert session.listener_credit == 2


def test_credit_flows_even_for_buffers_that_hold_nothing() -> None:
    session = receiving()
    assert session.receive_data(frame(b"D") + frame(b"D\0"), 0.0) == [e.DataReceived(octets=b"")]
    session.send(r.Consumed(octets=0), 0.0)
    assert commands_in(session.data_to_send()) == [c.Cdt()]


@pytest.mark.interop(2)
@pytest.mark.parametrize("octets", [b"", frame(b"D\x80"), frame(b"D"), frame(b"D\0\0\0")])
def test_an_empty_file_comes_in_several_forms(octets: bytes) -> None:
    session = receiving()
    events = session.receive_data(octets + on_the_wire(c.Efid(octets=0)), 0.0)
    assert events[-1] == e.FileEnded(records=0, octets=0)
    assert all(isinstance(event, e.DataReceived) and not event.octets for event in events[:-1])
    assert session.send(r.ConfirmFile(), 0.0) == []


@pytest.mark.interop(9)
def test_esid_right_after_efid_is_told_behind_the_file() -> None:
    session = receiving()
    events = session.receive_data(on_the_wire(c.Efid(octets=0), c.Esid(reason=EndSessionReason.NORMAL)), 0.0)
    assert events == [
        e.FileEnded(records=0, octets=0),
        e.SessionAborted(origin=e.Origin.PEER, reason=EndSessionReason.NORMAL, text=""),
    ]
    assert session.finished


@pytest.mark.interop(11)
def test_a_connection_test_is_a_normal_session() -> None:
    session = in_state(State.IDLELI)
    assert session.receive_data(on_the_wire(c.Esid(reason=EndSessionReason.NORMAL)), 0.0) == [e.SessionReleased()]
    assert session.finished


@pytest.mark.rfc("9.9")
def test_both_sides_may_end_at_once() -> None:
    session = in_state(State.WF_NDISC)
    assert session.receive_data(on_the_wire(c.Esid(reason=EndSessionReason.NORMAL)), 0.0) == []
    assert session.finished


@pytest.mark.rfc("3.4.3")
@states
def test_giving_up_is_silent_and_final(state: State) -> None:
    session = in_state(state)
    assert session.send(r.Abort(), 1.0) == []
    assert session.data_to_send() == b""
    assert session.state is State.IDLE
    assert session.finished


def test_output_waits_until_it_is_taken_and_is_taken_once() -> None:
    session = in_state(State.IDLESP)
    session.send(r.ChangeDirection(), 0.0)
    assert session.data_to_send() == on_the_wire(c.Cd())
    assert session.data_to_send() == b""


def test_nothing_secret_is_shown() -> None:
    session = in_state(State.WF_AURP)
    shown = repr(session._machine.variables) + repr(REQUESTS)
    assert PASSWORD not in shown
    assert repr(SECRET) not in shown


@pytest.mark.rfc("9.8")
def test_every_path_is_made_of_legal_steps() -> None:
    assert set(PATHS) == set(State)
