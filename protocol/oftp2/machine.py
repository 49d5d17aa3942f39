"""The interpreter of the tables: what the RFC's predicates, actions and outputs mean (RFC 5024 section 9).

``tables`` and ``deviations`` decide which row holds; this module knows what a row's numbers do. The variables of section 9.6
are one frozen value: a step works on a new one, and only a step that succeeds as a whole leaves it behind.

Actions that stop and start the inactivity timer have no entry in ``EFFECTS``, since every step that does anything re-arms the
session's deadline; nor have those that only say from what an output is built, since ``COMMANDS`` and ``EVENTS`` say that
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.buffers import Decoded
from oftp2.deviations import EFFECTIVE
from oftp2.errors import LocalProtocolError, RemoteProtocolError
from oftp2.negotiation import Capabilities, Disagreement, Terms, negotiate
from oftp2.reasons import EndSessionReason
from oftp2.tables import IMPOSSIBLE, Input, Row, State, Table
from oftp2.values import Level, Mode, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The local variables of RFC 5024 section 9.6."""

    role: Role
    capabilities: Capabilities
    code: str = ""
    password: str = field(default="", repr=False)
    peer: c.Ssid | None = None
    terms: Terms | None = None
    credit_speaker: int = 0
    credit_listener: int = 0
    restart_position: int = 0
    stored: r.StartFile | r.SendEndResponse | None = None
    """What was asked for before the turn came (Req-buf)."""
    secret: bytes = field(default=b"", repr=False)
    """The challenge that the peer must answer."""
    unconsumed: int = 0
    """Octets told to the User Monitor that it has not consumed yet."""
    fresh: bool = False
    """Whether the session stands and nothing has been said in it."""

    @property
    def level(self) -> Level:
        """The release level at which the next command is spoken: the agreed one, before that the highest both may know."""
        if self.terms is not None:
            return self.terms.level
        return Level.up_to(min(self.capabilities.level, self.peer.level)) if self.peer else self.capabilities.level

    @property
    def agreed(self) -> Terms:
        """The terms of a session that stands."""
        assert self.terms is not None  # noqa: S101 - states after negotiation only
        return self.terms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataOut:
    """Data Exchange Buffers that go out in one step: how many they are, and their octets, framed."""

    buffers: int
    stream: memoryview


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataIn:
    """Data Exchange Buffers that have been read: how many they were, and what they hold."""

    buffers: int
    content: Decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a step brought: commands to send and events to tell."""

    says: tuple[c.Command | DataOut, ...]
    tells: tuple[e.Event, ...]


Payload = Any
"""What came with the input: a command, a request, an error, or a text."""

Predicate = Callable[[Variables, Payload], bool]
Effect = Callable[[Variables, Payload], Variables]


def _negotiated(v: Variables, ssid: c.Ssid) -> Terms | Disagreement:
    return negotiate(v.capabilities, ssid)


def _accepted(v: Variables, request: r.AcceptSession) -> Terms | Disagreement:
    """The terms with this Initiator: our capabilities as far as the User Monitor grants them, and its SSID."""
    assert v.peer is not None  # noqa: S101 - state A_WF_CONRS only
    ours = v.capabilities
    try:
        granted = replace(
            ours,
            level=min(ours.level, request.level),
            lowest_level=max(ours.lowest_level, request.lowest_level),
            mode=_narrower(ours.mode, request.mode),
            buffer_size=min(ours.buffer_size, request.buffer_size),
            credit=min(ours.credit, request.credit),
            compression=ours.compression and request.compression,
            restart=ours.restart and request.restart,
            authentication=request.authentication,
        )
    except ValueError as error:
        raise LocalProtocolError(f"the session cannot be accepted so: {error}") from None
    return negotiate(granted, v.peer)


def _narrower(ours: Mode, granted: Mode) -> Mode:
    if granted is Mode.BOTH or ours is granted:
        return ours
    if ours is not Mode.BOTH:
        raise LocalProtocolError("one who can only send cannot only receive, nor the other way round")
    return granted


def _cannot_receive(v: Variables, sfid: c.Sfid) -> bool:
    return (sfid.restart > 0 and not v.agreed.restart) or v.agreed.mode is Mode.SENDER


def _cannot_send(v: Variables, request: r.StartFile) -> bool:
    return (request.command.restart > 0 and not v.agreed.restart) or v.agreed.mode is Mode.RECEIVER


def _never(_v: Variables, _payload: Payload) -> bool:
    return False


def _always(_v: Variables, _payload: Payload) -> bool:
    return True


PREDICATES: Final[Mapping[tuple[Table, str], Predicate]] = {
    # The application makes a session only when it has the resources and may take this role.
    (Table.SESSION, "P1"): _never,
    (Table.SESSION, "P3"): _never,
    (Table.SESSION, "agreed"): lambda v, ssid: isinstance(_negotiated(v, ssid), Terms),
    (Table.SESSION, "accepted"): lambda v, request: isinstance(_accepted(v, request), Terms),
    (Table.SESSION, "P5"): lambda v, _: v.role is Role.INITIATOR,
    (Table.SESSION, "P6"): lambda v, aurp: v.role is Role.INITIATOR and aurp.response == v.secret,
    (Table.SESSION, "P7"): lambda v, aurp: v.role is Role.RESPONDER and aurp.response == v.secret,
    (Table.SESSION, "P8"): lambda v, ssid: v.capabilities.authentication == ssid.authentication,
    (Table.SESSION, "P9"): lambda _, request: request.authentication,
    (Table.SESSION, "P10"): lambda v, request: v.peer is not None and request.authentication == v.peer.authentication,
    (Table.SESSION, "P11"): lambda v, _: v.capabilities.authentication,
    (Table.SPEAKER_1, "P1"): _cannot_send,
    (Table.SPEAKER_1, "P2"): lambda v, sfpa: sfpa.restart > v.restart_position,
    (Table.SPEAKER_1, "P3"): lambda v, data: v.credit_speaker == data.buffers,
    # Special logic is for X.25.
    (Table.SPEAKER_1, "P4"): _always,
    (Table.SPEAKER_1, "P5"): lambda _, request: bool(request.command.signature),
    (Table.SPEAKER_1, "fresh"): lambda v, _: v.fresh,
    (Table.SPEAKER_2, "P1"): lambda _, efpa: efpa.change_direction,
    (Table.LISTENER, "P1"): _cannot_receive,
    (Table.LISTENER, "P2"): lambda _, request: isinstance(request, r.AcceptFile | r.ConfirmFile),
    (Table.LISTENER, "P3"): lambda _, request: request.wants_turn,
    (Table.LISTENER, "P4"): lambda v, request: (
        isinstance(request, r.AcceptFile) and request.restart > v.restart_position
    ),
    (Table.LISTENER, "P5"): _never,
    (Table.LISTENER, "P6"): lambda v, _: v.credit_listener == 0,
    (Table.LISTENER, "credit_due"): lambda v, request: v.credit_listener == 0 and v.unconsumed <= request.octets,
}


def _adopt(v: Variables, ssid: c.Ssid) -> Variables:
    outcome = _negotiated(v, ssid)
    return replace(v, peer=ssid, terms=outcome if isinstance(outcome, Terms) else None, fresh=True)


def _identify(v: Variables, request: r.AcceptSession) -> Variables:
    terms = _accepted(v, request)
    assert isinstance(terms, Terms)  # noqa: S101 - the row's own predicate
    return replace(v, code=request.code, password=request.password, terms=terms)


def _store(v: Variables, request: r.StartFile | r.SendEndResponse) -> Variables:
    return replace(v, stored=request)


def _begin_file(v: Variables, request: r.StartFile) -> Variables:
    return replace(v, restart_position=request.command.restart)


def _begin_stored_file(v: Variables, _cd: c.Cd) -> Variables:
    assert isinstance(v.stored, r.StartFile)  # noqa: S101 - state SFSTWFCD only
    return replace(_begin_file(v, v.stored), stored=v.stored)


EFFECTS: Final[Mapping[tuple[Table, str], Effect]] = {
    (Table.SESSION, "5"): _adopt,
    (Table.SESSION, "identify"): _identify,
    (Table.SESSION, "6"): lambda v, request: replace(v, secret=request.secret),
    (Table.SPEAKER_1, "4"): _store,
    (Table.SPEAKER_1, "5"): _begin_file,
    (Table.SPEAKER_1, "6"): _store,
    (Table.SPEAKER_1, "10"): _begin_stored_file,
    (Table.SPEAKER_1, "12"): lambda v, _: replace(v, credit_speaker=v.agreed.credit),
    (Table.SPEAKER_1, "13"): lambda v, data: replace(v, credit_speaker=v.credit_speaker - data.buffers),
    (Table.SPEAKER_1, "16"): _store,
    (Table.SPEAKER_2, "7"): lambda v, _: replace(v, credit_speaker=0),
    (Table.LISTENER, "3"): lambda v, sfid: replace(v, restart_position=sfid.restart, unconsumed=0),
    (Table.LISTENER, "7"): lambda v, data: replace(
        v,
        credit_listener=v.credit_listener - data.buffers,
        unconsumed=v.unconsumed + len(data.content.octets),
    ),
    (Table.LISTENER, "8"): lambda v, _: replace(v, credit_listener=v.agreed.credit),
    (Table.LISTENER, "consume"): lambda v, request: replace(v, unconsumed=max(v.unconsumed - request.octets, 0)),
}


def _our_ssid(v: Variables, payload: Payload) -> c.Ssid:
    """What we say of ourselves: as Initiator what we can do, as Responder what is agreed."""
    ours, terms = v.capabilities, v.terms
    return c.Ssid(
        level=v.level,
        code=v.code,
        password=v.password,
        mode=terms.mode if terms else ours.mode,
        buffer_size=terms.buffer_size if terms else ours.buffer_size,
        credit=terms.credit if terms else ours.credit,
        compression=terms.compression if terms else ours.compression,
        restart=terms.restart if terms else ours.restart,
        authentication=payload.authentication if isinstance(payload, r.AcceptSession) else ours.authentication,
        user=ours.user,
    )


def _requested(v: Variables, payload: Payload) -> c.Command:
    """The command of a request, or of the one that was stored until the turn came."""
    source = v.stored if isinstance(payload, c.Cd) else payload
    assert isinstance(source, r.StartFile | r.SendEndResponse)  # noqa: S101 - the rows with such an output only
    return source.command


def _disagreement(v: Variables, payload: c.Ssid | r.AcceptSession) -> c.Esid:
    outcome = _negotiated(v, payload) if isinstance(payload, c.Ssid) else _accepted(v, payload)
    assert isinstance(outcome, Disagreement)  # noqa: S101 - the row's own predicate
    return c.Esid(reason=outcome.reason, text=outcome.text)


COMMANDS: Final[Mapping[str, Callable[[Variables, Payload], c.Command | DataOut]]] = {
    "SSRM": lambda _v, _p: c.Ssrm(),
    "SSID": _our_ssid,
    "SECD": lambda _v, _p: c.Secd(),
    "AUCH": lambda _v, request: c.Auch(challenge=request.envelope),
    "AURP": lambda _v, request: c.Aurp(response=request.secret),
    "SFID": _requested,
    "SFPA": lambda _v, request: c.Sfpa(restart=request.restart),
    "SFNA": lambda _v, request: c.Sfna(reason=request.reason, retry=request.retry, text=request.text),
    "DATA": lambda _v, data: data,
    "CDT": lambda _v, _p: c.Cdt(),
    "EFID": lambda _v, request: c.Efid(records=request.records, octets=request.octets),
    "EFPA(CD-Req)": lambda _v, _p: c.Efpa(change_direction=True),
    "EFPA(no_CD)": lambda _v, _p: c.Efpa(change_direction=False),
    "EFNA": lambda _v, request: c.Efna(reason=request.reason, text=request.text),
    "ESID(R)": lambda _v, request: c.Esid(reason=request.reason, text=request.text),
    "ESID(R=00)": lambda _v, request: c.Esid(reason=EndSessionReason.NORMAL, text=request.text),
    "ESID(R=terms)": _disagreement,
    "ESID(R=error)": lambda _v, error: c.Esid(reason=error.reason, text=str(error)),
    "ESID(R=09)": lambda _v, text: c.Esid(reason=EndSessionReason.TIME_OUT, text=text),
    "ESID(R=11)": lambda _v, _p: c.Esid(
        reason=EndSessionReason.INVALID_CHALLENGE_RESPONSE, text="the challenge was not answered correctly"
    ),
    "ESID(R=12)": lambda _v, _p: c.Esid(
        reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE,
        text="one side requires secure authentication, the other not",
    ),
    "CD": lambda _v, _p: c.Cd(),
    "EERP": _requested,
    "NERP": _requested,
    "RTR": lambda _v, _p: c.Rtr(),
}

EVENTS: Final[Mapping[str, Callable[[Variables, Payload], e.Event]]] = {
    "F_CONNECT_IND": lambda _v, ssid: e.SessionOffered(peer=ssid),
    "F_CONNECT_CF": lambda v, _p: _established(v),
    "F_CHALLENGE_IND": lambda _v, _p: e.ChallengeWanted(),
    "F_RESPONSE_IND": lambda _v, auch: e.ChallengeReceived(envelope=auch.challenge),
    "F_START_FILE_IND": lambda _v, sfid: e.FileOffered(command=sfid),
    "F_START_FILE_CF(+)": lambda _v, sfpa: e.FileAccepted(restart=sfpa.restart),
    "F_START_FILE_CF(-)": lambda _v, sfna: e.FileRefused(reason=sfna.reason, retry=sfna.retry, text=sfna.text),
    "F_DATA_CF": lambda _v, _p: e.CreditReceived(),
    "F_DATA_IND": lambda _v, data: e.DataReceived(octets=data.content.octets, ends=data.content.ends),
    "F_CLOSE_FILE_IND": lambda _v, efid: e.FileEnded(records=efid.records, octets=efid.octets),
    "F_CLOSE_FILE_CF(+,SP=No)": lambda _v, _p: e.FileConfirmed(has_turn=False),
    "F_CLOSE_FILE_CF(+,SP=Yes)": lambda _v, _p: e.FileConfirmed(has_turn=True),
    "F_CLOSE_FILE_CF(-)": lambda _v, efna: e.FileRejected(reason=efna.reason, text=efna.text),
    "F_EERP_IND": lambda _v, eerp: e.EndResponseReceived(command=eerp),
    "F_NERP_IND": lambda _v, nerp: e.EndResponseReceived(command=nerp),
    "F_RTR_CF": lambda _v, _p: e.ReadyReceived(),
    "F_CD_IND": lambda _v, _p: e.TurnReceived(),
    "F_RELEASE_IND": lambda _v, _p: e.SessionReleased(),
    "F_ABORT_IND(R,AO=D)": lambda _v, esid: e.SessionAborted(origin=e.Origin.PEER, reason=esid.reason, text=esid.text),
    "F_ABORT_IND": lambda _v, text: e.SessionAborted(
        origin=e.Origin.NETWORK, reason=EndSessionReason.UNSPECIFIED, text=text
    ),
}

NETWORK: Final = frozenset({"N_CON_RQ", "N_CON_RS", "N_DISC_RQ"})
"""What the application does with the connection: before it says ``connected``, and when the session is over."""

_WHY: Final[Mapping[tuple[Table, str], str]] = {
    (Table.SPEAKER_1, "K"): "SFPAACNT is beyond the restart position that was offered",
    (Table.LISTENER, "A"): "SFID asks for a restart or a direction that was not agreed",
    (Table.LISTENER, "~"): "more Data Exchange Buffers than there was credit for",
}


def _established(v: Variables) -> e.SessionEstablished:
    assert v.peer is not None  # noqa: S101 - rows behind a negotiation only
    return e.SessionEstablished(peer=v.peer, terms=v.agreed)


class Machine:
    """One side of a session: a state, its variables, and how a step changes them."""

    def __init__(self, variables: Variables) -> None:
        self.state = State.IDLE
        self.variables = variables

    def introduction(self) -> c.Ssid:
        """The SSID with which we introduce ourselves, as far as it is known."""
        return _our_ssid(self.variables, None)

    def allows(self, event: Input) -> bool:
        """Whether the state has a row for ``event`` at all; what comes with the event may still be refused."""
        return not isinstance(EFFECTIVE[self.state, event], str)

    def step(self, event: Input, payload: Payload) -> tuple[Row, Variables, Outcome]:
        """What ``event`` would bring: its row, the variables after it, and the outcome. Changes nothing.

        Raises ``LocalProtocolError`` for what is an error of our own side.
        """
        row = self._choose(event, payload)
        variables = self.variables
        for action in row.actions:
            effect = EFFECTS.get((row.table, action))
            if effect is not None:
                variables = effect(variables, payload)
        outcome = self._outcome(row, event, payload, variables)
        if outcome.says and variables.fresh and not _opening(row):
            variables = replace(variables, fresh=False)
        return row, variables, outcome

    def commit(self, row: Row, variables: Variables) -> None:
        """Go where ``step`` led."""
        self.state = row.to
        self.variables = variables

    def _choose(self, event: Input, payload: Payload) -> Row:
        decision = EFFECTIVE[self.state, event]
        if isinstance(decision, str):
            kind = "cannot happen" if decision == IMPOSSIBLE else "is not allowed"
            raise LocalProtocolError(f"{event.value} {kind} in state {self.state.value}")
        row = next(
            row
            for row in decision
            if all(bool(PREDICATES[row.table, name](self.variables, payload)) is wanted for name, wanted in row.guard)
        )
        if "UE" in row.outputs:
            raise LocalProtocolError(f"{event.value} is not allowed in state {self.state.value} of this session")
        return row

    def _outcome(self, row: Row, event: Input, payload: Payload, variables: Variables) -> Outcome:
        says: list[c.Command | DataOut] = []
        tells: list[e.Event] = []
        for output in row.outputs:
            if output == "ESID(R=02)":
                says.append(self._violation(row, event))
            elif output in COMMANDS:
                says.append(COMMANDS[output](variables, payload))
            elif output == "F_ABORT_IND(R,AO=L)":
                (esid,) = says
                assert isinstance(esid, c.Esid)  # noqa: S101 - the tables tell an abort of ours behind its ESID only
                tells.append(e.SessionAborted(origin=e.Origin.LOCAL, reason=esid.reason, text=esid.text))
            elif output not in NETWORK:
                tells.append(EVENTS[output](variables, payload))
        return Outcome(says=tuple(says), tells=tuple(tells))

    def _violation(self, row: Row, event: Input) -> c.Esid:
        text = _WHY.get((row.table, row.letter)) or f"{event.value} is not expected in state {self.state.value}"
        return c.Esid(reason=RemoteProtocolError.reason, text=text)


def _opening(row: Row) -> bool:
    """Whether a row still belongs to the opening of the session, in which saying something is no speech yet."""
    return row.table is Table.SESSION
