"""RFC 5024 section 9 as data: five state tables, letter for letter.

Each table has two parts, as in the RFC. The *grid* says which transition an event takes in a state, by its letter; ``*``
stands for all states without a column of their own. The *transitions* say, for each letter, which alternative holds under
which predicates, which actions it has, what goes out, and the next state. Predicates and actions carry the RFC's own
numbers, which mean different things in each table; ``machine`` gives them their meaning. Letters without a transition: X
is impossible, U and W are errors of our own User Monitor.

Where the tables are wrong, incomplete or outlived, ``deviations`` says so and why. Nothing is mended here. The alternatives
for special logic (X.25) are left out: over TCP it is never agreed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """The states of section 9.3, and two of ours (see ``deviations``)."""

    IDLE = "IDLE"
    I_WF_NC = "I_WF_NC"
    I_WF_RM = "I_WF_RM"
    I_WF_SSID = "I_WF_SSID"
    A_NC_ONLY = "A_NC_ONLY"
    A_WF_CONRS = "A_WF_CONRS"
    WF_SECD = "WF_SECD"
    WF_AUCH = "WF_AUCH"
    WF_AURP = "WF_AURP"
    IDLESP = "IDLESP"
    IDLESPCD = "IDLESPCD"
    WF_RTR = "WF_RTR"
    WF_CD = "WF_CD"
    ERSTWFCD = "ERSTWFCD"
    NRSTWFCD = "NRSTWFCD"
    SFSTWFCD = "SFSTWFCD"
    CDSTWFCD = "CDSTWFCD"
    OPOP = "OPOP"
    OPO = "OPO"
    OPOWFC = "OPOWFC"
    CLOP = "CLOP"
    IDLELI = "IDLELI"
    IDLELICD = "IDLELICD"
    OPIP = "OPIP"
    OPI = "OPI"
    CLIP = "CLIP"
    RTRP = "RTRP"
    WF_NDISC = "WF_NDISC"
    WF_CHALLENGE_RS = "WF_CHALLENGE_RS"
    """SECD received: waiting for our User Monitor to make the challenge."""
    WF_RESPONSE_RS = "WF_RESPONSE_RS"
    """AUCH received: waiting for our User Monitor to decipher the challenge."""


class Input(StrEnum):
    """The input events of section 9.4, and three of ours (see ``deviations``)."""

    # from the peer
    SSRM = "SSRM"
    SSID = "SSID"
    SECD = "SECD"
    AUCH = "AUCH"
    AURP = "AURP"
    SFID = "SFID"
    SFPA = "SFPA"
    SFNA = "SFNA"
    DATA = "DATA"
    CDT = "CDT"
    EFID = "EFID"
    EFPA = "EFPA"
    EFNA = "EFNA"
    ESID_NORMAL = "ESID R=Normal"
    ESID_ERROR = "ESID R=Error"
    CD = "CD"
    EERP = "EERP"
    NERP = "NERP"
    RTR = "RTR"
    # from our User Monitor
    F_CONNECT_RQ = "F_CONNECT_RQ"
    F_CONNECT_RS = "F_CONNECT_RS"
    F_START_FILE_RQ = "F_START_FILE_RQ"
    F_START_FILE_RS = "F_START_FILE_RS"
    F_DATA_RQ = "F_DATA_RQ"
    F_CLOSE_FILE_RQ = "F_CLOSE_FILE_RQ"
    F_CLOSE_FILE_RS = "F_CLOSE_FILE_RS"
    F_EERP_RQ = "F_EERP_RQ"
    F_NERP_RQ = "F_NERP_RQ"
    F_RTR_RS = "F_RTR_RS"
    F_CD_RQ = "F_CD_RQ"
    F_REL_RQ_OK = "F_REL_RQ(Ok)"
    F_REL_RQ_ERR = "F_REL_RQ(Err)"
    F_ABORT_RQ = "F_ABORT_RQ"
    F_CHALLENGE_RS = "F_CHALLENGE_RS"
    F_RESPONSE_RS = "F_RESPONSE_RS"
    F_CONSUMED_RQ = "F_CONSUMED_RQ"
    # from the network and the clock
    N_CON_IND = "N_CON_IND"
    N_CON_CF = "N_CON_CF"
    N_DISC_IND = "N_DISC_IND"
    N_RST_IND = "N_RST_IND"
    TIME_OUT = "TIME-OUT"
    INVALID_BUFFER = "Invalid Buffer"


class Table(Enum):
    """The five tables, by their section."""

    SESSION = "9.8"
    ERROR = "9.9"
    SPEAKER_1 = "9.10"
    SPEAKER_2 = "9.11"
    LISTENER = "9.12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One alternative of a transition: when the predicates hold, act, send and tell, and go."""

    table: Table
    letter: str
    guard: tuple[tuple[str, bool], ...]
    """Predicates that must hold (True) or must not (False); none is always."""
    actions: tuple[str, ...]
    outputs: tuple[str, ...]
    to: State


