"""The self-test list of acx.md section 12, each item over a real session with a partner that is no station."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.certs.clid import encode as encode_clid
from oftp2.certs.clid import parse as parse_clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2.cms.package import Services, pack
from oftp2.cms.stage import chain
from oftp2.cms.suites import SUITES
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.values import SecurityLevel
from oftp2d.ledger import AcxMode, Authentication, Demand, ExchangeState, Kind, Slot, Transport
from oftp2d.turns import SMALL_AT_ONCE
from tests import pki
from tests.authority import Authority, serving
from tests.exchange.peer import Peer, answer_to, call, files, responses, session
from tests.exchange.station import (
    CODE_A,
    CODE_B,
    PASSWORD_A,
    PASSWORD_B,
    Log,
    Station,
    eventually,
    introduce,
    station_a,
)
from tests.odette.pair import LIST, STAMP, publish
from tests.pki import Issued

CB01, CB04, CA01 = (pki.certificate(name) for name in ("CB01", "CB04", "CA01"))
SUITE = 4


@pytest.fixture
def known(a: Station, b: Station) -> Station:
    """Station A over TCP, which holds CB01 of B, takes what follows it, and waits to be called."""
    introduce(a, b, transport=Transport.TCP, a_announce=None, a_acx=AcxMode.KNOWN, a_host=None)
    with a._closed() as (ledger, _):
        partner = ledger.partners.by_code(CODE_B)
    assert partner is not None
    a.hold(partner, CB01)
    return a


def of_b(subject: str = "CN=b-new.test,O=Station B,C=FR", **wanted: object) -> Issued:
    usual = {"subject": subject, "issuer": pki.issuing("B"), "station": CODE_B}
    return pki.make(**(usual | wanted))  # type: ignore[arg-type]  # as the test gives them


def of_a(subject: str) -> Issued:
    return pki.make(subject=subject, issuer=pki.issuing("A"), station=CODE_A)


def described(issued: Issued) -> str:
    description = encode_clid(CertificateFacts.of(issued.der))
    assert description
    return description


async def standing_in(station: Station, fingerprints: set[str]) -> bool:
    return (await station.slots(CODE_B)).get(Slot.CURRENT) == fingerprints


async def owns(station: Station, issued: Issued, alias: str, *, confirmed: bool = False) -> None:
    """Another certificate of the station's own; ``confirmed``: B has it."""
    context = station.running.context

    def adopt() -> None:
        stored = context.certificates.adopt(
            issued.key, issued.certificate, alias=alias, now=context.now(), station=CODE_A
        )
        if confirmed:
            context.ledger.certificates.confirm(1, stored.fingerprint, context.now(), "manual")

    await station.db(adopt)


async def offered(station: Station, *options: str, command: str = "deliver") -> list[c.Sfid]:
    """What the partner gets that calls behind this command."""
    code, printed = await station.run("exchange", command, CODE_B, *options)
    assert code == 0, printed
    async with session(station) as peer:
        return [sfid for sfid, _ in files(await peer.turn())]


# --- what travels ------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_three_names_pass_the_encoder_in_full(known: Station) -> None:
    await known.start()
    for command, name in (("request", "REQUEST"), ("deliver", "DELIVER"), ("recall", "REPLACE")):
        (sfid,) = await offered(known, command=command)
        assert sfid.dataset == f"ODETTE_CERTIFICATE_{name}"
        assert len(sfid.dataset) == 26


@pytest_twisted.ensureDeferred
async def test_the_line_feeds_of_a_description_survive_both_ways(known: Station) -> None:
    await known.start()
    await owns(known, of_a("CN=a-old.test"), "old", confirmed=True)
    (sent,) = await offered(known, "--certificate", "station", "--previous", "old")
    assert sent.description.count("\n") == 5
    async with session(known) as peer:
        description = described(CB01)
        assert isinstance(await answer_to(peer, of_b().der, description=description), c.Eerp)
    assert [each.description for each in await known.transfers() if each.description] == [sent.description, description]


