# ruff: noqa: S311 - chances are repeatable here, not secret
"""What holds for every session whatever its User Monitor asks and whatever the peer sends, looked for by hypothesis."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.errors import LocalProtocolError
from oftp2.framing import frame
from oftp2.negotiation import Capabilities
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.session import Session
from oftp2.tables import State
from oftp2.values import MAX_BUFFER_SIZE, Role, Turn
from tests.oftp2.wire import (
    AUTHENTICATED,
    CODE_R,
    EERP,
    NERP,
    PASSWORD,
    REQUESTS,
    SAMPLES,
    SECRET,
    SFID,
    SMALL,
    SessionPair,
    commands_in,
    in_state,
    make,
    merged,
    on_the_wire,
    pieces,
    snapshot,
)

ENDING = (r.EndSession, r.Abort)
SECOND_SFID = replace(SFID, dataset="SECOND", restart=3)
requests = st.one_of(
    st.sampled_from([request for request in REQUESTS if not isinstance(request, ENDING)]),
    st.builds(r.SendData, octets=st.binary(max_size=520), last=st.booleans()),
    st.builds(r.Consumed, octets=st.integers(0, 300)),
    st.builds(r.AcceptFile, restart=st.integers(-1, 4)),
    st.builds(r.StartFile, command=st.sampled_from([SFID, SECOND_SFID, replace(SFID, dataset="Ü")])),
    st.builds(r.SendEndResponse, command=st.sampled_from([EERP, NERP, replace(NERP, creator="X" * 26)])),
    st.builds(r.RefuseFile, reason=st.sampled_from(AnswerReason), text=st.sampled_from(["", "x" * 1_000])),
    st.builds(r.AnswerChallenge, secret=st.sampled_from([SECRET, b"short", bytes(20)])),
)


def fitting(session: Session, chance: random.Random) -> Iterator[r.Request]:
    """Requests that the state allows, as a User Monitor would make them, in random order."""
    octets = bytes(chance.randint(0, 4 * 125))
    offers: list[r.Request] = [
        *(request for request in REQUESTS if not isinstance(request, (*ENDING, r.SendData, r.Consumed))),
        r.SendData(octets=octets, ends=chance.choice([(), (len(octets) // 2,)]), last=chance.random() < 0.2),
        r.Consumed(octets=chance.choice([0, 1, 125, 10_000])),
    ]
    if session.state is State.A_WF_CONRS and session.peer:
        offers = [r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=session.peer.authentication)]
    chance.shuffle(offers)
    return (offer for offer in offers if session.accepts(type(offer)))


class Pair(RuleBasedStateMachine):
    """Two sessions; each has a twin that is asked the same and gets the same octets, but one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.chance = random.Random(0)

    @initialize(
        initiator=st.sampled_from([SMALL, AUTHENTICATED, Capabilities(buffer_size=200, credit=1)]),
        credit=st.integers(1, 3),
    )
    def connect(self, initiator: Capabilities, credit: int) -> None:
        responder = replace(SMALL, credit=credit)
        self.ours = [make(Role.INITIATOR, initiator), make(Role.RESPONDER, responder)]
        self.twins = [make(Role.INITIATOR, initiator), make(Role.RESPONDER, responder)]
        self.coming = [b"", b""]
        for side in (0, 1):
            for session in (self.ours[side], self.twins[side]):
                assert session.connected(self.now) == []
            self._collect(side)

    def _collect(self, side: int) -> None:
        octets = self.ours[side].data_to_send()
        assert octets == self.twins[side].data_to_send()
        self.coming[1 - side] += octets

    def _ask(self, side: int, request: r.Request) -> bool:
        ours, twin = self.ours[side], self.twins[side]
        before = snapshot(ours)
        try:
            told = ours.send(request, self.now)
        except LocalProtocolError:
            assert snapshot(ours) == before
            with pytest.raises(LocalProtocolError):
                twin.send(request, self.now)
            return False
        assert told == twin.send(request, self.now)
        self._collect(side)
        return True

    @rule(side=st.integers(0, 1), request=requests)
    def ask_anything(self, side: int, request: r.Request) -> None:
        self.now += 1
        self._ask(side, request)

    @rule(side=st.integers(0, 1), seed=st.integers(0, 1_000_000))
    def ask_what_fits(self, side: int, seed: int) -> None:
        self.now += 1
        for request in fitting(self.ours[side], random.Random(seed)):
            if self._ask(side, request):
                return

    @rule(side=st.integers(0, 1), share=st.floats(0.01, 1.0))
    def deliver(self, side: int, share: float) -> None:
        self.now += 1
        size = -int(-len(self.coming[side]) * share // 1)
        octets, self.coming[side] = self.coming[side][:size], self.coming[side][size:]
        at_once = self.ours[side].receive_data(octets, self.now)
        one_by_one = [
            event for at in range(len(octets)) for event in self.twins[side].receive_data(octets[at : at + 1], self.now)
        ]
        assert merged(at_once) == merged(one_by_one)
        self._collect(side)

    @rule(seed=st.integers(0, 1_000_000), rounds=st.integers(1, 12))
    def converse(self, seed: int, rounds: int) -> None:
        """Go on for a while without a mistake, to get far."""
        chance = random.Random(seed)
        for number in range(rounds):
            for side in (0, 1):
                if chance.random() < 0.7:
                    self.deliver(side, 1.0)
                self.ask_what_fits(side, seed + number)

    @rule(side=st.integers(0, 1), wait=st.sampled_from([0.0, 1.0, 5.0]))
    def wait(self, side: int, wait: float) -> None:
        """Time passes without a deadline being reached."""
        deadline = self.ours[side].deadline
        if deadline is not None and self.now + wait < deadline:
            self.now += wait
            assert self.ours[side].tick(self.now) == self.twins[side].tick(self.now) == []

    @precondition(lambda self: self.now > 150)
    @rule(
        side=st.integers(0, 1),
        request=st.sampled_from([request for request in REQUESTS if isinstance(request, ENDING)]),
    )
    def leave(self, side: int, request: r.Request) -> None:
        self._ask(side, request)

    @precondition(lambda self: self.now > 200)
    @rule(side=st.integers(0, 1))
    def fall_silent(self, side: int) -> None:
        deadline = self.ours[side].deadline
        if deadline is not None:
            self.now = max(self.now, deadline)
            assert self.ours[side].tick(self.now) == self.twins[side].tick(self.now)
            self._collect(side)

    @invariant()
    def never_two_speakers(self) -> None:
        if hasattr(self, "ours"):
            assert [session.turn for session in self.ours].count(Turn.SPEAKER) <= 1

    @invariant()
    def credit_stays_within_the_window(self) -> None:
        for session in getattr(self, "ours", ()):
            window = session.terms.credit if session.terms else 0
            assert 0 <= session.credit <= window
            assert 0 <= session.listener_credit <= window
            assert session._waiting is None or session.state is State.OPOWFC

    @invariant()
    def the_speaker_has_no_more_credit_than_the_listener_gave(self) -> None:
        if hasattr(self, "ours"):
            states = [session.state for session in self.ours]
            for sender, receiver in ((0, 1), (1, 0)):
                if states[sender] is State.OPO and states[receiver] is State.OPI:
                    assert self.ours[sender].credit <= self.ours[receiver].listener_credit + len(self.coming[receiver])

    @invariant()
    def twins_are_alike(self) -> None:
        for ours, twin in zip(getattr(self, "ours", ()), getattr(self, "twins", ()), strict=True):
            assert snapshot(ours)[:2] == snapshot(twin)[:2]
            assert ours.deadline == twin.deadline

    @invariant()
    def a_violation_never_arises_between_two_of_us(self) -> None:
        for session in getattr(self, "ours", ()):
            assert not session._deaf


Pair.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestPair = Pair.TestCase


# Octets nobody would send

arbitrary = st.one_of(
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=150).map(frame),
    st.lists(st.sampled_from(SAMPLES), max_size=4).map(lambda commands: on_the_wire(*commands)),
    st.builds(
        lambda first, rest: frame(first + rest),
        st.sampled_from([on_the_wire(command)[4:5] for command in SAMPLES]),
        st.binary(max_size=200),
    ),
    st.integers(0, 0xFFFFFFFF).map(lambda header: header.to_bytes(4, "big")),
)