GRIDS: Final[Mapping[Table, str]] = MappingProxyType(
    {
        Table.SESSION: """
                IDLE I_WF_NC I_WF_RM I_WF_SSID A_NC_ONLY A_WF_CONRS WF_AUCH WF_AURP WF_SECD *
F_CONNECT_RQ    A    X       X       X         X         X          X       X       X       X
N_CON_CF        X    C       X       X         X         X          X       X       X       X
SSRM            X    X       H       X         X         X          L       L       L       X
SSID            X    X       X       D         E         F          L       L       L       F
N_CON_IND       B    X       X       X         X         X          X       X       X       X
F_CONNECT_RS    X    U       U       U         U         G          X       X       X       U
ESID            X    X       X       F         X         X          F       F       F       X
AUCH            X    X       U       U         X         X          I       L       L       U
AURP            X    X       U       U         X         X          L       K       L       U
SECD            X    X       U       U         X         X          L       L       J       U
""",
        Table.ERROR: """
                IDLE I_WF_NC WF_NDISC *
TIME-OUT        X    X       A        B
F_ABORT_RQ      X    A       X        C
N_RST_IND       X    X       A        D
N_DISC_IND      X    E       F        G
Invalid_Buffer  X    X       H        I
""",
        Table.SPEAKER_1: """
                IDLESP IDLESPCD WF_RTR WF_CD ERSTWFCD NRSTWFCD SFSTWFCD CDSTWFCD OPOP OPO OPOWFC WF_NDISC *
F_EERP_RQ       A      A        W      F     W        W        U        U        U    U   U      U        U
F_NERP_RQ       Y      Y        W      Z     W        W        U        U        U    U   U      U        U
F_START_FILE_RQ B      B        W      G     W        W        U        U        U    U   U      X        U
SFPA            C      C        C      C     C        C        C        C        K    C   C      S        C
SFNA            C      C        C      C     C        C        C        C        L    C   C      S        C
CD              C      C        C      H     R        Z1       I        J        C    C   C      S        C
F_DATA_RQ       U      U        U      U     U        U        U        U        U    M   U      S        U
CDT             C      C        C      C     C        C        C        C        C    P   O      S        C
F_CD_RQ         D      U        W      T     W        W        U        U        U    U   U      X        U
F_REL_RQ(Ok)    U      E        U      U     U        U        U        U        U    U   U      X        U
F_REL_RQ(Err)   Q      Q        Q      Q     Q        Q        Q        Q        Q    Q   Q      S        Q
RTR             C      C        N      C     C        C        C        C        C    C   C      S        C
""",
        Table.SPEAKER_2: """
                OPO OPOWFC CLOP
F_CLOSE_FILE_RQ A   E      U
EFPA            B   B      C
EFNA            B   B      D
""",
        Table.LISTENER: """
                IDLELI IDLELICD OPIP OPI CLIP RTRP
SFID            A      A        B    B   B    B
DATA            B      B        B    I   B    B
EFID            B      B        B    J   B    B
F_START_FILE_RS U      U        H    U   U    U
F_CLOSE_FILE_RS U      U        U    U   K    U
CD              C      B        B    B   B    B
ESID_R=Normal   D      F        D    D   D    D
ESID_R=Error    D      D        D    D   D    D
EERP            E      E        B    B   B    B
NERP            L      L        B    B   B    B
F_RTR_RS        U      U        U    U   U    M
""",
    }
)

