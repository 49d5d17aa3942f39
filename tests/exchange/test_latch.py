"""Session authentication and the bootstrap latch (acx.md 5.2): every setting, both roles, and who may undo it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.cms.challenge import make_challenge, open_challenge
from oftp2.reasons import EndSessionReason, NegativeResponseReason
from oftp2d.ledger import Authentication, ExchangeState, Kind, Partner, TransferState, Transport
from tests import pki
from tests.exchange.peer import Peer, answering, call, files, responses, session
from tests.exchange.station import (
    CODE_A,
    CODE_B,
    PASSWORD_A,
    PASSWORD_B,
    Log,
    Station,
    eventually,
    introduce,
    rewire,
    start,
)

CB01, CA01 = pki.certificate("CB01"), pki.certificate("CA01")
OFF, PREPARED, ON = Authentication


def know(a: Station, setting: Authentication, *, theirs: bool, ours: bool = False, port: int | None = None) -> Partner:
    """Station A knows B over plain TCP; ``theirs``: it holds its certificate; ``ours``: B has confirmed A's."""
    partner = a.add_partner(
        CODE_B,
        password_ours=PASSWORD_A,
        password_theirs=PASSWORD_B,
        announce="b.test",
        transport=Transport.TCP,
        host="127.0.0.1" if port else None,
        port=port or 1,
        authentication=setting,
    )
    if theirs:
        a.hold(partner, CB01)
    if ours:
        a.confirm(partner)
    return partner


async def setting(station: Station, code: str = CODE_B) -> Authentication:
    return (await station.partner(code)).authentication


# --- as Responder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "theirs", "asked", "answered"),
    [
        (OFF, False, False, False),
        (OFF, True, False, False),
        (OFF, False, True, None),
        (OFF, True, True, None),
        (PREPARED, False, False, False),
        (PREPARED, True, False, False),
        (PREPARED, False, True, None),
        (PREPARED, True, True, True),
        (ON, True, False, None),
        (ON, False, False, None),
        (ON, True, True, True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_as_responder_every_setting_answers_what_it_must(  # noqa: PLR0917 - a table
    configured: Authentication, theirs: bool, asked: bool, answered: bool | None, a: Station, log: Log
) -> None:
    know(a, configured, theirs=theirs)
    await a.start()
    async with call(a) as peer:
        if answered is None:
            await peer.expect(c.Ssrm)
            peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=5, authentication=asked))
            esid = await peer.ended()
            assert esid.reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
            assert "secure authentication is" in esid.text
        else:
            assert (await peer.identify(authentication=asked)).authentication is answered
            if answered:
                await peer.authenticate(CB01, CA01)
            await peer.leave()
    await a.idle()
    latched = configured is PREPARED and answered
    assert await setting(a) is (ON if latched else configured)
    assert len(await a.audit("authentication latched")) == bool(latched)
    assert len(log.complaints()) == (answered is None)


@pytest_twisted.ensureDeferred
async def test_as_responder_without_the_certificate_that_a_challenge_takes_it_says_what_is_missing(
    a: Station, log: Log
) -> None:
    know(a, ON, theirs=False)
    await a.start()
    async with call(a) as peer:
        await peer.identify(authentication=True)
        peer.send(c.Secd())
        esid = await peer.ended()
    assert esid.reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
    assert esid.text == f"there is no certificate of {CODE_B} here"
    await a.idle()
    (line,) = log.complaints()
    assert f"there is no certificate of {CODE_B} for session authentication" in line
    assert "session 1 with" in line