@pytest.mark.parametrize(
    "subject",
    [
        r"CN=a.test,O=Test CA\, Inc.,C=DE",
        "1.2.840.113549.1.9.1=edi@a.test,CN=a.test,O=Station A",
        r"CN=a.test+OU=EDI \+ more,O=\#1\; A",
    ],
    ids=["escaped comma", "e-mail address", "several values and escapes"],
)
@pytest_twisted.ensureDeferred
async def test_identification_data_come_back_as_they_went_whatever_is_in_the_name(subject: str, known: Station) -> None:
    await known.start()
    old = of_a(subject)
    await owns(known, old, "old", confirmed=True)
    (sent,) = await offered(known, "--certificate", "station", "--previous", "old")
    clid, facts = parse_clid(sent.description), CertificateFacts.of(old.der)
    assert clid is not None
    assert (clid.issuer, clid.serial, clid.subject) == (facts.issuer, facts.serial, facts.subject)
    assert clid.names(facts)


@pytest.mark.parametrize(
    ("units", "length", "keys"), [(0, 0, "INABES"), (6, 60, "INABE"), (10, 63, "INAB"), (12, 60, "")]
)
@pytest_twisted.ensureDeferred
async def test_of_overlong_names_the_subject_goes_first_then_the_extended_key_usage_then_all(
    units: int, length: int, keys: str, known: Station
) -> None:
    await known.start()
    long = "".join(f",OU={'u' * length}" for _ in range(units))
    issuer = pki.make(subject=f"CN=Issuing{long}", ca=True, key_usage=("keyCertSign",), extended=None, hosts=())
    await owns(known, pki.make(subject=f"CN=a.test{long}", issuer=issuer), "old", confirmed=True)
    (sent,) = await offered(known, "--certificate", "station", "--previous", "old")
    assert "".join(line[0] for line in sent.description.splitlines()) == keys
    assert len(sent.description.encode()) <= 999


@pytest_twisted.ensureDeferred
async def test_two_deliveries_in_one_second_are_two_files_with_an_answer_each(known: Station) -> None:
    await known.start()
    for _ in range(2):
        assert (await known.run("exchange", "deliver", CODE_B))[0] == 0
    async with session(known) as peer:
        first, second = [sfid for sfid, _ in files(await peer.turn())]
        assert first.identity != second.identity
        for sfid in (second, first):
            peer.acknowledge(sfid)
            await peer.expect(c.Rtr)
        await peer.leave()
    assert [each.state for each in await known.exchanges()] == [ExchangeState.ACCEPTED] * 2


# --- renewal, and what it follows --------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_renewal_under_the_same_name_is_taken_and_the_former_one_kept(known: Station) -> None:
    await known.start()
    async with session(known) as peer:
        assert isinstance(await answer_to(peer, CB04.der), c.Eerp)
    assert await known.slots(CODE_B) == {Slot.CURRENT: {CB04.fingerprint}, Slot.PREVIOUS: {CB01.fingerprint}}


@pytest_twisted.ensureDeferred
async def test_five_previous_certificates_are_kept_and_the_oldest_goes_for_a_further_one(known: Station) -> None:
    await known.start()
    name = pki.DECLARATION["certificate"]["CB01"]["subject"]
    following = [of_b(name, days=(-day, 30)) for day in range(7, 0, -1)]
    async with session(known) as peer:
        for each in following:
            await peer.deliver(each.der)
        assert all(isinstance(each, c.Eerp) for each in responses(await peer.turn()))
    found = await known.slots(CODE_B)
    assert found[Slot.CURRENT] == {following[-1].fingerprint}
    assert found[Slot.PREVIOUS] == {each.fingerprint for each in following[1:-1]}
    dropped = {each.fingerprint for each in await known.audit("previous certificate dropped")}
    assert dropped == {CB01.fingerprint, following[0].fingerprint}


