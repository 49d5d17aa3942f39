"""Sessions without a network: a pair over a fake wire that cuts octets anywhere, and one session brought to any state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import numpy as np

from oftp2 import codec
from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.framing import FrameReader, frame
from oftp2.negotiation import Capabilities
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.session import Session
from oftp2.tables import State
from oftp2.values import Level, Role, Turn

T = TypeVar("T", bound=e.Event)

CODE_I: Final = "O0013INITIATOR"
CODE_R: Final = "O0013RESPONDER"
PASSWORD: Final = "TOPSECRT"
SMALL: Final = Capabilities(buffer_size=128, credit=2, compression=True, restart=True)
AUTHENTICATED: Final = replace(SMALL, authentication=True)
SECRET: Final = bytes(range(20))

SFID: Final = c.Sfid(
    dataset="MARINER",
    date="20240229",
    time="1159590001",
    destination=CODE_R,
    originator=CODE_I,
    size=1,
    original_size=1,
    description="Café / the Ancient Mariner",
)
EERP: Final = c.Eerp(
    dataset=SFID.dataset,
    date=SFID.date,
    time=SFID.time,
    destination=SFID.originator,
    originator=SFID.destination,
    hash=b"hash",
    signature=b"",
)
NERP: Final = c.Nerp(
    dataset=SFID.dataset,
    date=SFID.date,
    time=SFID.time,
    destination=SFID.originator,
    originator=SFID.destination,
    creator=CODE_R,
    reason=NegativeResponseReason.PROCESSING_FAILED,
    text="später",
)
SSID: Final = c.Ssid(code=CODE_I, password=PASSWORD, buffer_size=128, credit=2, compression=True, restart=True)
SAMPLES: Final[tuple[c.Command, ...]] = (
    c.Ssrm(),
    SSID,
    SFID,
    c.Sfpa(restart=0),
    c.Sfna(reason=AnswerReason.DUPLICATE_FILE, text="had it"),
    c.Data(payload=b"\x83abc"),
    c.Cdt(),
    c.Efid(octets=3),
    c.Efpa(),
    c.Efna(reason=AnswerReason.INVALID_BYTE_COUNT, text="other"),
    c.Esid(reason=EndSessionReason.NORMAL),
    c.Cd(),
    EERP,
    NERP,
    c.Rtr(),
    c.Secd(),
    c.Auch(challenge=b"envelope"),
    c.Aurp(response=SECRET),
)
REQUESTS: Final[tuple[r.Request, ...]] = (
    r.AcceptSession(code=CODE_R, password=PASSWORD),
    r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=True),
    r.StartFile(command=SFID),
    r.AcceptFile(),
    r.RefuseFile(reason=AnswerReason.FILE_TOO_BIG),
    r.SendData(octets=b"abc"),
    r.CloseFile(octets=3),
    r.ConfirmFile(),
    r.ConfirmFile(wants_turn=True),
    r.RejectFile(reason=AnswerReason.ACCESS_METHOD_FAILURE),
    r.SendEndResponse(command=EERP),
    r.SendEndResponse(command=NERP),
    r.SendReady(),
    r.ChangeDirection(),
    r.EndSession(),
    r.EndSession(reason=EndSessionReason.EMERGENCY_CLOSE_DOWN, text="lights out"),
    r.Abort(),
    r.Consumed(octets=0),
    r.Consumed(octets=3),
    r.SendChallenge(envelope=b"envelope", secret=SECRET),
    r.AnswerChallenge(secret=SECRET),
)

Step = c.Command | r.Request | bool
CONNECT: Final = True

_INITIATOR: Final[tuple[Step, ...]] = (CONNECT, c.Ssrm(), replace(SSID, code=CODE_R))
_RESPONDER: Final[tuple[Step, ...]] = (CONNECT, SSID, r.AcceptSession(code=CODE_R, password=PASSWORD))
_SECURE: Final[tuple[Step, ...]] = (CONNECT, c.Ssrm(), replace(SSID, code=CODE_R, authentication=True))
_SENDING: Final[tuple[Step, ...]] = (*_INITIATOR, r.StartFile(command=SFID), c.Sfpa())
_RECEIVING: Final[tuple[Step, ...]] = (*_RESPONDER, SFID, r.AcceptFile())
_TURNING: Final[tuple[Step, ...]] = (*_RECEIVING, c.Efid(octets=0), r.ConfirmFile(wants_turn=True))
_ANSWERED: Final[tuple[Step, ...]] = (*_SECURE, c.Auch(challenge=b"envelope"), r.AnswerChallenge(secret=SECRET))

PATHS: Final[dict[State, tuple[Role, tuple[Step, ...]]]] = {
    State.IDLE: (Role.RESPONDER, ()),
    State.I_WF_NC: (Role.INITIATOR, ()),
    State.I_WF_RM: (Role.INITIATOR, (CONNECT,)),
    State.I_WF_SSID: (Role.INITIATOR, (CONNECT, c.Ssrm())),
    State.A_NC_ONLY: (Role.RESPONDER, (CONNECT,)),
    State.A_WF_CONRS: (Role.RESPONDER, (CONNECT, SSID)),
    State.WF_AUCH: (Role.INITIATOR, _SECURE),
    State.WF_RESPONSE_RS: (Role.INITIATOR, (*_SECURE, c.Auch(challenge=b"envelope"))),
    State.WF_SECD: (Role.INITIATOR, _ANSWERED),
    State.WF_CHALLENGE_RS: (Role.INITIATOR, (*_ANSWERED, c.Secd())),
    State.WF_AURP: (
        Role.INITIATOR,
        (*_ANSWERED, c.Secd(), r.SendChallenge(envelope=b"envelope", secret=SECRET)),
    ),
    State.IDLESP: (Role.INITIATOR, _INITIATOR),
    State.IDLELICD: (Role.INITIATOR, (*_INITIATOR, r.ChangeDirection())),
    State.IDLELI: (Role.RESPONDER, _RESPONDER),
    State.IDLESPCD: (Role.RESPONDER, (*_RESPONDER, c.Cd())),
    State.WF_RTR: (Role.INITIATOR, (*_INITIATOR, r.SendEndResponse(command=EERP))),
    State.OPOP: (Role.INITIATOR, (*_INITIATOR, r.StartFile(command=SFID))),
    State.OPO: (Role.INITIATOR, _SENDING),
    State.OPOWFC: (Role.INITIATOR, (*_SENDING, r.SendData(octets=bytes(250)))),
    State.CLOP: (Role.INITIATOR, (*_SENDING, r.CloseFile(octets=0))),
    State.OPIP: (Role.RESPONDER, (*_RESPONDER, SFID)),
    State.OPI: (Role.RESPONDER, _RECEIVING),
    State.CLIP: (Role.RESPONDER, (*_RECEIVING, c.Efid(octets=0))),
    State.RTRP: (Role.RESPONDER, (*_RESPONDER, EERP)),
    State.WF_CD: (Role.RESPONDER, _TURNING),
    State.ERSTWFCD: (Role.RESPONDER, (*_TURNING, r.SendEndResponse(command=EERP))),
    State.NRSTWFCD: (Role.RESPONDER, (*_TURNING, r.SendEndResponse(command=NERP))),
    State.SFSTWFCD: (Role.RESPONDER, (*_TURNING, r.StartFile(command=SFID))),
    State.CDSTWFCD: (Role.RESPONDER, (*_TURNING, r.ChangeDirection())),
    State.WF_NDISC: (Role.INITIATOR, (*_INITIATOR, r.EndSession())),
}
"""How one session gets into each state; a command comes from the peer, a request from its User Monitor."""


def make(role: Role, capabilities: Capabilities = SMALL) -> Session:
    if role is Role.INITIATOR:
        return Session(role, capabilities, code=CODE_I, password=PASSWORD)
    return Session(role, capabilities)


def on_the_wire(*commands: c.Command, level: Level = Level.REVISION_2_0) -> bytes:
    return b"".join(frame(codec.encode(command, level)) for command in commands)


def commands_in(octets: bytes, level: Level = Level.REVISION_2_0) -> list[c.Command]:
    """What was written at a level, read again; payloads of DATA as bytes."""
    reader = FrameReader()
    reader.feed(octets)
    found = []
    while (buffer := reader.take()) is not None:
        command = codec.decode(buffer, level)
        found.append(replace(command, payload=bytes(command.payload)) if isinstance(command, c.Data) else command)
    assert not reader.held
    return found


def take_step(session: Session, step: Step, now: float = 0.0) -> list[e.Event]:
    if isinstance(step, bool):
        return session.connected(now)
    if isinstance(step, c.Command):
        return session.receive_data(on_the_wire(step), now)
    return session.send(step, now)


def in_state(state: State, now: float = 0.0) -> Session:
    """A new session in ``state``, its output taken away."""
    role, steps = PATHS[state]
    secure = any(isinstance(step, c.Ssid) and step.authentication for step in steps)
    session = make(role, AUTHENTICATED if secure else SMALL)
    for step in steps:
        take_step(session, step, now)
    session.data_to_send()
    assert session.state is state
    return session


def snapshot(session: Session) -> tuple[object, ...]:
    """All that a refused request must leave alone."""
    return (
        session.state,
        session._machine.variables,
        session.deadline,
        session.finished,
        tuple(session._out),
        session._reader.held,
        session._empty,
    )


def merged(events: Iterable[e.Event]) -> list[e.Event]:
    """Events with neighbouring data joined: how much comes at once depends on the network alone."""
    told: list[e.Event] = []
    for event in events:
        if isinstance(event, e.DataReceived) and told and isinstance(told[-1], e.DataReceived):
            starts = event.ends + len(told[-1].octets)
            told[-1] = e.DataReceived(
                octets=bytes(told[-1].octets) + bytes(event.octets), ends=np.concatenate((told[-1].ends, starts))
            )
        else:
            told.append(event)
    return told


def pieces(octets: bytes, chance: random.Random) -> Iterator[bytes]:
    """The octets in pieces of random sizes, many of them tiny."""
    at = 0
    while at < len(octets):
        size = chance.choice((1, 2, 3, 5, 64, 1_000, 100_000))
        yield octets[at : at + size]
        at += size


@dataclass
class Side:
    """One end of the wire."""

    session: Session
    told: list[e.Event] = field(default_factory=list)
    """Events not looked at yet."""
    written: bytearray = field(default_factory=bytearray)
    """All that it ever wrote."""
    coming: bytearray = field(default_factory=bytearray)
    """Octets under way to it."""

    def events(self) -> list[e.Event]:
        told, self.told = merged(self.told), []
        return told

    def expect(self, kind: type[T]) -> T:
        """The one event that was told."""
        event = self.expect_first(kind)
        assert not self.told, self.told
        return event

    def expect_first(self, kind: type[T]) -> T:
        """The event that was told first; others wait to be looked at."""
        event, *self.told = self.events()
        assert isinstance(event, kind), event
        return event


class SessionPair:
    """Initiator and Responder over a wire that delivers octets in order, in pieces of random size."""

    def __init__(
        self,
        initiator: Capabilities = SMALL,
        responder: Capabilities = SMALL,
        *,
        seed: int = 0,
        make_session: Callable[[Role, Capabilities], Session] = make,
    ) -> None:
        self.initiator = Side(make_session(Role.INITIATOR, initiator))
        self.responder = Side(make_session(Role.RESPONDER, responder))
        self.now = 0.0
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.initiator, self.responder

    @property
    def speaker(self) -> Side:
        (side,) = (side for side in self.sides if side.session.turn is Turn.SPEAKER)
        return side

    def other(self, side: Side) -> Side:
        return self.responder if side is self.initiator else self.initiator

    def connect(self) -> None:
        for side in self.sides:
            side.told += side.session.connected(self.now)
        self.settle()

    def ask(self, side: Side, request: r.Request) -> None:
        """Ask, then let the wire come to rest."""
        side.told += side.session.send(request, self.now)
        self.settle()

    def collect(self, side: Side) -> None:
        """Put what a side has to send on its way."""
        octets = side.session.data_to_send()
        side.written += octets
        self.other(side).coming += octets

    def settle(self) -> None:
        """Deliver until nothing is under way."""
        while True:
            for side in self.sides:
                self.collect(side)
            if not any(side.coming for side in self.sides):
                return
            for side in self.sides:
                octets = bytes(side.coming)
                side.coming.clear()
                for piece in pieces(octets, self._chance):
                    side.told += side.session.receive_data(piece, self.now)

    def establish(self, *, authentication: bool = False) -> None:
        """Connect and open a session; without authentication it stands then."""
        self.connect()
        self.responder.expect(e.SessionOffered)
        self.ask(self.responder, r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=authentication))
        if not authentication:
            self.initiator.expect(e.SessionEstablished)
            self.responder.expect(e.SessionEstablished)

    def transfer(self, octets: bytes, *, sfid: c.Sfid = SFID, wants_turn: bool = False) -> bytes:
        """Send one file from the Speaker to the Listener, and return what arrived."""
        speaker = self.speaker
        listener = self.other(speaker)
        self.ask(speaker, r.StartFile(command=sfid))
        assert listener.expect(e.FileOffered).command == sfid
        self.ask(listener, r.AcceptFile(restart=sfid.restart))
        speaker.expect(e.FileAccepted)
        arrived = bytearray()
        for at in range(0, len(octets), r.MAX_DATA):
            piece = octets[at : at + r.MAX_DATA]
            self.ask(speaker, r.SendData(octets=piece, last=at + len(piece) == len(octets)))
            while told := listener.events():
                for event in told:
                    assert isinstance(event, e.DataReceived)
                    arrived += event.octets
                    self.ask(listener, r.Consumed(octets=len(event.octets)))
            assert {type(event) for event in speaker.events()} <= {e.CreditReceived}
        self.ask(speaker, r.CloseFile(octets=len(octets)))
        assert listener.expect(e.FileEnded) == e.FileEnded(records=0, octets=len(octets))
        self.ask(listener, r.ConfirmFile(wants_turn=wants_turn))
        assert speaker.expect(e.FileConfirmed).has_turn is not wants_turn
        return bytes(arrived)
