"""Two sessions over a fake wire that cuts octets anywhere."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2 import events as e
from oftp2 import requests as r
from oftp2.errors import LocalProtocolError
from oftp2.negotiation import Capabilities
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.tables import State
from oftp2.values import Mode, Turn
from tests.oftp2.wire import (
    AUTHENTICATED,
    CODE_I,
    CODE_R,
    EERP,
    NERP,
    SECRET,
    SFID,
    SMALL,
    SessionPair,
    Side,
    commands_in,
)


def established(
    initiator: Capabilities = SMALL, responder: Capabilities = SMALL, *, seed: int = 0
) -> tuple[SessionPair, Side, Side]:
    pair = SessionPair(initiator, responder, seed=seed)
    pair.establish()
    return pair, pair.initiator, pair.responder


def kinds(side: Side) -> list[str]:
    return [type(command).__name__.upper() for command in commands_in(bytes(side.written))]


def end(pair: SessionPair, speaker: Side) -> None:
    """Pass the turn, and let the other side leave."""
    listener = pair.other(speaker)
    pair.ask(speaker, r.ChangeDirection())
    listener.expect(e.TurnReceived)
    pair.ask(listener, r.EndSession())
    speaker.expect(e.SessionReleased)
    assert speaker.session.finished
    listener.told += listener.session.connection_lost("closed", pair.now)
    assert listener.session.finished
    assert not listener.events()


@pytest.mark.rfc("4.2.2", "5.3.2", "9.6")
def test_both_know_each_other_and_the_terms() -> None:
    _, initiator, responder = established(
        Capabilities(buffer_size=4_096, credit=7, restart=True), Capabilities(buffer_size=65_535, credit=999)
    )
    assert initiator.session.terms == responder.session.terms
    assert initiator.session.terms is not None
    assert (initiator.session.terms.buffer_size, initiator.session.terms.credit) == (4_096, 7)
    assert initiator.session.peer is not None
    assert responder.session.peer is not None
    assert (initiator.session.peer.code, responder.session.peer.code) == (CODE_R, CODE_I)
    assert (initiator.session.turn, responder.session.turn) == (Turn.SPEAKER, Turn.LISTENER)


@pytest.mark.rfc("4.4.1", "8.1")
@given(
    st.binary(max_size=3_000),
    st.integers(128, 400),
    st.integers(1, 5),
    st.integers(0, 1_000_000),
)
def test_a_file_arrives_whole_however_the_wire_cuts_it(octets: bytes, size: int, credit: int, seed: int) -> None:
    capabilities = Capabilities(buffer_size=size, credit=credit)
    pair, initiator, responder = established(capabilities, seed=seed)
    assert pair.transfer(octets) == octets
    assert (initiator.session.credit, responder.session.state) == (0, State.IDLELI)
    end(pair, initiator)


@pytest.mark.rfc("5.3.2", "5.3.7")
@pytest.mark.parametrize("credit", [1, 2, 999])
@pytest.mark.parametrize("size", [128, 129, 65_535, 99_999])
def test_a_file_arrives_in_every_window_that_can_be_agreed(size: int, credit: int) -> None:
    capabilities = Capabilities(buffer_size=size, credit=credit)
    pair, initiator, responder = established(capabilities, capabilities)
    octets = bytes(range(251)) * (40 * min(size, 4_096) // 251)
    assert pair.transfer(octets) == octets
    assert initiator.session.terms is not None
    assert (initiator.session.terms.buffer_size, initiator.session.terms.credit) == (size, credit)
    assert initiator.session.terms == responder.session.terms


@pytest.mark.interop(3)
def test_more_than_one_buffer_is_offered_in_a_row_unless_asked_otherwise() -> None:
    assert Capabilities().credit > 1


@pytest.mark.parametrize("size", [128, 99_999])
def test_a_file_of_a_megabyte_arrives(size: int) -> None:
    octets = random.Random(0).randbytes(1_000_001)  # noqa: S311
    capabilities = Capabilities(buffer_size=size, credit=50)
    pair, _, _ = established(capabilities, capabilities)
    assert pair.transfer(octets) == octets


@pytest.mark.rfc("4.3.6", "4.3.8", "4.5.1")
def test_several_files_and_end_responses_go_both_ways_in_one_session() -> None:
    pair, initiator, responder = established()
    for number in range(3):
        assert pair.transfer(b"there" * number, sfid=replace(SFID, dataset=f"F{number}")) == b"there" * number
    pair.ask(initiator, r.ChangeDirection())
    responder.expect(e.TurnReceived)
    for number in range(3):
        pair.ask(responder, r.SendEndResponse(command=replace(EERP, dataset=f"F{number}")))
        assert initiator.expect(e.EndResponseReceived).command.identity.dataset == f"F{number}"
        assert responder.session.state is State.WF_RTR
        pair.ask(initiator, r.SendReady())
        responder.expect(e.ReadyReceived)
    assert pair.transfer(b"and back") == b"and back"
    pair.ask(responder, r.SendEndResponse(command=NERP))
    assert initiator.expect(e.EndResponseReceived).command == NERP
    pair.ask(initiator, r.SendReady())
    responder.expect(e.ReadyReceived)
    end(pair, responder)


@pytest.mark.rfc("3.3.4.2", "4.3.2")
def test_a_refused_file_leaves_the_turn_with_the_speaker() -> None:
    pair, initiator, responder = established()
    pair.ask(initiator, r.StartFile(command=SFID))
    responder.expect(e.FileOffered)
    pair.ask(responder, r.RefuseFile(reason=AnswerReason.DUPLICATE_FILE, retry=True, text="schon da"))
    assert initiator.expect(e.FileRefused) == e.FileRefused(
        reason=AnswerReason.DUPLICATE_FILE, retry=True, text="schon da"
    )
    assert pair.transfer(b"another") == b"another"


@pytest.mark.rfc("3.3.3", "4.5.1", "5.3.10")
def test_a_file_that_cannot_be_kept_is_rejected_at_its_end() -> None:
    pair, initiator, responder = established()
    pair.ask(initiator, r.StartFile(command=SFID))
    pair.ask(responder, r.AcceptFile())
    pair.ask(initiator, r.SendData(octets=b"abc", last=True))
    pair.ask(initiator, r.CloseFile(octets=4))
    initiator.events(), responder.events()
    pair.ask(responder, r.RejectFile(reason=AnswerReason.INVALID_BYTE_COUNT, text="3 octets came"))
    assert initiator.expect(e.FileRejected) == e.FileRejected(
        reason=AnswerReason.INVALID_BYTE_COUNT, text="3 octets came"
    )
    assert pair.transfer(b"abc") == b"abc"


@pytest.mark.rfc("1.5.4", "4.3.3", "5.3.4")
def test_a_cut_off_file_goes_on_where_the_listener_says() -> None:
    pair, initiator, responder = established()
    pair.ask(initiator, r.StartFile(command=replace(SFID, restart=7)))
    assert responder.expect(e.FileOffered).command.restart == 7
    pair.ask(responder, r.AcceptFile(restart=5))
    assert initiator.expect(e.FileAccepted).restart == 5
    assert initiator.session.state is State.OPO


@pytest.mark.rfc("3.3.4.2", "4.5.1", "5.3.9", "9.11")
@pytest.mark.parametrize(
    ("request_", "kind", "state"),
    [
        (None, "", State.IDLESPCD),
        (r.StartFile(command=SFID), "SFID", State.OPOP),
        (r.SendEndResponse(command=EERP), "EERP", State.WF_RTR),
        (r.SendEndResponse(command=NERP), "NERP", State.WF_RTR),
        (r.ChangeDirection(), "CD", State.IDLELICD),
    ],
)
def test_the_listener_gets_the_turn_with_its_answer_and_uses_it(
    request_: r.Request | None, kind: str, state: State
) -> None:
    pair, initiator, responder = established()
    pair.ask(initiator, r.StartFile(command=SFID))
    pair.ask(responder, r.AcceptFile())
    pair.ask(initiator, r.CloseFile(octets=0))
    responder.told += responder.session.send(r.ConfirmFile(wants_turn=True), 0.0)
    assert responder.session.state is State.WF_CD
    if request_ is not None:
        responder.told += responder.session.send(request_, 0.0)
        with pytest.raises(LocalProtocolError):
            responder.session.send(r.StartFile(command=SFID), 0.0)
    initiator.events(), responder.events()
    pair.settle()
    assert initiator.events()[0] == e.FileConfirmed(has_turn=False)
    assert responder.session.state is state
    assert kinds(responder)[-1:] == [kind or "EFPA"]
    assert [type(event) for event in responder.events()] == ([] if request_ else [e.TurnReceived])


@pytest.mark.rfc("4.6.1")
def test_who_got_the_turn_with_the_answer_may_leave_at_once() -> None:
    pair, initiator, responder = established()
    pair.transfer(b"x", wants_turn=True)
    responder.expect(e.TurnReceived)
    pair.ask(responder, r.EndSession())
    initiator.expect(e.SessionReleased)


@pytest.mark.interop(11)
def test_a_connection_test_identifies_and_leaves() -> None:
    pair, initiator, responder = established()
    pair.ask(initiator, r.EndSession(text="just looking"))
    responder.expect(e.SessionReleased)
    assert responder.session.finished
    assert initiator.session.state is State.WF_NDISC


@pytest.mark.rfc("4.2.3", "4.2.4", "5.3.16", "5.3.17", "5.3.18")
@pytest.mark.parametrize("wrong", [None, "initiator", "responder"])
def test_each_side_authenticates_the_other(wrong: str | None) -> None:
    pair = SessionPair(AUTHENTICATED, SMALL, seed=3)
    pair.establish(authentication=True)
    initiator, responder = pair.initiator, pair.responder
    # The Responder challenges first: the Initiator has passed it the direction with SECD.
    responder.expect(e.ChallengeWanted)
    pair.ask(responder, r.SendChallenge(envelope=b"for the initiator", secret=SECRET))
    assert initiator.expect(e.ChallengeReceived).envelope == b"for the initiator"
    pair.ask(initiator, r.AnswerChallenge(secret=bytes(20) if wrong == "initiator" else SECRET))
    if wrong == "initiator":
        assert_both_told(responder, initiator, EndSessionReason.INVALID_CHALLENGE_RESPONSE)
        return
    initiator.expect(e.ChallengeWanted)
    pair.ask(initiator, r.SendChallenge(envelope=b"for the responder", secret=SECRET[::-1]))
    assert responder.expect(e.ChallengeReceived).envelope == b"for the responder"
    pair.ask(responder, r.AnswerChallenge(secret=bytes(20) if wrong == "responder" else SECRET[::-1]))
    if wrong == "responder":
        assert responder.expect_first(e.SessionEstablished)
        assert_both_told(initiator, responder, EndSessionReason.INVALID_CHALLENGE_RESPONSE)
        return
    initiator.expect(e.SessionEstablished)
    responder.expect(e.SessionEstablished)
    assert [kind for kind in kinds(initiator) if kind != "SSID"] == ["SECD", "AURP", "AUCH"]
    assert [kind for kind in kinds(responder) if kind not in {"SSRM", "SSID"}] == ["AUCH", "SECD", "AURP"]
    pair.ask(initiator, r.EndSession())
    responder.expect(e.SessionReleased)


def assert_both_told(ours: Side, theirs: Side, reason: EndSessionReason) -> None:
    aborted = ours.expect(e.SessionAborted)
    assert (aborted.origin, aborted.reason) == (e.Origin.LOCAL, reason)
    aborted = theirs.expect(e.SessionAborted)
    assert (aborted.origin, aborted.reason) == (e.Origin.PEER, reason)


@pytest.mark.rfc("3.4.2")
@pytest.mark.parametrize("reason", [reason for reason in EndSessionReason if reason is not EndSessionReason.NORMAL])
def test_either_side_may_end_in_the_middle_of_a_file_and_the_other_learns_why(reason: EndSessionReason) -> None:
    for who in ("initiator", "responder"):
        pair, initiator, responder = established()
        pair.ask(initiator, r.StartFile(command=SFID))
        pair.ask(responder, r.AcceptFile())
        initiator.events(), responder.events()
        side: Side = getattr(pair, who)
        pair.ask(side, r.EndSession(reason=reason, text="so be it"))
        assert pair.other(side).expect(e.SessionAborted) == e.SessionAborted(
            origin=e.Origin.PEER, reason=reason, text="so be it"
        )


@pytest.mark.rfc("4.7.2")
def test_both_sides_may_time_out_at_once() -> None:
    pair, initiator, responder = established()
    for side in pair.sides:
        side.told += side.session.tick(1_000.0)
    pair.settle()
    for side in (initiator, responder):
        assert side.expect(e.SessionAborted).reason is EndSessionReason.TIME_OUT
        assert side.session.finished


@pytest.mark.rfc("5.3.2", "4.3.6")
@pytest.mark.parametrize(
    ("ours", "theirs"), [(Mode.SENDER, Mode.RECEIVER), (Mode.SENDER, Mode.BOTH), (Mode.BOTH, Mode.RECEIVER)]
)
def test_one_who_only_receives_still_answers_files(ours: Mode, theirs: Mode) -> None:
    pair, initiator, responder = established(replace(SMALL, mode=ours), replace(SMALL, mode=theirs))
    assert pair.transfer(b"one way", wants_turn=True) == b"one way"
    responder.expect(e.TurnReceived)
    with pytest.raises(LocalProtocolError):
        responder.session.send(r.StartFile(command=SFID), 0.0)
    pair.ask(responder, r.SendEndResponse(command=EERP))
    assert initiator.expect(e.EndResponseReceived).command == EERP