@pytest_twisted.ensureDeferred
async def test_another_name_is_taken_with_identification_data_and_refused_without(known: Station) -> None:
    await known.start()
    renamed = of_b()
    async with session(known) as peer:
        refused = await answer_to(peer, renamed.der)
        assert isinstance(refused, c.Nerp)
        assert (refused.reason, "subject not as in" in refused.text) == (NegativeResponseReason.UNSPECIFIED, True)
        assert isinstance(await answer_to(peer, renamed.der, description=described(CB01)), c.Eerp)
    assert await known.slots(CODE_B) == {Slot.CURRENT: {renamed.fingerprint}, Slot.PREVIOUS: {CB01.fingerprint}}


@pytest_twisted.ensureDeferred
async def test_the_same_certificate_again_is_acknowledged_and_changes_nothing(known: Station) -> None:
    await known.start()
    async with session(known) as peer:
        for message in ("DELIVER", "REPLACE", "REQUEST"):
            assert isinstance(await answer_to(peer, CB01.der, message), c.Eerp)
    assert await known.slots(CODE_B) == {Slot.CURRENT: {CB01.fingerprint}}


@pytest.mark.parametrize("scope", ["slots", "all"])
@pytest_twisted.ensureDeferred
async def test_a_replacement_empties_what_was_kept_and_where_that_is_agreed_all_there_was(
    scope: str, known: Station
) -> None:
    await known.start()
    assert (await known.run("partner", "change", CODE_B, "--replace-scope", scope))[0] == 0
    signs = of_b("CN=signs.test", key_usage=("digitalSignature",))
    newest = of_b("CN=b.test,O=Station B,C=FR")
    await known.set(CODE_B, hold_certificates=True)
    async with session(known) as peer:
        await peer.deliver(signs.der)
        # It takes the end responses from CB01; what follows CB01 leaves it alone, unless all goes.
        await peer.leave()
    await known.idle()
    assert (await known.run("exchange", "accept", "1", "--usage", "eerp_signature"))[0] == 0
    await known.set(CODE_B, hold_certificates=False)
    async with session(known) as peer:
        for octets, message in ((CB04.der, "DELIVER"), (newest.der, "REPLACE")):
            await peer.deliver(octets, message)
        assert all(isinstance(each, c.Eerp) for each in responses(await peer.turn()))
    found = await known.slots(CODE_B)
    kept = set() if scope == "all" else {signs.fingerprint}
    assert found[Slot.CURRENT] == {newest.fingerprint} | kept
    previous = [each.usages for each in await known.certificates(CODE_B) if each.slot is Slot.PREVIOUS]
    assert previous == ([] if scope == "all" else [{Usage.EERP_SIGNATURE}])
    assert {CB04.fingerprint} <= found[Slot.WITHDRAWN]


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_expired_and_future_certificates_are_refused_with_their_period(known: Station) -> None:
    await known.start()
    name = pki.DECLARATION["certificate"]["CB01"]["subject"]
    async with session(known) as peer:
        for days, says in (((-30, -1), "expired: valid from"), ((2, 30), "not valid yet: valid from")):
            refused = await answer_to(peer, of_b(name, days=days).der)
            assert isinstance(refused, c.Nerp)
            assert refused.text.startswith(says)


@pytest_twisted.ensureDeferred
async def test_a_self_signed_certificate_is_refused_as_the_first_and_taken_as_a_renewal_in_a_proven_session(
    a: Station, b: Station
) -> None:
    introduce(a, b, transport=Transport.TCP, a_acx=AcxMode.KNOWN, a_host=None, a_authentication=Authentication.PREPARED)
    with a._closed() as (ledger, _):
        partner = ledger.partners.by_code(CODE_B)
    assert partner is not None
    first = pki.make(subject="CN=own.test", station=CODE_B)
    renewal = pki.make(subject="CN=own.test", station=CODE_B)
    stranger = pki.make(subject="CN=b.test", station=CODE_B)
    a.hold(partner, first)
    await a.start()
    async with session(a) as peer:
        for unproven in (stranger, renewal):
            assert isinstance(await answer_to(peer, unproven.der), c.Nerp)
    async with session(a, authentication=True) as peer:
        await peer.authenticate(first, CA01)
        assert isinstance(await answer_to(peer, stranger.der), c.Nerp)
        assert isinstance(await answer_to(peer, renewal.der), c.Eerp)
    assert await a.slots(CODE_B) == {Slot.CURRENT: {renewal.fingerprint}, Slot.PREVIOUS: {first.fingerprint}}