TRANSITIONS: Final[Mapping[Table, str]] = MappingProxyType(
    {
        Table.SESSION: """
A | P1                |       | F_ABORT_IND                    | IDLE
A | !P1               | 1,2   | N_CON_RQ                       | I_WF_NC
B | P3                |       | N_DISC_RQ                      | IDLE
B | !P3               | 2     | N_CON_RS SSRM                  | A_NC_ONLY
C |                   | 4,2   |                                | I_WF_RM
D | P2 & P8 & P11     | 4,2,5 | SECD                           | WF_AUCH
D | P2 & P8 & !P11    | 4,2,5 | F_CONNECT_CF                   | IDLESP
D | P2 & !P8          | 4,2   | ESID(R=12) F_ABORT_IND(R,AO=L) | WF_NDISC
D | else              | 4,2   | ESID(R=10) F_ABORT_IND(R,AO=L) | WF_NDISC
E | P4                | 4     | N_DISC_RQ                      | IDLE
E | !P4               | 4,2   | F_CONNECT_IND                  | A_WF_CONRS
F |                   | 4     | F_ABORT_IND N_DISC_RQ          | IDLE
G | P2 & P9 & P10     | 4,2,5 | SSID                           | WF_SECD
G | P2 & !P9 & P10    | 4,2,5 | SSID                           | IDLELI
G | !P10              | 4,2   | ESID(R=12) F_ABORT_IND(R,AO=L) | WF_NDISC
G | else              | 4,2   | ESID(R=10) F_ABORT_IND(R,AO=L) | WF_NDISC
H |                   | 4,2,3 | SSID                           | I_WF_SSID
I | P5                | 4,2   | AURP                           | WF_SECD
I | !P5               | 4,2   | AURP                           | IDLELI
J |                   | 4,2   | AUCH                           | WF_AURP
K | P6                | 4,2   | F_CONNECT_CF                   | IDLESP
K | P7                | 4,2   | SECD                           | WF_AUCH
K | else              | 4,2   | ESID(R=11) F_ABORT_IND(R,AO=L) | WF_NDISC
L |                   | 4,2   | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
""",
        Table.ERROR: """
A |                   |       | N_DISC_RQ                      | IDLE
B |                   |       | F_ABORT_IND N_DISC_RQ          | IDLE
C |                   | 1     | N_DISC_RQ                      | IDLE
D |                   | 1     | N_DISC_RQ F_ABORT_IND          | IDLE
E |                   |       | F_ABORT_IND                    | IDLE
F |                   | 1     |                                | IDLE
G |                   | 1     | F_ABORT_IND                    | IDLE
H |                   |       |                                | WF_NDISC
I |                   | 1,2   | ESID(R=01) F_ABORT_IND(R,AO=L) | WF_NDISC
""",
        Table.SPEAKER_1: """
A | P5                | 1,2,3,18  | EERP                           | WF_RTR
A | !P5               | 1,2,3     | EERP                           | WF_RTR
B | P1                |           | UE                             | UE
B | !P1               | 1,2,5     | SFID                           | OPOP
C |                   | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
D |                   | 1,2       | CD                             | IDLELICD
E |                   | 1,2       | ESID(R=00)                     | WF_NDISC
F |                   | 4         |                                | ERSTWFCD
G | P1                |           | UE                             | UE
G | !P1               | 6         |                                | SFSTWFCD
H |                   | 1,2       |                                | IDLESP
I |                   | 1,2,10    | SFID                           | OPOP
J |                   | 1,2       | CD                             | IDLELICD
K | P2                | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
K | !P2               | 1,2,7,12  | F_START_FILE_CF(+)             | OPO
L |                   | 1,2,8     | F_START_FILE_CF(-)             | IDLESP
M | P3                | 1,2,11,13 | DATA                           | OPOWFC
M | !P3               | 1,2,11,13 | DATA F_DATA_CF                 | OPO
N |                   |           | F_RTR_CF                       | IDLESP
O |                   | 12        | F_DATA_CF                      | OPO
P |                   | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
Q |                   | 1,2       | ESID(R)                        | WF_NDISC
R |                   | 1,2,9     | EERP                           | WF_RTR
S |                   |           |                                | WF_NDISC
T |                   |           |                                | CDSTWFCD
Y | P4 & P5           | 1,2,15,18 | NERP                           | WF_RTR
Y | P4 & !P5          | 1,2,15    | NERP                           | WF_RTR
Z |                   | 16        |                                | NRSTWFCD
Z1 | P4               | 1,2,17    | NERP                           | WF_RTR
""",
        Table.SPEAKER_2: """
A |                   | 1,2,5,7   | EFID                           | CLOP
B |                   | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
C | P1                | 1,2,3     | F_CLOSE_FILE_CF(+,SP=No) CD    | IDLELI
C | !P1               | 1,2,4     | F_CLOSE_FILE_CF(+,SP=Yes)      | IDLESP
D |                   | 1,2,6     | F_CLOSE_FILE_CF(-)             | IDLESP
E |                   |           | UE                             | UE
""",
        Table.LISTENER: """
A | P1                | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
A | !P1               | 1,2,3     | F_START_FILE_IND               | OPIP
B |                   | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
C |                   | 1,2       | F_CD_IND                       | IDLESPCD
D |                   | 1         | F_ABORT_IND(R,AO=D) N_DISC_RQ  | IDLE
E |                   | 1,2,4     | F_EERP_IND                     | RTRP
F |                   | 1         | F_RELEASE_IND N_DISC_RQ        | IDLE
H | P4                |           | UE                             | UE
H | P2 & !P4 & !P5    | 1,2,8     | SFPA                           | OPI
H | !P2 & !P4 & !P5   | 1,2       | SFNA                           | IDLELI
I | P6                | 1,2       | ESID(R=02) F_ABORT_IND(R,AO=L) | WF_NDISC
I | !P5 & !P6 & !P7   | 1,2,7     | F_DATA_IND                     | OPI
I | !P5 & !P6 & P7    | 1,2,8     | F_DATA_IND CDT                 | OPI
J |                   | 1,2       | F_CLOSE_FILE_IND               | CLIP
K | P2 & P3 & !P5     | 1,2       | EFPA(CD-Req)                   | WF_CD
K | P2 & !P3 & !P5    | 1,2       | EFPA(no_CD)                    | IDLELI
K | !P2 & !P5         | 1,2       | EFNA                           | IDLELI
L |                   | 1,2,10    | F_NERP_IND                     | RTRP
M |                   | 1,2       | RTR                            | IDLELI
""",
    }
)

