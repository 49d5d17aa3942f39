"""Certificates that are held until an operator decides: over real sessions, with the commands an operator types."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.certs.usages import Usage
from oftp2.reasons import NegativeResponseReason
from oftp2d.ledger import AcxMode, ExchangeRecord, ExchangeState, Kind, ReplaceScope, Slot, TransferState, Transport
from tests import pki
from tests.exchange.peer import Peer, files, responses, session
from tests.exchange.station import CODE_B, Log, Station, eventually, introduce

CB01, CB04, CB06 = (pki.certificate(name) for name in ("CB01", "CB04", "CB06"))


@pytest.fixture
def holding(a: Station, b: Station) -> Station:
    """Station A, which holds what B brings, over TCP; B is announced as b.test, does not run and cannot be called."""
    introduce(a, b, transport=Transport.TCP, a_host=None, a_hold_certificates=True)
    return a


async def brought(station: Station, peer: Peer, octets: bytes, message: str = "DELIVER") -> c.Sfid:
    """Deliver it, and wait until it is held."""
    before = len(await waiting(station))
    sfid = await peer.deliver(octets, message)

    async def held() -> bool:
        return len(await waiting(station)) > before

    await eventually("the message to be held", held)
    return sfid


async def waiting(station: Station) -> list[ExchangeRecord]:
    return list(await station.db(station.ledger.exchanges.held))


async def told(station: Station, *arguments: str) -> str:
    code, printed = await station.run("exchange", *arguments)
    assert code == 0, printed
    return " ".join(printed.split())


@pytest_twisted.ensureDeferred
async def test_a_held_certificate_gets_its_eerp_in_the_session_in_which_it_is_accepted(
    holding: Station, log: Log
) -> None:
    await holding.start()
    async with session(holding) as peer:
        sfid = await brought(holding, peer, CB01.der)
        (record,) = await waiting(holding)
        assert (record.rule, record.proof) == ("4.4 rule C", "code and password alone")
        assert await holding.certificates(CODE_B) == []
        assert f"decide: 'oftp2d exchange accept {record.id}'" in await told(holding, "show", str(record.id))
        assert "accepted: accepted by an administrator" in await told(holding, "accept", str(record.id))
        (response,) = responses(await peer.turn())
    assert isinstance(response, c.Eerp)
    assert response.identity == sfid.identity
    (held,) = await holding.certificates(CODE_B)
    assert (held.fingerprint, held.usages) == (CB01.fingerprint, frozenset(Usage))
    assert [entry.event for entry in await holding.audit() if entry.event.startswith("exchange")] == [
        "exchange deliver held",
        "exchange deliver accepted",
    ]
    assert log.lines("warn", "DELIVER held", "would be accepted by the rules alone", f"exchange accept {record.id}")


@pytest_twisted.ensureDeferred
async def test_what_is_held_survives_a_restart_and_is_answered_in_a_later_session(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        sfid = await brought(holding, peer, CB01.der)
        assert responses(await peer.turn()) == []
    await holding.idle()
    await holding.restart()
    (record,) = await waiting(holding)
    warnings = (await holding.ask("/v1/status"))["warnings"]
    assert [each for each in warnings if f"exchange accept {record.id}" in each]
    await told(holding, "reject", str(record.id), "--text", "call us first")
    assert await waiting(holding) == []
    async with session(holding) as peer:
        (response,) = responses(await peer.turn())
    assert isinstance(response, c.Nerp)
    assert (response.identity, response.reason) == (sfid.identity, NegativeResponseReason.UNSPECIFIED)
    assert response.text == "call us first"
    (transfer,) = await holding.transfers(Kind.EXCHANGE)
    assert (transfer.state, transfer.text) == (TransferState.REFUSED, "call us first")
    assert list((holding.home / "spool").glob("*/*")) == []
    assert await holding.certificates(CODE_B) == []


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (CB06.der, "would be refused by the rules alone: not trusted: "),
        (
            pki.make(subject="CN=b.test,O=Station B", station=CODE_B).der,
            "a self-signed certificate is accepted only as",
        ),
        (
            pki.make(subject="CN=other.test", issuer=pki.issuing("B")).der,
            "not as announced: common name is other.test, announced is b.test",
        ),
    ],
    ids=["not trusted", "self-signed", "not as announced"],
)
@pytest_twisted.ensureDeferred
async def test_an_operator_accepts_what_the_rules_alone_would_refuse(
    octets: bytes, says: str, holding: Station
) -> None:
    await holding.start()
    async with session(holding) as peer:
        await brought(holding, peer, octets)
        (record,) = await waiting(holding)
        shown = await told(holding, "show", str(record.id))
        assert says in shown
        await told(holding, "accept", str(record.id))
        assert isinstance(responses(await peer.turn())[0], c.Eerp)
    assert len(await holding.certificates(CODE_B)) == 1


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"garbage", "not a readable X.509 certificate"),
        (pki.issuing("B").der, "a certification authority"),
        (pki.make(subject="CN=b.test", issuer=pki.issuing("B"), days=(-30, -1)).der, "expired"),
    ],
    ids=["garbage", "authority", "expired"],
)
@pytest_twisted.ensureDeferred
async def test_nobody_is_asked_about_what_cannot_be_used(octets: bytes, says: str, holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        await peer.deliver(octets)
        (response,) = responses(await peer.turn())
    assert isinstance(response, c.Nerp)
    assert says in response.text
    assert await waiting(holding) == []


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_here_already_is_acknowledged_at_once(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        await brought(holding, peer, CB01.der)
        await told(holding, "accept", "1")
        await peer.deliver(CB01.der)
        answered = responses(await peer.turn())
    assert [isinstance(each, c.Eerp) for each in answered] == [True, True]
    kept = [await holding.db(holding.ledger.exchanges.get, number) for number in (1, 2)]
    assert [record.der for record in kept] == [CB01.der, None], "who repeats it does not fill the ledger"


@pytest_twisted.ensureDeferred
async def test_the_same_certificate_sent_again_is_decided_with_the_first(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        sent = [await brought(holding, peer, CB01.der) for _ in range(3)]
        other = await brought(holding, peer, CB04.der)
        replace = await brought(holding, peer, CB01.der, "REPLACE")
        await told(holding, "accept", "2")
        assert [record.id for record in await waiting(holding)] == [4, 5]
        await told(holding, "reject", "4")
        await told(holding, "reject", "5")
        answered = responses(await peer.turn())
    assert [each.identity for each in answered] == [
        sfid.identity for sfid in (sent[1], sent[0], sent[2], other, replace)
    ]
    assert [isinstance(each, c.Eerp) for each in answered] == [True] * 3 + [False] * 2


@pytest_twisted.ensureDeferred
async def test_what_the_rules_alone_would_refuse_is_accepted_each_time_it_was_sent(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        for _ in range(2):
            await brought(holding, peer, CB06.der)
        await told(holding, "accept", "1")
        answered = responses(await peer.turn())
    assert [isinstance(each, c.Eerp) for each in answered] == [True, True]


@pytest_twisted.ensureDeferred
async def test_a_known_certificate_that_would_withdraw_others_waits_for_an_operator(holding: Station) -> None:
    await holding.start()
    await holding.set(CODE_B, replace_scope=ReplaceScope.ALL)
    async with session(holding) as peer:
        await brought(holding, peer, CB01.der)
        await told(holding, "accept", "1")
        await brought(holding, peer, CB04.der)
        await told(holding, "accept", "2", "--usage", "encryption")
        await brought(holding, peer, CB01.der, "REPLACE")
        assert {each.slot for each in await holding.certificates(CODE_B)} == {Slot.CURRENT, Slot.PREVIOUS}
        await told(holding, "accept", "3")
        assert all(isinstance(each, c.Eerp) for each in responses(await peer.turn()))
    slots = {
        each.fingerprint: each.slot for each in await holding.certificates(CODE_B) if each.slot is not Slot.PREVIOUS
    }
    assert slots == {CB01.fingerprint: Slot.CURRENT, CB04.fingerprint: Slot.WITHDRAWN}


@pytest_twisted.ensureDeferred
async def test_a_request_that_is_held_gets_our_certificate_at_once(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        await brought(holding, peer, CB01.der, "REQUEST")
        heard = await peer.turn()
        assert responses(heard) == []
        assert [octets for _, octets in files(heard)] == [holding.certificate.der]
        await peer.leave()
    await told(holding, "accept", "1")
    async with session(holding) as peer:
        heard = await peer.turn()
    assert isinstance(responses(heard)[0], c.Eerp)
    assert files(heard) == []


@pytest_twisted.ensureDeferred
async def test_an_operator_says_for_what_a_second_certificate_is_used(holding: Station) -> None:
    await holding.start()
    stranger = pki.make(subject="CN=signs.test", issuer=pki.issuing("B"), key_usage=("digitalSignature",))
    async with session(holding) as peer:
        await brought(holding, peer, CB01.der)
        await told(holding, "accept", "1")
        await brought(holding, peer, stranger.der)
        code, printed = await holding.run("exchange", "accept", "2")
        assert code == 1
        assert "say for which usages it is taken: say 'oftp2d exchange accept 2 --usage ...'" in " ".join(
            printed.split()
        )
        await told(holding, "accept", "2", "--usage", "signature")
        assert all(isinstance(each, c.Eerp) for each in responses(await peer.turn()))
    slots = {(each.fingerprint, each.slot): each.usages for each in await holding.certificates(CODE_B)}
    assert slots[stranger.fingerprint, Slot.CURRENT] == {Usage.SIGNATURE}
    assert slots[CB01.fingerprint, Slot.PREVIOUS] == {Usage.SIGNATURE}


@pytest_twisted.ensureDeferred
async def test_a_decision_that_comes_too_late_or_twice_is_refused_with_advice(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        await brought(holding, peer, CB01.der)
        await told(holding, "accept", "1")
        for arguments, says in (
            (("accept", "1"), "message 1 is not held, it is accepted: see 'oftp2d exchange show 1'"),
            (("reject", "1"), "message 1 is not held, it is accepted"),
            (("accept", "7"), "there is no message 7"),
        ):
            code, printed = await holding.run("exchange", *arguments)
            assert (code, says in " ".join(printed.split())) == (1, True), printed
        await brought(holding, peer, CB04.der)
        await holding.set(CODE_B, acx=AcxMode.OFF)
        code, printed = await holding.run("exchange", "accept", "2")
        assert code == 1
        assert "switched off for this partner: refuse it with 'oftp2d exchange reject 2'" in " ".join(printed.split())
        await peer.leave()


@pytest_twisted.ensureDeferred
async def test_no_more_than_some_wait_for_an_operator(holding: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oftp2d.exchange.MOST_HELD", 2)
    monkeypatch.setattr("oftp2d.exchange.MOST_REPEATED", 2)
    junk = [pki.make(subject=f"CN=junk{n}.test,O=Station B", station=CODE_B).der for n in range(3)]
    await holding.start()
    async with session(holding) as peer:
        for octets in (junk[0], junk[0], junk[1]):
            await brought(holding, peer, octets)
        await peer.deliver(junk[2])
        await peer.deliver(junk[0])
        # What the rules alone would accept has a room of its own.
        await brought(holding, peer, CB01.der)
        texts = [each.text for each in responses(await peer.turn()) if isinstance(each, c.Nerp)]
    assert [text.split(" already")[0] for text in texts] == [
        "2 certificates of yours wait for an administrator",
        "this certificate waits for an administrator",
    ]
    assert [record.fingerprint == CB01.fingerprint for record in await waiting(holding)] == [False] * 3 + [True]


@pytest_twisted.ensureDeferred
async def test_what_was_announced_and_what_arrived_are_shown_side_by_side(holding: Station) -> None:
    await holding.start()
    async with session(holding) as peer:
        await brought(holding, peer, pki.make(subject="CN=other.test,C=FR", issuer=pki.issuing("A")).der)
        await peer.leave()
    shown = await told(holding, "show", "1")
    assert "common name b.test other.test differs" in shown
    document = json.loads((await holding.run("exchange", "show", "1", "--json"))[1])
    assert document["certificate"]["subject"] == "CN=other.test,C=FR"
    (announced,) = document["announced"]
    assert {part["name"] for part in announced["parts"] if not part["equal"]} == {"common name", "issuer"}
    assert document["state"] == ExchangeState.HELD