@pytest_twisted.ensureDeferred
async def test_nothing_is_even_queued_for_a_partner_of_release_1_4(known: Station) -> None:
    await known.start()
    await known.set(CODE_B, level=4)
    code, printed = await known.run("exchange", "request", CODE_B)
    assert code == 1
    assert "certificates are exchanged at level 5 (OFTP 2.0)" in printed
    assert await known.transfers() == []


# --- beside ordinary files ---------------------------------------------------------------------------------------


async def signed_by(peer: Peer, issued: Issued) -> c.EndResponse:
    """Send a signed file, and take its end response."""
    await send_signed(peer, issued)
    (response,) = responses(await peer.turn())
    return response


async def send_signed(peer: Peer, issued: Issued, dataset: str = "SIGNED") -> None:
    services = Services(sign=True, compress=False, encrypt=False)
    stages = pack(
        suite=SUITES[SUITE],
        signers=[issued.signer],
        compress=services.compress,
        recipients=(),
        octets=7,
        at=datetime.now(UTC),
    )
    octets = b"".join(chain(stages, [b"content"]))
    sfid = replace(peer.offer(dataset, octets), security=SecurityLevel.SIGNED, cipher=SUITE, envelope=1)
    assert isinstance(await peer.send_file(sfid, octets), c.Efpa)


@pytest_twisted.ensureDeferred
async def test_a_file_signed_with_the_former_certificate_counts_behind_a_delivery_and_not_behind_a_replacement(
    known: Station,
) -> None:
    await known.start()
    async with session(known) as peer:
        assert isinstance(await answer_to(peer, CB04.der), c.Eerp)
        assert isinstance(await signed_by(peer, CB01), c.Eerp)
        assert isinstance(await signed_by(peer, CB04), c.Eerp)
        assert isinstance(await answer_to(peer, CB04.der, "REPLACE"), c.Eerp)
        refused = await signed_by(peer, CB01)
        assert isinstance(refused, c.Nerp)
        assert refused.reason is NegativeResponseReason.INVALID_SIGNATURE
        assert isinstance(await signed_by(peer, CB04), c.Eerp)


@pytest_twisted.ensureDeferred
async def test_a_file_that_came_before_a_replacement_and_is_opened_behind_it_counts_by_the_former_certificate(
    known: Station, log: Log
) -> None:
    await known.start()
    places = known.running._delivery._turns._small
    for _ in range(SMALL_AT_ONCE):  # so many others are opened
        await places.take(0)
    async with session(known) as peer:
        await send_signed(peer, CB01, "BEFORE")
        await peer.deliver(CB04.der, "REPLACE")
        await eventually("the recall", lambda: standing_in(known, {CB04.fingerprint}))
        await send_signed(peer, CB01, "BEHIND")
        await peer.leave()
    (withdrawn,) = [each for each in await known.certificates(CODE_B) if each.slot is Slot.WITHDRAWN]
    came = {each.dataset: each.updated_at for each in await known.transfers(Kind.FILE)}
    assert withdrawn.withdrawn_at is not None
    assert came["BEFORE"] < withdrawn.withdrawn_at < came["BEHIND"]
    for _ in range(SMALL_AT_ONCE):
        places.give_back()
    async with session(known) as peer:
        answers = {}
        while len(answers) < 3:
            answers |= {each.dataset: type(each) for each in responses(await peer.turn())}
    assert answers == {"BEFORE": c.Eerp, "BEHIND": c.Nerp, "ODETTE_CERTIFICATE_REPLACE": c.Eerp}
    assert known.inbox() == [b"content"]
    assert log.lines("BEFORE", "withdrawn at", "came before")