# --- as Initiator --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "theirs", "asks", "answered", "stands"),
    [
        (OFF, True, False, False, True),
        (OFF, True, False, True, False),
        (PREPARED, False, False, False, True),
        (PREPARED, False, False, True, False),
        (PREPARED, True, False, False, True),
        (ON, True, True, True, True),
        (ON, True, True, False, False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_as_initiator_every_setting_asks_and_insists_as_it_must(  # noqa: PLR0917 - a table
    configured: Authentication, theirs: bool, asks: bool, answered: bool, stands: bool, a: Station
) -> None:
    async with answering() as desk:
        know(a, configured, theirs=theirs, port=desk.port)
        await a.start()
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await desk.answer()
        assert (await peer.greet(authentication=answered)).authentication is asks
        if not stands:
            assert (await peer.ended()).reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
        else:
            if answered:
                await peer.be_authenticated(CB01, CA01)
            await peer.expect(c.Cd)
            await peer.leave()

        async def told() -> bool:
            return (await a.partner(CODE_B)).last_call_at is not None

        await eventually("the end of the call", told)
    partner = await a.partner(CODE_B)
    assert partner.authentication is configured
    assert (partner.last_error is None) is stands
    if not stands:
        assert "12" in str(partner.last_error)


@pytest_twisted.ensureDeferred
async def test_a_prepared_initiator_tries_once_more_with_authentication_when_it_can(a: Station) -> None:
    async with answering() as desk:
        know(a, PREPARED, theirs=True, port=desk.port)
        await a.start()
        await a.running.dialler.call(await a.partner(CODE_B))
        first = await desk.answer()
        first.send(c.Ssrm())
        assert (await first.expect(c.Ssid)).authentication is False
        first.send(c.Esid(reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE))
        await first.gone()
        second = await desk.answer()
        assert (await second.greet(authentication=True)).authentication is True
        await second.be_authenticated(CB01, CA01)
        await second.expect(c.Cd)
        await second.leave()
    await a.idle()
    assert await setting(a) is ON
    (entry,) = await a.audit("authentication latched")
    assert entry.detail["because"] == "an authenticated session"


@pytest_twisted.ensureDeferred
async def test_a_prepared_initiator_that_cannot_prove_anything_does_not_try_again(a: Station) -> None:
    async with answering() as desk:
        know(a, PREPARED, theirs=False, port=desk.port)
        await a.start()
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await desk.answer()
        peer.send(c.Ssrm())
        await peer.expect(c.Ssid)
        peer.send(c.Esid(reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE))
        await peer.gone()

        async def told() -> bool:
            return (await a.partner(CODE_B)).call_failures == 1

        await eventually("the failed call", told)
        assert not desk.calls.pending
    assert await setting(a) is PREPARED


# --- the latch -----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_latch_closes_only_when_both_halves_are_there_their_certificate_first(a: Station) -> None:
    know(a, PREPARED, theirs=False)
    await a.start()
    async with session(a) as peer:
        await peer.deliver(CB01.der, "REQUEST")
        heard = await peer.turn()
        assert isinstance(responses(heard)[0], c.Eerp)
        ((delivered, _),) = files(heard)
        assert await setting(a) is PREPARED
        peer.acknowledge(delivered)
        await peer.expect(c.Rtr)
        await peer.leave()
    await a.idle()
    assert await setting(a) is ON
    await a.restart()
    assert await setting(a) is ON
    (entry,) = await a.audit("authentication latched")
    assert (entry.partner_code, entry.detail["setting"]) == (CODE_B, "on")
    code, printed = await a.run("partner", "show", CODE_B, "--json")
    assert code == 0
    assert '"authentication": "on"' in printed


@pytest_twisted.ensureDeferred
async def test_the_latch_closes_only_when_both_halves_are_there_our_confirmation_first(a: Station) -> None:
    know(a, PREPARED, theirs=False)
    await a.start()
    await a.running.exchange.deliver(await a.partner(CODE_B), None, None)
    async with session(a) as peer:
        ((delivered, _),) = files(await peer.turn())
        peer.acknowledge(delivered)
        await peer.expect(c.Rtr)
        assert await setting(a) is PREPARED
        await peer.deliver(CB01.der)
        assert isinstance(responses(await peer.turn())[0], c.Eerp)
    await a.idle()
    assert await setting(a) is ON


@pytest_twisted.ensureDeferred
async def test_a_certificate_of_theirs_that_was_refused_is_no_half_of_the_latch(a: Station) -> None:
    know(a, PREPARED, theirs=False)
    await a.start()
    async with session(a) as peer:
        await peer.deliver(pki.certificate("CB06").der, "REQUEST")
        heard = await peer.turn()
        assert isinstance(responses(heard)[0], c.Nerp)
        ((delivered, _),) = files(heard)
        peer.acknowledge(delivered)
        await peer.expect(c.Rtr)
        await peer.leave()
    await a.idle()
    assert await setting(a) is PREPARED
    assert await a.db(a.ledger.certificates.confirmed, 1) == {CA01.fingerprint}


@pytest_twisted.ensureDeferred
async def test_a_certificate_of_ours_that_was_refused_is_no_half_of_the_latch(a: Station) -> None:
    know(a, PREPARED, theirs=True)
    await a.start()
    await a.running.exchange.deliver(await a.partner(CODE_B), None, None)
    async with session(a) as peer:
        ((delivered, _),) = files(await peer.turn())
        nerp = c.Nerp(
            dataset=delivered.dataset,
            date=delivered.date,
            time=delivered.time,
            destination=CODE_A,
            originator=CODE_B,
            creator=CODE_B,
            reason=NegativeResponseReason.UNSPECIFIED,
            text="not today",
        )
        peer.send(nerp)
        await peer.expect(c.Rtr)
        await peer.leave()
    await a.idle()
    assert await setting(a) is PREPARED
    (record,) = await a.exchanges()
    assert (record.state, record.text) == (ExchangeState.REFUSED, "not today")


@pytest_twisted.ensureDeferred
async def test_after_the_latch_no_session_without_authentication_comes_about_whatever_was_known_before(
    a: Station, log: Log
) -> None:
    know(a, ON, theirs=True, ours=True)
    await a.start()
    for _ in range(2):
        async with call(a) as peer:
            await peer.expect(c.Ssrm)
            peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=5))
            esid = await peer.ended()
            assert (esid.reason, esid.text) == (
                EndSessionReason.AUTHENTICATION_INCOMPATIBLE,
                "secure authentication is required",
            )
    await a.idle()
    assert len(log.complaints()) == 2
    for level in (1, 2, 4):
        async with call(a) as peer:
            await peer.expect(c.Ssrm)
            peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=5, level=level))
            assert (await peer.ended()).reason is EndSessionReason.INCOMPATIBLE
    assert await setting(a) is ON


