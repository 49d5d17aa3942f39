"""Where we leave the tables of RFC 5024 section 9: each departure one entry, with its reason.

Applied in order over the RFC's cells they give ``EFFECTIVE``, in which every pair of state and input is decided: by rows, or
as an error of our own side (``USER_ERROR``, ``IMPOSSIBLE``). Three defects need no entry here, because they lie in what a
predicate or action means, not in a cell: Listener row H compares the restart position with the yes/no variable instead of
the position (``machine`` compares positions); Speaker rows R and Z1 lack the signing that row A has (the User Monitor signs
before it asks); an idle Speaker may not release, so it passes the turn first (``IDLESP`` below has the one exception).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from oftp2.tables import (
    IMPOSSIBLE,
    NOTE_1,
    OTHER_STATES,
    USER_ERROR,
    Input,
    Row,
    State,
    Table,
    cells,
    transitions,
)
from oftp2.tables import row as row_of

Decision = tuple[Row, ...] | str
"""Alternatives in order, or ``USER_ERROR`` or ``IMPOSSIBLE``."""

UNCONNECTED: Final = frozenset({State.IDLE, State.I_WF_NC})
CONNECTED: Final = frozenset(State) - UNCONNECTED - {State.WF_NDISC}
FROM_PEER: Final = frozenset(list(Input)[: list(Input).index(Input.F_CONNECT_RQ)])
FROM_NETWORK: Final = frozenset(list(Input)[list(Input).index(Input.N_CON_IND) :])
ESID: Final = frozenset({Input.ESID_NORMAL, Input.ESID_ERROR})
LISTENER_TABLE: Final = frozenset(State(state) for _, state, _ in cells(Table.LISTENER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """In these states these inputs are decided otherwise, and why."""

    states: frozenset[State]
    inputs: frozenset[Input]
    decision: Decision
    because: str
    only_undefined: bool = False
    """Whether it fills only what the RFC leaves open."""


def _rows(table: Table, *lines: str) -> tuple[Row, ...]:
    return tuple(row_of(table, f"~ | {line}") for line in lines)


def _on(*states: State) -> frozenset[State]:
    return frozenset(states)


def _of(*inputs: Input) -> frozenset[Input]:
    return frozenset(inputs)


_VIOLATION = _rows(Table.ERROR, "| 1,2 | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC")
_IGNORED = _rows(Table.ERROR, "| | | WF_NDISC")

DEVIATIONS: Final = (
    Deviation(
        states=CONNECTED - LISTENER_TABLE,
        inputs=ESID,
        decision=_rows(Table.LISTENER, "| 1 | F_ABORT_IND(R,AO=D) N_DISC_RQ | IDLE"),
        because="marked impossible, or row F that keeps the reason to itself; but a peer may end its session at any time, and"
        " says why: unknown code, wrong password, no resources (5.3.11)",
    ),
    Deviation(
        states=_on(State.WF_NDISC),
        inputs=ESID,
        decision=_rows(Table.ERROR, "| 1 | N_DISC_RQ | IDLE"),
        because="both sides have ended the session at once: nothing is left to wait for",
    ),
    Deviation(
        states=_on(State.IDLELI),
        inputs=_of(Input.ESID_NORMAL),
        decision=_rows(Table.LISTENER, "| 1 | F_RELEASE_IND N_DISC_RQ | IDLE"),
        because="a connection test ends normally before any CD, and so does a Speaker that got the turn by EFPA with CD (row C"
        " of Speaker table 2 goes to IDLELI, not IDLELICD)",
    ),
    Deviation(
        states=_on(State.IDLESP),
        inputs=_of(Input.F_REL_RQ_OK),
        decision=_rows(Table.SPEAKER_1, "fresh | 1,2 | ESID(R=00) | WF_NDISC", "!fresh | | UE | UE"),
        because="the connection test of the field: identify and leave; once something was said, the turn is passed first",
    ),
    Deviation(
        states=_on(State.A_NC_ONLY),
        inputs=_of(Input.SSID),
        decision=_rows(
            Table.SESSION,
            "!agreed | 4,2,5 | ESID(R=terms) F_ABORT_IND(R,AO=L) | WF_NDISC",
            "agreed | 4,2,5 | F_CONNECT_IND | A_WF_CONRS",
        ),
        because="row E hangs up without a word on incompatible modes and looks at nothing else; the peer deserves the reason",
    ),
    Deviation(
        states=_on(State.A_WF_CONRS),
        inputs=_of(Input.F_CONNECT_RS),
        decision=_rows(
            Table.SESSION,
            "!accepted | 4,2 | ESID(R=terms) F_ABORT_IND(R,AO=L) | WF_NDISC",
            "!P10 | 4,2 | ESID(R=12) F_ABORT_IND(R,AO=L) | WF_NDISC",
            "P9 | 4,2,identify | SSID | WF_SECD",
            "!P9 | 4,2,identify | SSID F_CONNECT_CF | IDLELI",
        ),
        because="what row G negotiates was settled with the SSID, but for what the User Monitor grants this Initiator less than"
        " others; the Responder is told as well that the session stands, so that both sides wait for the same event",
    ),
    Deviation(
        states=_on(State.I_WF_SSID),
        inputs=_of(Input.SSID),
        decision=_rows(
            Table.SESSION,
            "!agreed | 4,2,5 | ESID(R=terms) F_ABORT_IND(R,AO=L) | WF_NDISC",
            "!P8 | 4,2,5 | ESID(R=12) F_ABORT_IND(R,AO=L) | WF_NDISC",
            "P11 | 4,2,5 | SECD | WF_AUCH",
            "!P11 | 4,2,5 | F_CONNECT_CF | IDLESP",
        ),
        because="row D says 10 for every disagreement, 5.3.11 has 06 for a field that holds what it may not",
    ),
    Deviation(
        states=CONNECTED - {State.I_WF_RM},
        inputs=_of(Input.SSRM),
        decision=_VIOLATION,
        because="marked impossible, but it is the peer that decides what it sends",
    ),
    Deviation(
        states=CONNECTED - {State.I_WF_SSID, State.A_NC_ONLY},
        inputs=_of(Input.SSID),
        decision=_VIOLATION,
        because="marked impossible or hung up upon without a word; the peer is told",
    ),
    Deviation(
        states=CONNECTED - {State.WF_SECD, State.WF_AUCH, State.WF_AURP},
        inputs=_of(Input.SECD, Input.AUCH, Input.AURP),
        decision=_VIOLATION,
        because="marked as an error of our User Monitor, but it comes from the peer",
    ),
    Deviation(
        states=_on(State.WF_SECD),
        inputs=_of(Input.SECD),
        decision=_rows(Table.SESSION, "| 4,2 | F_CHALLENGE_IND | WF_CHALLENGE_RS"),
        because="row J lacks action 6, and to make a challenge takes work that must not block: it has primitives of its own",
    ),
    Deviation(
        states=_on(State.WF_CHALLENGE_RS),
        inputs=_of(Input.F_CHALLENGE_RS),
        decision=_rows(Table.SESSION, "| 4,2,6 | AUCH | WF_AURP"),
        because="the second half of row J",
    ),
    Deviation(
        states=_on(State.WF_AUCH),
        inputs=_of(Input.AUCH),
        decision=_rows(Table.SESSION, "| 4,2 | F_RESPONSE_IND | WF_RESPONSE_RS"),
        because="row I needs a private key, which takes work that must not block: it has primitives of its own",
    ),
    Deviation(
        states=_on(State.WF_RESPONSE_RS),
        inputs=_of(Input.F_RESPONSE_RS),
        decision=_rows(Table.SESSION, "P5 | 4,2 | AURP | WF_SECD", "!P5 | 4,2 | AURP F_CONNECT_CF | IDLELI"),
        because="the second half of row I; the Responder is told as well that the session stands",
    ),
    Deviation(
        states=CONNECTED,
        inputs=_of(Input.TIME_OUT),
        decision=_rows(Table.ERROR, "| 1,2 | ESID(R=09) F_ABORT_IND(R,AO=L) | WF_NDISC"),
        because="row B hangs up without a word; a peer that still lives learns why (5.3.11, 09)",
    ),
    Deviation(
        states=CONNECTED,
        inputs=_of(Input.INVALID_BUFFER),
        decision=_rows(Table.ERROR, "| 1,2 | ESID(R=error) F_ABORT_IND(R,AO=L) | WF_NDISC"),
        because="row I says 01 for every invalid buffer, 5.3.11 has 06 and 07 as well",
    ),
    Deviation(
        states=_on(State.WF_CD),
        inputs=_of(Input.CD),
        decision=_rows(Table.LISTENER, "| 1,2 | F_CD_IND | IDLESPCD"),
        because="row H keeps the turn a secret and forbids to leave; section 4.6.1 has the Listener leave at just this point",
    ),
    Deviation(
        states=_on(State.OPO),
        inputs=_of(Input.CDT),
        decision=_rows(Table.SPEAKER_1, "| 1,2,12 | F_DATA_CF | OPO"),
        because="a credit that comes early harms nobody, and some Listeners send it early to keep the line busy",
    ),
    Deviation(
        states=_on(State.CLOP),
        inputs=_of(Input.CDT),
        decision=_rows(Table.SPEAKER_1, "| | | CLOP"),
        because="a credit that crosses our EFID is late, not wrong; but it is no answer, and re-arms no timer",
    ),
    Deviation(
        states=_on(State.OPI),
        inputs=_of(Input.DATA),
        decision=_rows(
            Table.LISTENER,
            "P6 | 1,2 | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC",
            "!P6 | 1,2,7 | F_DATA_IND | OPI",
        ),
        because="row I gives credit as soon as it is used up; ours waits until the User Monitor has consumed the data (Note 1)",
    ),
    Deviation(
        states=_on(State.OPI),
        inputs=_of(Input.F_CONSUMED_RQ),
        decision=_rows(Table.LISTENER, "credit_due | 1,2,8,consume | CDT | OPI", "!credit_due | consume | | OPI"),
        because="the second half of row I",
    ),
    Deviation(
        states=_on(State.WF_NDISC),
        inputs=FROM_PEER - ESID,
        decision=_IGNORED,
        only_undefined=True,
        because="the session is over; what was on its way does not matter any more",
    ),
    Deviation(
        states=_on(State.WF_NDISC),
        inputs=_of(Input.SSRM, Input.SSID, Input.SECD, Input.AUCH, Input.AURP),
        decision=_IGNORED,
        because="the same, where the RFC marks them impossible",
    ),
    Deviation(
        states=_on(State.IDLE),
        inputs=_of(Input.N_DISC_IND, Input.N_RST_IND),
        decision=_rows(Table.ERROR, "| | | IDLE"),
        because="a connection we have given up still reports its end",
    ),
    Deviation(
        states=UNCONNECTED | {State.WF_NDISC},
        inputs=_of(Input.F_REL_RQ_OK, Input.F_REL_RQ_ERR),
        decision=USER_ERROR,
        because="there is no session to release",
    ),
    Deviation(
        states=_on(State.IDLE, State.WF_NDISC),
        inputs=_of(Input.F_ABORT_RQ),
        decision=_rows(Table.ERROR, "| 1 | N_DISC_RQ | IDLE"),
        because="to give up a session that is over already is harmless, and happens when both ends give up",
    ),
    Deviation(
        states=UNCONNECTED,
        inputs=FROM_PEER,
        decision=IMPOSSIBLE,
        because="without a connection nothing arrives",
    ),
    Deviation(
        states=CONNECTED,
        inputs=FROM_PEER,
        decision=_VIOLATION,
        only_undefined=True,
        because="every command the tables leave open breaks the half duplex order",
    ),
    Deviation(
        states=frozenset(State),
        inputs=frozenset(Input) - FROM_PEER - FROM_NETWORK,
        decision=USER_ERROR,
        only_undefined=True,
        because="every request the tables leave open is out of place",
    ),
)


def of_the_rfc() -> dict[tuple[State, Input], Decision]:
    """What the RFC's tables decide, ``*`` spelled out.

    Only ESID stands in two tables, and the second one has columns of a state's own, which beat the column for all others.
    """
    decided: dict[tuple[State, Input], Decision] = {}
    for table in Table:
        rows = transitions(table)
        named = {state for _, state, _ in cells(table)}
        for event, column, letter in cells(table):
            inputs = ESID if event == "ESID" else _of(Input(event))
            states = {State(column)} if column != OTHER_STATES else {s for s in State if s not in named}
            decision: Decision = rows.get(letter) or (USER_ERROR if letter == NOTE_1 else letter)
            decided |= {(state, event_of): decision for state in states for event_of in inputs}
    return decided


def _effective() -> dict[tuple[State, Input], Decision]:
    decided = of_the_rfc()
    for deviation in DEVIATIONS:
        for state in deviation.states:
            for event in deviation.inputs:
                if not (deviation.only_undefined and (state, event) in decided):
                    decided[state, event] = deviation.decision
    return decided


EFFECTIVE: Final[Mapping[tuple[State, Input], Decision]] = MappingProxyType(_effective())
"""What happens for every input in every state."""