@pytest_twisted.ensureDeferred
async def test_where_signed_files_are_demanded_certificates_come_plain_all_the_same(known: Station) -> None:
    await known.start()
    await known.set(CODE_B, incoming_signed=Demand.REQUIRED, incoming_encrypted=Demand.REQUIRED)
    async with session(known) as peer:
        answer = await peer.send_file(peer.offer("ORDERS", b"plain"), b"plain")
        assert isinstance(answer, c.Sfna)
        assert answer.reason is AnswerReason.UNENCRYPTED_NOT_ALLOWED
        assert isinstance(await answer_to(peer, CB04.der), c.Eerp)


# --- requests, and the beginning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [False, True], ids=["same session", "next session"])
@pytest_twisted.ensureDeferred
async def test_a_request_is_answered_with_an_end_response_and_our_certificate(early: bool, known: Station) -> None:
    await known.start()
    async with session(known) as peer:
        request = await peer.deliver(CB04.der, "REQUEST")
        if early:
            await peer.leave()
        else:
            heard = await peer.turn()
    if early:
        await known.idle()
        async with session(known) as peer:
            heard = await peer.turn()
    assert [each.identity for each in responses(heard)] == [request.identity]
    ((sfid, octets),) = files(heard)
    assert (sfid.dataset, sfid.description, octets) == ("ODETTE_CERTIFICATE_DELIVER", "", known.certificate.der)


@pytest_twisted.ensureDeferred
async def test_prepared_becomes_on_with_both_certificates_and_nobody_gets_below_it_again(
    a: Station, b: Station
) -> None:
    introduce(a, b, transport=Transport.TCP, a_issuer=None, a_host=None, a_authentication=Authentication.PREPARED)
    await a.start()
    async with session(a) as peer:
        await peer.deliver(CB01.der, "REQUEST")
        ((delivered, _),) = files(await peer.turn())
        assert (await a.partner(CODE_B)).authentication is Authentication.PREPARED
        peer.acknowledge(delivered)
        await peer.expect(c.Rtr)
        await peer.leave()
    await a.idle()
    assert (await a.partner(CODE_B)).authentication is Authentication.ON
    for level, reason in (
        (5, EndSessionReason.AUTHENTICATION_INCOMPATIBLE),
        (4, EndSessionReason.INCOMPATIBLE),
    ):
        async with call(a) as peer:
            await peer.expect(c.Ssrm)
            peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=5, level=level))
            assert (await peer.ended()).reason is reason


@pytest_twisted.ensureDeferred
async def test_a_lost_eerp_is_healed_by_a_session_with_authentication(a: Station, b: Station) -> None:
    introduce(a, b, transport=Transport.TCP, a_issuer=None, a_host=None, a_authentication=Authentication.PREPARED)
    await a.start()
    async with session(a) as peer:
        await peer.deliver(CB01.der, "REQUEST")
        await peer.turn()
    await a.idle()
    assert (await a.partner(CODE_B)).authentication is Authentication.PREPARED
    async with session(a, authentication=True) as peer:
        await peer.authenticate(CB01, CA01)
        await peer.leave()
    await a.idle()
    assert (await a.partner(CODE_B)).authentication is Authentication.ON


# --- what is judged by lists of others --------------------------------------------------------------------------------


@pytest.fixture
def authority(request: pytest.FixtureRequest) -> Iterator[Authority]:
    """Publishes a trust list of both hierarchies, and revocation lists that name nothing yet.

    A parameter: days since when there should be a newer list of B's authority.
    """
    overdue: float | None = getattr(request, "param", None)
    period = {} if overdue is None else {"issued": -overdue - 7, "next_update": -overdue}
    with serving() as server:
        publish(server, pki.listed(server.url), sequence=5)
        for level, of in (("issuing", pki.issuing), ("root", pki.root)):
            server.put(pki.list_path("B", level), pki.crl(of("B", server.url), **period))
        yield server