USER_ERROR: Final = "U"
IMPOSSIBLE: Final = "X"
NOTE_1: Final = "W"
"""A User Monitor's error of which the RFC says that accepting it is a local matter. We do not."""

OTHER_STATES: Final = "*"


def cells(table: Table) -> Iterator[tuple[str, str, str]]:
    """The grid of ``table`` cell by cell: event, state (or ``*``) and letter, as the RFC writes them."""
    head, *lines = (line.split() for line in GRIDS[table].strip().splitlines())
    for event, *letters in lines:
        for state, letter in zip(head, letters, strict=True):
            yield event.replace("_R=", " R=").replace("Invalid_", "Invalid "), state, letter


def row(table: Table, line: str) -> Row:
    """One alternative from its text: letter | predicates | actions | outputs | next state.

    ``else`` guards like no predicate at all: alternatives are tried in their order. A user error (UE) has no next state;
    ``machine`` refuses it before it looks.
    """
    letter, guard, actions, outputs, to = (part.strip() for part in line.split("|"))
    return Row(
        table=table,
        letter=letter,
        guard=tuple(
            (predicate.lstrip("!"), not predicate.startswith("!"))
            for predicate in re.split(r"\s*&\s*", guard)
            if predicate and predicate != "else"
        ),
        actions=tuple(action for action in actions.split(",") if action),
        outputs=tuple(outputs.split()),
        to=State.IDLE if to == "UE" else State(to),
    )


def transitions(table: Table) -> dict[str, tuple[Row, ...]]:
    """The transitions of ``table``: letter -> alternatives in order."""
    found: dict[str, list[Row]] = {}
    for line in TRANSITIONS[table].strip().splitlines():
        alternative = row(table, line)
        found.setdefault(alternative.letter, []).append(alternative)
    return {letter: tuple(alternatives) for letter, alternatives in found.items()}