@pytest_twisted.ensureDeferred
async def test_only_an_administrator_opens_the_latch_again_and_that_is_in_the_audit_trail(a: Station) -> None:
    know(a, ON, theirs=True, ours=True)
    await a.start()
    async with session(a, authentication=True) as peer:
        await peer.authenticate(CB01, CA01)
        renewal = pki.certificate("CB04")
        await peer.deliver(renewal.der, "REPLACE")
        assert isinstance(responses(await peer.turn())[0], c.Eerp)
    await a.idle()
    assert await setting(a) is ON
    code, _ = await a.run("partner", "change", CODE_B, "--authentication", "prepared")
    assert code == 0
    assert await setting(a) is PREPARED
    assert (await a.audit("partner changed"))[-1].detail["authentication"] == "prepared"


@pytest_twisted.ensureDeferred
async def test_a_latch_that_was_missed_or_opened_with_both_halves_there_closes_with_the_next_session(
    a: Station,
) -> None:
    know(a, PREPARED, theirs=True, ours=True)
    await a.start()
    async with call(a) as peer:
        await peer.expect(c.Ssrm)
        peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=5))
        assert (await peer.ended()).reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
    await a.idle()
    assert await setting(a) is ON
    assert len(await a.audit("authentication latched")) == 1


@pytest_twisted.ensureDeferred
async def test_a_lost_acknowledgement_heals_with_the_next_call_of_either_side(a: Station, b: Station) -> None:
    introduce(a, b, a_authentication=ON, b_authentication=PREPARED)
    for station, other in ((a, b), (b, a)):
        with station._closed() as (ledger, _):
            partner = ledger.partners.by_code(other.code)
        assert partner is not None
        station.hold(partner, other.certificate)
    with a._closed() as (ledger, _):
        a.confirm(ledger.partners.by_code(CODE_B))  # type: ignore[arg-type]  # it is there
    await start(a, b)
    assert (await b.call(CODE_A)).last_error is None
    assert await setting(b, CODE_A) is ON
    await b.set(CODE_A, authentication=PREPARED)
    assert (await a.call(CODE_B)).last_error is None
    assert await setting(b, CODE_A) is ON
    await b.restart()
    await rewire(a, b)
    assert (await b.call(CODE_A)).last_error is None


# --- wrong proofs --------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_wrong_answer_to_the_challenge_ends_with_esid_11_and_latches_nothing(a: Station, log: Log) -> None:
    know(a, PREPARED, theirs=True)
    await a.start()
    async with call(a) as peer:
        await peer.identify(authentication=True)
        peer.send(c.Secd())
        await peer.expect(c.Auch)
        peer.send(c.Aurp(response=bytes(20)))
        assert (await peer.ended()).reason is EndSessionReason.INVALID_CHALLENGE_RESPONSE
    await a.idle()
    assert await setting(a) is PREPARED
    (line,) = log.complaints()
    assert CODE_B in line
    assert "session 1 with" in line
    assert "11" in line