def receive(session: Session, octets: bytes, seed: int) -> list[e.Event]:
    """Feed in pieces; check what must hold whatever came."""
    before = session.state
    told: list[e.Event] = []
    for piece in pieces(octets, random.Random(seed)):
        told += session.receive_data(piece, 1.0)
        assert session._reader.held <= MAX_BUFFER_SIZE + 4
    said = commands_in(session.data_to_send())
    ours = [event for event in told if isinstance(event, e.SessionAborted) and event.origin is e.Origin.LOCAL]
    if before is not State.WF_NDISC:
        esids = [command for command in said if isinstance(command, c.Esid)]
        assert [(esid.reason, esid.text) for esid in esids] == [(event.reason, event.text) for event in ours]
        assert len(esids) <= 1
        if esids:
            assert said[-1] == esids[0]
            assert session.state in {State.WF_NDISC, State.IDLE}
    return told


@given(st.sampled_from(State), st.lists(arbitrary, max_size=5), st.integers(0, 1_000))
@settings(max_examples=400)
def test_no_octets_raise_in_any_state(state: State, octets: list[bytes], seed: int) -> None:
    session = in_state(state)
    receive(session, b"".join(octets), seed)
    session.tick(1_000.0)
    session.tick(2_000.0)
    # It is over, or it is not the peer that is waited for.
    assert session.deadline is None
    session.connection_lost("gone", 2_000.0)
    assert session.finished


