"""Every letter of the state tables of RFC 5024 section 9, taken by a real session in every cell that has it.

What is expected comes from the fixture of the RFC's own transitions, or from a named deviation where one decides the cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.deviations import DEVIATIONS, EFFECTIVE, FROM_PEER, UNCONNECTED, of_the_rfc
from oftp2.errors import LocalProtocolError
from oftp2.framing import frame
from oftp2.negotiation import Capabilities
from oftp2.reasons import EndSessionReason
from oftp2.session import OURS, Session, input_of
from oftp2.tables import Input, Row, State, Table, transitions
from oftp2.values import Role
from tests.oftp2.rfc5024 import OTHER_STATES, alternatives_of_the_fixture, cells_of_the_fixture
from tests.oftp2.test_tables import WITHOUT_ROWS, as_we_write, needs_special_logic
from tests.oftp2.wire import (
    AUTHENTICATED,
    CODE_R,
    PASSWORD,
    PATHS,
    REQUESTS,
    SAMPLES,
    SECRET,
    SFID,
    SMALL,
    SSID,
    Step,
    commands_in,
    make,
    on_the_wire,
    take_step,
)

NOW = 1.0
LATER = 1_000.0

NEVER = {("9.8", "A", "P1"), ("9.8", "B", "P3")}
"""The application makes a session only when it has the resources, and may take this role."""

_ASKED = (True, replace(SSID, authentication=True))
_SECURE = (*_ASKED, r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=True))
_PROVEN = (*_SECURE, c.Secd(), r.SendChallenge(envelope=b"envelope", secret=SECRET), c.Aurp(response=SECRET))
AS_RESPONDER: dict[State, tuple[Step, ...]] = {
    State.A_WF_CONRS: _ASKED,
    State.WF_SECD: _SECURE,
    State.WF_CHALLENGE_RS: (*_SECURE[:3], c.Secd()),
    State.WF_AURP: _PROVEN[:-1],
    State.WF_AUCH: _PROVEN,
    State.WF_RESPONSE_RS: (*_PROVEN, c.Auch(challenge=b"envelope")),
}
"""The ways of a Responder into the states of authentication; ``PATHS`` has those of an Initiator."""

COMMANDS = (
    *SAMPLES,
    replace(SSID, authentication=True),
    replace(SSID, level=3),
    replace(SFID, restart=1),
    c.Sfpa(restart=1),
    c.Efpa(change_direction=True),
    c.Aurp(response=bytes(20)),
    c.Esid(reason=EndSessionReason.TIME_OUT),
)
ASKS = (
    *REQUESTS,
    r.StartFile(command=replace(SFID, restart=1)),
    r.AcceptFile(restart=1),
    r.SendData(octets=bytes(250)),
)

TOLD = {
    e.SessionOffered: "F_CONNECT_IND",
    e.SessionEstablished: "F_CONNECT_CF",
    e.ChallengeWanted: "F_CHALLENGE_IND",
    e.ChallengeReceived: "F_RESPONSE_IND",
    e.FileOffered: "F_START_FILE_IND",
    e.FileAccepted: "F_START_FILE_CF(+)",
    e.FileRefused: "F_START_FILE_CF(-)",
    e.CreditReceived: "F_DATA_CF",
    e.DataReceived: "F_DATA_IND",
    e.FileEnded: "F_CLOSE_FILE_IND",
    e.FileRejected: "F_CLOSE_FILE_CF(-)",
    e.ReadyReceived: "F_RTR_CF",
    e.TurnReceived: "F_CD_IND",
    e.SessionReleased: "F_RELEASE_IND",
}
ABORTED = {
    e.Origin.LOCAL: "F_ABORT_IND(R,AO=L)",
    e.Origin.PEER: "F_ABORT_IND(R,AO=D)",
    e.Origin.NETWORK: "F_ABORT_IND",
}
Outcome = tuple[frozenset[str], State]
"""What was said and told, in the words of the tables, and the next state."""

USER_ERROR: Outcome = (frozenset({"UE"}), State.IDLE)


def sessions(state: State) -> Iterator[Session]:
    """A session in this state in every way there is: in either role, with and without restart."""
    ways = [PATHS[state]]
    if state in AS_RESPONDER:
        ways.append((Role.RESPONDER, AS_RESPONDER[state]))
    for role, steps in ways:
        secure = any(isinstance(step, c.Ssid) and step.authentication for step in steps)
        for capabilities in (AUTHENTICATED if secure else SMALL, replace(SMALL, restart=False, authentication=secure)):
            # As Responder one says with AcceptSession whether it is required.
            ours = capabilities if role is Role.INITIATOR else replace(capabilities, authentication=False)
            session = make(role, Capabilities(**{name: getattr(ours, name) for name in ours.__slots__}))
            for step in steps:
                take_step(session, step, NOW)
            session.data_to_send()
            assert session.state is state
            yield session


def deliveries(event: Input) -> Iterator[bytes | r.Request | str]:
    """Everything that may arrive as this input."""
    if event is Input.INVALID_BUFFER:
        yield frame(b"Z")
    elif event in FROM_PEER:
        yield from (on_the_wire(each) for each in COMMANDS if input_of(each) is event)
    elif any(input_of(each) is event for each in ASKS):
        yield from (each for each in ASKS if input_of(each) is event)
    else:
        yield event.value


def take(session: Session, event: Input, what: bytes | r.Request | str) -> Outcome:
    """What comes of an input."""
    try:
        if isinstance(what, bytes):
            told = session.receive_data(what, NOW)
        elif not isinstance(what, str):
            told = session.send(what, NOW)
        elif event is Input.TIME_OUT and session.state not in OURS:
            # Where the peer waits for us no timer runs; the row is there all the same.
            told = session.tick(LATER)
        elif event is Input.N_DISC_IND:
            told = session.connection_lost(what, NOW)
        else:
            told = session._step(event, what, NOW)
    except LocalProtocolError:
        return USER_ERROR
    level = session._machine.variables.level
    said = [said_as(command) for command in commands_in(session.data_to_send(), level)]
    return frozenset([*said, *(told_as(event) for event in told)]), session.state


def said_as(command: c.Command) -> str:
    match command:
        case c.Esid(reason=reason):
            return f"ESID(R={reason:02})"
        case c.Efpa(change_direction=wanted):
            return "EFPA(CD-Req)" if wanted else "EFPA(no_CD)"
    return type(command).__name__.upper()


def told_as(event: e.Event) -> str:
    match event:
        case e.SessionAborted(origin=origin):
            return ABORTED[origin]
        case e.FileConfirmed(has_turn=turn):
            return "F_CLOSE_FILE_CF(+,SP=Yes)" if turn else "F_CLOSE_FILE_CF(+,SP=No)"
        case e.EndResponseReceived(command=response):
            return f"F_{said_as(response)}_IND"
    return TOLD[type(event)]


def agrees(outcome: Outcome, outputs: tuple[str, ...], to: str) -> bool:
    """Whether an outcome is what a row says; what concerns the connection alone is not seen from here."""
    wanted = {output for output in outputs if not output.startswith("N_")}
    found, state = outcome
    if "UE" in wanted:
        return outcome == USER_ERROR
    # ESID(R) and ESID(R=terms) leave the reason to what was the matter.
    open_ = {output for output in wanted if output in {"ESID(R)", "ESID(R=terms)", "ESID(R=error)"}}
    esids = {each for each in found if open_ and each.startswith("ESID")}
    return state == to and wanted - open_ == found - esids and bool(open_) == bool(esids)


LETTERS = sorted({(cell.table, cell.letter) for cell in cells_of_the_fixture()})


def cells_with(table: str, letter: str) -> list[tuple[State, Input]]:
    """The cells of a table that have this letter, other states spelled out."""
    named = {cell.state for cell in cells_of_the_fixture() if cell.table == table}
    others = [state for state in State if state.value not in named]
    found = [cell for cell in cells_of_the_fixture() if (cell.table, cell.letter) == (table, letter)]
    return [
        (state, event)
        for cell in found
        for state in (others if cell.state == OTHER_STATES else [State(cell.state)])
        for event in Input
        if event.value == cell.event or (cell.event == "ESID" and event.value.startswith("ESID"))
    ]


def rows_of_the_rfc(table: str, letter: str) -> list[tuple[str, tuple[str, ...], str]]:
    """The predicates, outputs and next states of a letter."""
    return [
        (each.predicate, as_we_write(each)[4], str(as_we_write(each)[5]))  # type: ignore[misc]  # a row of many kinds
        for each in alternatives_of_the_fixture()
        if (each.table, each.letter) == (table, letter) and not needs_special_logic(each)
    ]


@pytest.mark.parametrize(
    ("table", "letter"),
    [pytest.param(*each, marks=pytest.mark.rfc(" ".join(each)), id=" ".join(each)) for each in LETTERS],
)
def test_a_letter_is_taken_as_the_rfc_or_a_deviation_has_it(table: str, letter: str) -> None:
    of_rfc, taken, departed = of_the_rfc(), set(), False
    rows = rows_of_the_rfc(table, letter)
    ours = transitions(Table(table)).get(letter)
    for state, event in cells_with(table, letter):
        decision = EFFECTIVE[state, event]
        outcomes = [outcome for what in deliveries(event) for outcome in outcomes_of(state, event, what)]
        if decision == ours:
            for outcome in outcomes:
                fitting = [predicate for predicate, outputs, to in rows if agrees(outcome, outputs, to)]
                assert fitting, (state, event, outcome)
                taken |= set(fitting)
            continue
        departed = True
        # "Other states" of a table may have a column in another one; all else that differs has its reason.
        reasons = [each for each in DEVIATIONS if state in each.states and event in each.inputs]
        assert letter in WITHOUT_ROWS or decision == of_rfc[state, event] or reasons
        for outcome in outcomes:
            assert fits(outcome, decision), (state, event, outcome)
    missing = {predicate for predicate, *_ in rows} - taken - {each[2] for each in NEVER if each[:2] == (table, letter)}
    assert departed or not missing


@pytest.mark.rfc("9.13")
def test_the_example_of_the_rfc_is_played_as_it_tells() -> None:
    for answer, wanted in (
        (c.Sfpa(restart=1), (frozenset({"ESID(R=02)", "F_ABORT_IND(R,AO=L)"}), State.WF_NDISC)),
        (c.Sfpa(restart=0), (frozenset({"F_START_FILE_CF(+)"}), State.OPO)),
    ):
        for outcome in outcomes_of(State.OPOP, Input.SFPA, on_the_wire(answer)):
            assert outcome == wanted


def outcomes_of(state: State, event: Input, what: bytes | r.Request | str) -> Iterator[Outcome]:
    """What comes of one delivery in every session in a state."""
    for session in sessions(state):
        yield take(session, event, what)


def fits(outcome: Outcome, decision: tuple[Row, ...] | str) -> bool:
    """Whether an outcome is one that the effective tables allow."""
    if isinstance(decision, str):
        # Without a connection nothing arrives, and so nothing is said or told either.
        return outcome == USER_ERROR or (not outcome[0] and outcome[1] in UNCONNECTED)
    return any(agrees(outcome, row.outputs, row.to.value) for row in decision)