@pytest_twisted.ensureDeferred
async def test_as_initiator_a_wrong_answer_ends_with_esid_11_too(a: Station) -> None:
    async with answering() as desk:
        know(a, ON, theirs=True, port=desk.port)
        await a.start()
        await a.queue(CODE_B, b"secret")
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await desk.answer()
        await peer.greet(authentication=True)
        await peer.expect(c.Secd)
        peer.send(c.Auch(challenge=make_challenge(CA01.certificate)[0]))
        await peer.expect(c.Aurp)
        peer.send(c.Secd())
        await peer.expect(c.Auch)
        peer.send(c.Aurp(response=bytes(range(20))))
        assert (await peer.ended()).reason is EndSessionReason.INVALID_CHALLENGE_RESPONSE
    (transfer,) = await a.transfers(Kind.FILE)
    assert (transfer.state, transfer.attempts) == (TransferState.QUEUED, 0)


ENVELOPES: dict[str, Callable[[], bytes]] = {
    "for somebody else": lambda: make_challenge(CB01.certificate)[0],
    "garbage": lambda: b"\x30\x82garbage" * 30,
    "nothing": lambda: b"\x00",
    "half of it": lambda: make_challenge(CA01.certificate)[0][:200],
    "damaged": lambda: make_challenge(CA01.certificate)[0][:-8] + bytes(8),
}


@pytest.mark.parametrize("what", ENVELOPES)
@pytest_twisted.ensureDeferred
async def test_a_challenge_that_does_not_open_ends_the_session_in_one_line(what: str, a: Station, log: Log) -> None:
    know(a, ON, theirs=True)
    await a.start()
    async with call(a) as peer:
        await peer.identify(authentication=True)
        await _prove(peer)
        peer.send(c.Auch(challenge=ENVELOPES[what]()))
        esid = await peer.ended()
        assert esid.reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
        assert esid.text == "no key here opens the challenge"
    await a.idle()
    (line,) = log.complaints()
    assert f"the challenge of {CODE_B} cannot be answered" in line
    async with session(a, authentication=True) as peer:
        await peer.authenticate(CB01, CA01)
        await peer.leave()


@pytest.mark.rfc("5.3.17")
@pytest_twisted.ensureDeferred
async def test_a_challenge_that_was_answered_before_is_not_answered_again(a: Station, log: Log) -> None:
    know(a, ON, theirs=True)
    await a.start()
    envelope, secret = make_challenge(CA01.certificate)
    async with call(a) as peer:
        await peer.identify(authentication=True)
        await _prove(peer)
        peer.send(c.Auch(challenge=envelope))
        assert (await peer.expect(c.Aurp)).response == secret
        await peer.leave()
    async with call(a) as peer:
        await peer.identify(authentication=True)
        await _prove(peer)
        peer.send(c.Auch(challenge=envelope))
        assert (await peer.ended()).reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
    await a.idle()
    (line,) = log.complaints()
    assert "its key is that of one that was answered before" in line
    assert "somebody repeats what it said" in line


async def _prove(peer: Peer) -> None:
    """The first half: answer the station's challenge."""
    peer.send(c.Secd())
    challenge = await peer.expect(c.Auch)
    peer.send(c.Aurp(response=open_challenge(challenge.challenge, [CB01.owner])))
    await peer.expect(c.Secd)


@pytest.mark.rfc("4.2.3")
@pytest.mark.interop(10)
@pytest.mark.parametrize("after", ["ssid", "secd", "aurp"])
@pytest_twisted.ensureDeferred
async def test_no_file_and_no_turn_before_the_authentication_that_was_agreed(after: str, a: Station) -> None:
    know(a, ON, theirs=True)
    await a.start()
    await a.queue(CODE_B, b"for B alone")
    for intruder in ("file", "turn", "response"):
        async with call(a) as peer:
            await peer.identify(authentication=True)
            if after == "secd":
                peer.send(c.Secd())
                await peer.expect(c.Auch)
            elif after == "aurp":
                await _prove(peer)
            sfid = peer.offer("ORDERS", b"x")
            said = {"file": sfid, "turn": c.Cd(), "response": _eerp(sfid)}
            peer.send(said[intruder])
            assert (await peer.ended()).reason is EndSessionReason.PROTOCOL_VIOLATION
    await a.idle()
    assert a.inbox() == []
    (transfer,) = await a.transfers()
    assert transfer.state is TransferState.QUEUED


def _eerp(sfid: c.Sfid) -> c.Eerp:
    return c.Eerp(dataset=sfid.dataset, date=sfid.date, time=sfid.time, destination=CODE_A, originator=CODE_B)