@pytest_twisted.async_yield_fixture
async def judging(tmp_path: Path, log: Log, authority: Authority) -> AsyncIterator[Station]:
    """Station A, running, which trusts the trust list alone and holds CB01 of B."""
    lists = f'[trust_list]\nenabled = true\nurl = "{authority.url}{LIST}"\nstamp_url = "{authority.url}{STAMP}"\n'
    station = station_a(tmp_path, settings=f'{lists}[revocation]\nmode = "tolerate"\nallow_local = true\n', anchors=())
    held = {"password_ours": PASSWORD_A, "password_theirs": PASSWORD_B, "transport": Transport.TCP}
    station.hold(station.add_partner(CODE_B, acx=AcxMode.KNOWN, **held), pki.certificate("CB01", authority.url))
    await station.start()
    await read_lists(station)
    yield station
    await station.stop()


async def read_lists(station: Station) -> None:
    await station.running.trust_lists.refresh()
    await station.running.context.revocations.refresh()


async def renewed(station: Station, name: str, authority: Authority) -> c.EndResponse:
    """What the station answers to a certificate that follows CB01."""
    async with session(station) as peer:
        return await answer_to(peer, pki.certificate(name, authority.url).der)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("CB04", "revoked on", id="revoked"),
        pytest.param("CB05", "which the trust list names only to verify its issuing authorities", id="root-issued"),
        pytest.param("CB06", "is not in the trust list, and no anchor of ours", id="outside-the-trust-list"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_the_lists_of_others_speak_against_is_refused_with_what_they_say(
    name: str, why: str, judging: Station, authority: Authority
) -> None:
    revoked = [pki.certificate("CB04", authority.url)]
    authority.put(pki.list_path("B"), pki.crl(pki.issuing("B", authority.url), revoked=revoked, number=2))
    await read_lists(judging)
    refused = await renewed(judging, name, authority)
    assert isinstance(refused, c.Nerp)
    assert why in refused.text
    assert await judging.slots(CODE_B) == {Slot.CURRENT: {pki.certificate("CB01", authority.url).fingerprint}}


@pytest.mark.parametrize(
    ("what", "how"),
    [("signer", {"sequence": 6, "signer": "another"}), ("sequence", {"sequence": 4})],
)
@pytest_twisted.ensureDeferred
async def test_a_trust_list_of_another_signer_or_a_lower_sequence_is_refused_and_the_old_one_counts(
    what: str, how: dict[str, Any], judging: Station, authority: Authority
) -> None:
    signer = pki.list_signer(how.get("signer", ""))
    services = [*pki.listed(authority.url), pki.service("outside", authority.url)]
    publish(authority, services, sequence=how["sequence"], signer=signer)
    code, said = await judging.run("trust", "refresh")
    assert code == 1
    assert (signer.fingerprint if what == "signer" else "4") in said
    assert isinstance(await renewed(judging, "CB06", authority), c.Nerp)
    assert isinstance(await renewed(judging, "CB04", authority), c.Eerp)


@pytest.mark.parametrize(("authority", "counts"), [(14, True), (16, False)], indirect=["authority"])
@pytest_twisted.ensureDeferred
async def test_what_has_a_revocation_list_older_than_fifteen_days_is_refused_until_there_is_a_fresh_one(
    authority: Authority, judging: Station, *, counts: bool
) -> None:
    answer = await renewed(judging, "CB04", authority)
    if not counts:
        assert isinstance(answer, c.Nerp)
        assert "16 days old" in answer.text
        for level, of in (("issuing", pki.issuing), ("root", pki.root)):
            authority.put(pki.list_path("B", level), pki.crl(of("B", authority.url), number=2))
        await read_lists(judging)
        answer = await renewed(judging, "CB04", authority)
    assert isinstance(answer, c.Eerp)