def conversation(*, authentication: bool) -> tuple[bytes, bytes]:
    """All octets of a long session, from the Initiator and from the Responder."""
    pair = SessionPair(AUTHENTICATED if authentication else SMALL)
    pair.establish(authentication=authentication)
    initiator, responder = pair.initiator, pair.responder
    if authentication:
        pair.ask(responder, r.SendChallenge(envelope=b"challenge", secret=SECRET))
        pair.ask(initiator, r.AnswerChallenge(secret=SECRET))
        pair.ask(initiator, r.SendChallenge(envelope=b"challenge", secret=SECRET))
        pair.ask(responder, r.AnswerChallenge(secret=SECRET))
        initiator.events(), responder.events()
    pair.transfer(bytes(300))
    pair.transfer(b"turn", wants_turn=True)
    responder.expect(e.TurnReceived)
    for command in (EERP, NERP):
        pair.ask(responder, r.SendEndResponse(command=command))
        pair.ask(initiator, r.SendReady())
        initiator.events(), responder.events()
    pair.transfer(b"and back")
    pair.ask(responder, r.ChangeDirection())
    pair.ask(initiator, r.EndSession())
    return bytes(initiator.written), bytes(responder.written)


CONVERSATIONS = {authentication: conversation(authentication=authentication) for authentication in (False, True)}


NEXT_FILE = r.StartFile(command=SFID)
ANSWERS: dict[type[e.Event], r.Request] = {
    e.ChallengeWanted: r.SendChallenge(envelope=b"challenge", secret=SECRET),
    e.ChallengeReceived: r.AnswerChallenge(secret=SECRET),
    e.FileOffered: r.AcceptFile(),
    e.FileAccepted: r.SendData(octets=b"abc"),
    e.CreditReceived: r.CloseFile(octets=3),
    e.FileEnded: r.ConfirmFile(),
    e.EndResponseReceived: r.SendReady(),
    **dict.fromkeys((e.SessionEstablished, e.TurnReceived, e.FileConfirmed, e.ReadyReceived, e.FileRefused), NEXT_FILE),
}


def answer(event: e.Event, *, authentication: bool) -> r.Request | None:
    """What a willing User Monitor says to an event."""
    match event:
        case e.SessionOffered():
            return r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=authentication)
        case e.DataReceived(octets=octets):
            return r.Consumed(octets=len(octets))
    return ANSWERS.get(type(event))


@given(st.booleans(), st.sampled_from(Role), st.data())
@settings(max_examples=300)
def test_valid_traffic_with_changes_never_raises(authentication: bool, role: Role, data: st.DataObject) -> None:
    sent_by_initiator, sent_by_responder = CONVERSATIONS[authentication]
    octets = bytearray(sent_by_responder if role is Role.INITIATOR else sent_by_initiator)
    frames = [on_the_wire(command) for command in commands_in(bytes(octets))]
    for _ in range(data.draw(st.integers(0, 3))):
        how = data.draw(st.sampled_from(["drop", "double", "swap"]))
        at = data.draw(st.integers(0, len(frames) - 2))
        if how == "drop":
            del frames[at]
        elif how == "double":
            frames.insert(at, frames[at])
        else:
            frames[at], frames[at + 1] = frames[at + 1], frames[at]
    octets = bytearray(b"".join(frames))
    for _ in range(data.draw(st.integers(0, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    session = make(role, AUTHENTICATED if authentication else SMALL)
    session.connected(0.0)
    for piece in pieces(bytes(octets), random.Random(data.draw(st.integers(0, 1_000)))):
        for event in merged(session.receive_data(piece, 1.0)):
            request = answer(event, authentication=authentication)
            if request is not None and session.accepts(type(request)):
                with contextlib.suppress(LocalProtocolError):
                    session.send(request, 1.0)
    commands_in(session.data_to_send())
    session.connection_lost("gone", 2.0)
    assert session.finished


def test_unchanged_traffic_goes_through_to_the_end() -> None:
    for authentication, (sent_by_initiator, _) in CONVERSATIONS.items():
        session = make(Role.RESPONDER, AUTHENTICATED if authentication else SMALL)
        session.connected(0.0)
        told = []
        for command in commands_in(sent_by_initiator):
            events = session.receive_data(on_the_wire(command), 1.0)
            told += events
            if isinstance(command, c.Cd):
                break
            for event in events:
                request = answer(event, authentication=authentication)
                if request is not None and session.accepts(type(request)):
                    session.send(request, 1.0)
        assert not any(isinstance(event, e.SessionAborted) for event in told)


@given(st.sampled_from(EndSessionReason), st.text(max_size=400), st.sampled_from(State))
def test_any_esid_text_is_told(reason: EndSessionReason, text: str, state: State) -> None:
    session = in_state(state)
    told = session.receive_data(on_the_wire(c.Esid(reason=reason, text=text)), 1.0)
    if told and isinstance(told[0], e.SessionAborted):
        assert told[0].origin is e.Origin.PEER
        assert told[0].reason is reason
