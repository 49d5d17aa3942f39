"""Renewals, replacements, duplicates, and requests that are answered: the exchange after the first certificate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import rsa

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2.certs.clid import encode as encode_clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2.framing import frame
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.values import FileFormat, SecurityLevel
from oftp2d.ledger import AcxMode, Authentication, ExchangeMessage, ExchangeState, Kind, Slot, TransferState
from tests import pki
from tests.exchange.peer import Peer, Tls, answer_to, files, responses, session
from tests.exchange.station import CODE_A, CODE_B, Log, Station, eventually, introduce, start
from tests.pki import Issued


@pytest.fixture
def acquainted(a: Station, b: Station) -> Station:
    """Station A, which holds CB01 of B and knows nothing else of what is to come; authentication is off."""
    introduce(a, b, a_announce=None, a_acx=AcxMode.KNOWN, a_host=None)
    with a._closed() as (ledger, _):
        partner = ledger.partners.by_code(CODE_B)
    assert partner is not None
    a.hold(partner, pki.certificate("CB01"))
    return a


def prints(*names: str) -> set[str]:
    return {pki.certificate(name).fingerprint for name in names}


def successor(subject: str = "CN=b-new.test,O=Station B,C=FR", **wanted: object) -> Issued:
    usual = {"subject": subject, "issuer": pki.issuing("B"), "station": CODE_B}
    return pki.make(**(usual | wanted))  # type: ignore[arg-type]  # as the test gives them


def clid(issued: Issued) -> str:
    description = encode_clid(CertificateFacts.of(issued.der))
    assert description
    return description


# --- renewal and replacement -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_renewal_under_the_same_name_needs_no_announcement_and_keeps_its_predecessor(
    acquainted: Station,
) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        assert isinstance(await answer_to(peer, pki.certificate("CB04").der), c.Eerp)
    assert await acquainted.slots(CODE_B) == {Slot.CURRENT: prints("CB04"), Slot.PREVIOUS: prints("CB01")}


@pytest.mark.parametrize(("least", "answer"), [(2048, c.Nerp), (1024, c.Eerp)])
@pytest_twisted.ensureDeferred
async def test_a_renewal_with_a_shorter_key_is_taken_only_where_that_is_set(
    acquainted: Station, least: int, answer: type[c.EndResponse]
) -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - too short
    short = successor(pki.DECLARATION["certificate"]["CB01"]["subject"], key=key)
    await acquainted.start()
    await acquainted.set(CODE_B, least_rsa_bits=least)
    async with session(acquainted, tls=True) as peer:
        assert isinstance(await answer_to(peer, short.der), answer)


@pytest_twisted.ensureDeferred
async def test_replace_withdraws_all_there_was_and_what_is_withdrawn_never_comes_back(acquainted: Station) -> None:
    await acquainted.start()
    newest = successor("CN=b.test,O=Station B,C=FR")
    async with session(acquainted, tls=True) as peer:
        assert isinstance(await answer_to(peer, pki.certificate("CB04").der), c.Eerp)
        assert isinstance(await answer_to(peer, newest.der, "REPLACE"), c.Eerp)
        assert await acquainted.slots(CODE_B) == {
            Slot.CURRENT: {newest.fingerprint},
            Slot.WITHDRAWN: prints("CB01", "CB04"),
        }
        for name in ("CB01", "CB04"):
            refused = await answer_to(peer, pki.certificate(name).der)
            assert isinstance(refused, c.Nerp)
            assert "was withdrawn earlier" in refused.text
    assert await acquainted.slots(CODE_B) == {
        Slot.CURRENT: {newest.fingerprint},
        Slot.WITHDRAWN: prints("CB01", "CB04"),
    }


@pytest_twisted.ensureDeferred
async def test_replace_with_the_one_that_stands_withdraws_only_the_others(acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        await answer_to(peer, pki.certificate("CB04").der)
        assert isinstance(await answer_to(peer, pki.certificate("CB04").der, "REPLACE"), c.Eerp)
    assert await acquainted.slots(CODE_B) == {Slot.CURRENT: prints("CB04"), Slot.WITHDRAWN: prints("CB01")}


@pytest_twisted.ensureDeferred
async def test_another_subject_is_taken_only_with_the_identification_data_of_its_predecessor(
    acquainted: Station,
) -> None:
    await acquainted.start()
    renamed = successor()
    async with session(acquainted, tls=True) as peer:
        refused = await answer_to(peer, renamed.der)
        assert isinstance(refused, c.Nerp)
        assert "subject" in refused.text
        unrelated = await answer_to(peer, renamed.der, description=clid(pki.certificate("CA01")))
        assert isinstance(unrelated, c.Nerp)
        described = await answer_to(peer, renamed.der, description=clid(pki.certificate("CB01")))
        assert isinstance(described, c.Eerp)
    assert await acquainted.slots(CODE_B) == {Slot.CURRENT: {renamed.fingerprint}, Slot.PREVIOUS: prints("CB01")}


@pytest_twisted.ensureDeferred
async def test_in_the_bootstrap_identification_data_alone_do_not_carry_a_change_of_subject(
    a: Station, b: Station
) -> None:
    introduce(a, b, a_announce=None, a_host=None, authentication=Authentication.PREPARED)
    with a._closed() as (ledger, _):
        partner = ledger.partners.by_code(CODE_B)
    assert partner is not None
    a.hold(partner, pki.certificate("CB01"))
    await a.start()
    async with session(a, tls=True) as peer:
        refused = await answer_to(peer, successor().der, description=clid(pki.certificate("CB01")))
        assert isinstance(refused, c.Nerp)
    assert await a.slots(CODE_B) == {Slot.CURRENT: prints("CB01")}


@pytest_twisted.ensureDeferred
async def test_a_self_signed_renewal_needs_a_session_that_proves_the_partner(a: Station, b: Station) -> None:
    introduce(a, b, a_announce=None, a_acx=AcxMode.KNOWN, a_host=None)
    with a._closed() as (ledger, _):
        partner = ledger.partners.by_code(CODE_B)
    assert partner is not None
    name = "CN=b-own.test,O=Station B"
    first, second = pki.make(subject=name, station=CODE_B), pki.make(subject=name, station=CODE_B)
    a.hold(partner, first)
    await a.start()
    async with session(a, tls=True) as peer:
        refused = await answer_to(peer, second.der)
        assert isinstance(refused, c.Nerp)
        assert "needs a session with authentication or a TLS client certificate" in refused.text
    async with session(a, tls=Tls(second)) as peer:
        assert isinstance(await answer_to(peer, second.der), c.Nerp)
    async with session(a, tls=Tls(first)) as peer:
        assert isinstance(await answer_to(peer, second.der), c.Eerp)
    assert await a.slots(CODE_B) == {Slot.CURRENT: {second.fingerprint}, Slot.PREVIOUS: {first.fingerprint}}


@pytest_twisted.ensureDeferred
async def test_the_same_certificate_again_changes_nothing_and_is_acknowledged(acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        for message in ("DELIVER", "REPLACE", "DELIVER"):
            assert isinstance(await answer_to(peer, pki.certificate("CB01").der, message), c.Eerp)
    (held,) = await acquainted.certificates(CODE_B)
    assert (held.fingerprint, held.slot, held.usages) == (*prints("CB01"), Slot.CURRENT, frozenset(Usage))
    assert [record.text.partition(" (")[0] for record in await acquainted.exchanges()] == ["already configured"] * 3


# --- requests and their answers ----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_request_is_answered_with_our_certificate_in_the_same_session(acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        request = await peer.deliver(pki.certificate("CB04").der, "REQUEST")
        heard = await peer.turn()
        (response,) = responses(heard)
        assert isinstance(response, c.Eerp)
        assert response.identity == request.identity
        ((sfid, octets),) = files(heard)
    assert octets == acquainted.certificate.der
    assert sfid == replace(
        sfid,
        dataset="ODETTE_CERTIFICATE_DELIVER",
        originator=CODE_A,
        destination=CODE_B,
        format=FileFormat.UNSTRUCTURED,
        record_length=0,
        security=SecurityLevel.NONE,
        cipher=0,
        compression=0,
        envelope=0,
        signed_response=False,
        description="",
        user="",
        restart=0,
        size=-(-len(octets) // 1024),
        original_size=-(-len(octets) // 1024),
    )


@pytest_twisted.ensureDeferred
async def test_a_request_in_a_session_that_ends_early_is_answered_in_the_next(acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        request = await peer.deliver(pki.certificate("CB04").der, "REQUEST")
        peer.send(c.Esid(reason=EndSessionReason.NORMAL))
        await peer.gone()
    await acquainted.idle()
    async with session(acquainted, tls=True) as peer:
        heard = await peer.turn()
    assert [response.identity for response in responses(heard)] == [request.identity]
    assert [octets for _, octets in files(heard)] == [acquainted.certificate.der]


@pytest_twisted.ensureDeferred
async def test_a_refused_request_still_gets_our_certificate(acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        await peer.deliver(b"no certificate at all", "REQUEST")
        heard = await peer.turn()
    (response,) = responses(heard)
    assert isinstance(response, c.Nerp)
    assert [octets for _, octets in files(heard)] == [acquainted.certificate.der]


@pytest.mark.parametrize("message", ["DELIVER", "REPLACE"])
@pytest_twisted.ensureDeferred
async def test_only_a_request_is_answered_with_a_certificate(message: str, acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        await peer.deliver(pki.certificate("CB04").der, message)
        assert files(await peer.turn()) == []


@pytest_twisted.ensureDeferred
async def test_requests_are_answered_only_so_often_an_hour(acquainted: Station, log: Log) -> None:
    acquainted.settings = "[acx]\nanswers_per_hour = 2"
    await acquainted.start()
    answers = []
    async with session(acquainted, tls=True) as peer:
        for _ in range(4):
            await peer.deliver(pki.certificate("CB01").der, "REQUEST")
            heard = await peer.turn()
            assert isinstance(responses(heard)[0], c.Eerp)
            answers.append(len(files(heard)))
    assert answers == [1, 1, 0, 0]
    assert len(log.lines("warn", CODE_B, "requests certificates too often, not answered")) == 2


@pytest_twisted.ensureDeferred
async def test_two_deliveries_in_one_second_have_stamps_of_their_own(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    exchange, partner = a.running.exchange, await a.partner(CODE_B)
    for _ in range(3):
        await exchange.deliver(partner, None, None)
    sent = await a.transfers(Kind.EXCHANGE)
    assert len({(each.date, each.time) for each in sent}) == 3
    await a.call(CODE_B)

    async def answered() -> bool:
        return {each.state for each in await a.transfers(Kind.EXCHANGE)} == {TransferState.ACKNOWLEDGED}

    await eventually("all acknowledgements", answered)
    assert [record.state for record in await b.exchanges()] == [ExchangeState.ACCEPTED] * 3
    assert len(await b.certificates(CODE_A)) == 1


@pytest_twisted.ensureDeferred
async def test_a_renewal_of_ours_names_its_predecessor_and_is_used_when_the_partner_has_confirmed_it(
    a: Station, b: Station
) -> None:
    introduce(a, b)
    await start(a, b)
    exchange, partner = a.running.exchange, await a.partner(CODE_B)
    await exchange.deliver(partner, None, None)
    await a.call(CODE_B)
    renewal = pki.certificate("CA04")

    def adopt() -> None:
        a.running.context.certificates.adopt(
            renewal.key, renewal.certificate, alias="renewal", now=a.running.context.now(), station=CODE_A
        )

    await a.db(adopt)

    async def in_use() -> str:
        own = a.running.context.certificates.own
        found = await a.db(
            lambda: own(Usage.SIGNATURE, station=CODE_A, now=a.running.context.now(), partner_id=partner.id)
        )
        assert found is not None
        return found.stored.fingerprint

    assert await in_use() == pki.certificate("CA01").fingerprint
    stored = await a.db(a.running.context.certificates.find, "renewal")
    (record,) = await exchange.deliver(partner, stored, None)
    assert (await a.db(a.ledger.transfers.get, record.transfer_id)).description == clid(pki.certificate("CA01"))
    assert await in_use() == pki.certificate("CA01").fingerprint
    await a.call(CODE_B)

    async def confirmed() -> bool:
        return await in_use() == renewal.fingerprint

    await eventually("the confirmation", confirmed)
    held = {each.slot: each.fingerprint for each in await b.certificates(CODE_A)}
    assert held == {Slot.CURRENT: renewal.fingerprint, Slot.PREVIOUS: pki.certificate("CA01").fingerprint}


# --- the form of the files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset",
    ["odette_certificate_deliver", "Odette_Certificate_Deliver", "ODETTE_CERTIFICATE_DELIVER"],
)
@pytest_twisted.ensureDeferred
async def test_the_names_are_known_in_any_case(dataset: str, acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        octets = pki.certificate("CB04").der
        sfid = peer.offer("ODETTE_CERTIFICATE_DELIVER", octets)
        octets_of_sfid = frame(codec.encode(sfid)).replace(sfid.dataset.encode(), dataset.encode())
        assert isinstance(await send_raw(peer, octets_of_sfid, octets), c.Efpa)
        (response,) = responses(await peer.turn())
    assert isinstance(response, c.Eerp)
    assert response.dataset == dataset
    assert not acquainted.inbox()
    assert (await acquainted.slots(CODE_B))[Slot.CURRENT] == prints("CB04")


@pytest_twisted.ensureDeferred
async def test_a_name_that_only_resembles_is_an_ordinary_file(acquainted: Station) -> None:
    await acquainted.start()
    octets = pki.certificate("CB04").der
    async with session(acquainted, tls=True) as peer:
        for dataset in ("ODETTE_CERT_DELIVER", "ODETTE_CERTIFICATE_RENEW"):
            assert isinstance(await peer.send_file(peer.offer(dataset, octets), octets), c.Efpa)
        assert all(isinstance(response, c.Eerp) for response in responses(await peer.turn()))
    assert acquainted.inbox() == [octets, octets]
    assert await acquainted.exchanges() == []
    assert await acquainted.slots(CODE_B) == {Slot.CURRENT: prints("CB01")}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"security": SecurityLevel.ENCRYPTED, "cipher": 1, "envelope": 1}, AnswerReason.ENCRYPTED_NOT_ALLOWED),
        (
            {"security": SecurityLevel.ENCRYPTED_AND_SIGNED, "cipher": 1, "envelope": 1},
            AnswerReason.ENCRYPTED_NOT_ALLOWED,
        ),
        ({"format": FileFormat.FIXED, "record_length": 80}, AnswerReason.RECORD_FORMAT_NOT_SUPPORTED),
        ({"format": FileFormat.VARIABLE, "record_length": 80}, AnswerReason.RECORD_FORMAT_NOT_SUPPORTED),
        ({"compression": 1, "envelope": 1}, AnswerReason.COMPRESSION_NOT_ALLOWED),
        ({"destination": "O0013000009NOBODY"}, AnswerReason.INVALID_DESTINATION),
        ({"originator": "O0013000009NOBODY"}, AnswerReason.INVALID_ORIGIN),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_message_in_a_form_that_is_not_taken_is_refused_before_its_data(
    fields: dict[str, object], reason: AnswerReason, acquainted: Station
) -> None:
    await acquainted.start()
    octets = pki.certificate("CB04").der
    async with session(acquainted, tls=True) as peer:
        answer = await peer.send_file(peer.offer("ODETTE_CERTIFICATE_DELIVER", octets, **fields), octets)
        assert isinstance(answer, c.Sfna)
        assert answer.reason is reason
        assert isinstance(await answer_to(peer, octets), c.Eerp)


@pytest.mark.parametrize("fields", [{"format": FileFormat.TEXT}, {"signed_response": True}, {"user": "WHATEVER"}])
@pytest_twisted.ensureDeferred
async def test_small_liberties_with_the_form_are_taken(fields: dict[str, object], acquainted: Station) -> None:
    await acquainted.start()
    async with session(acquainted, tls=True) as peer:
        assert isinstance(await answer_to(peer, pki.certificate("CB04").der, **fields), c.Eerp)


@pytest_twisted.ensureDeferred
async def test_the_same_message_twice_is_a_duplicate_and_judged_once(acquainted: Station) -> None:
    await acquainted.start()
    octets = pki.certificate("CB04").der
    async with session(acquainted, tls=True) as peer:
        sfid = await peer.deliver(octets)
        answer = await peer.send_file(sfid, octets)
        assert isinstance(answer, c.Sfna)
        assert answer.reason is AnswerReason.DUPLICATE_FILE
        assert [response.identity for response in responses(await peer.turn())] == [sfid.identity]
    assert len(await acquainted.exchanges()) == 1


@pytest_twisted.ensureDeferred
async def test_ordinary_files_go_their_own_way_beside_the_exchange(acquainted: Station) -> None:
    await acquainted.start()
    await acquainted.queue(CODE_B, b"from a")
    async with session(acquainted, tls=True) as peer:
        await peer.send_file(peer.offer("ORDERS", b"from b"), b"from b")
        await peer.deliver(pki.certificate("CB04").der, "REQUEST")
        await peer.send_file(peer.offer("INVOICES", b"more from b"), b"more from b")
        heard = await peer.turn()
    assert [response.dataset for response in responses(heard)] == ["ORDERS", "ODETTE_CERTIFICATE_REQUEST", "INVOICES"]
    assert [(sfid.dataset, octets) for sfid, octets in files(heard)] == [
        ("ODETTE_CERTIFICATE_DELIVER", acquainted.certificate.der),
        ("ORDERS", b"from a"),
    ]
    assert acquainted.inbox() == [b"from b", b"more from b"]


@pytest_twisted.ensureDeferred
async def test_a_message_that_was_received_and_not_judged_when_the_station_fell_is_judged_at_its_next_start(
    acquainted: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acquainted.start()
    judged: list[str] = []

    async def fall(_partner: object, transfer: object, _proof: object) -> None:
        judged.append(str(transfer))

    monkeypatch.setattr(acquainted.running.exchange, "judge", fall)
    async with session(acquainted, tls=True) as peer:
        sfid = await peer.deliver(pki.certificate("CB04").der)
        await peer.leave()
    await acquainted.idle()
    assert len(judged) == 1
    await acquainted.restart()
    assert (await acquainted.slots(CODE_B))[Slot.CURRENT] == prints("CB04")
    async with session(acquainted, tls=True) as peer:
        assert [response.identity for response in responses(await peer.turn())] == [sfid.identity]


@pytest_twisted.ensureDeferred
async def test_what_is_asked_of_a_partner_without_the_exchange_is_refused_with_advice(a: Station, b: Station) -> None:
    introduce(a, b, a_acx=AcxMode.OFF)
    await a.start()
    for command in ("deliver", "request", "recall"):
        code, printed = await a.run("exchange", command, CODE_B)
        assert code != 0
        assert "the certificate exchange is off" in " ".join(printed.split())
    assert await a.exchanges() == []


@pytest_twisted.ensureDeferred
async def test_what_is_asked_of_a_partner_below_level_5_is_refused_with_advice(a: Station, b: Station) -> None:
    introduce(a, b, a_level=4)
    await a.start()
    for command in ("deliver", "request", "recall"):
        code, printed = await a.run("exchange", command, CODE_B)
        assert code != 0
        assert f"{CODE_B} is set to release level 4, and certificates are exchanged at level 5" in printed
        assert "--level 5" in printed
    assert await a.exchanges() == []


@pytest_twisted.ensureDeferred
async def test_a_recall_withdraws_at_the_partner_what_we_had_given_it(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    await a.running.exchange.deliver(await a.partner(CODE_B), None, None)
    await a.call(CODE_B)
    renewal = pki.certificate("CA02")
    await a.db(
        lambda: a.running.context.certificates.adopt(
            renewal.key, renewal.certificate, alias="renewal", now=a.running.context.now(), station=CODE_A
        )
    )
    stored = await a.db(a.running.context.certificates.find, "renewal")
    (record,) = await a.running.exchange.recall(await a.partner(CODE_B), stored, None)
    assert record.message is ExchangeMessage.REPLACE
    await a.call(CODE_B)
    held = {each.slot: each.fingerprint for each in await b.certificates(CODE_A)}
    assert held == {Slot.CURRENT: renewal.fingerprint, Slot.WITHDRAWN: pki.certificate("CA01").fingerprint}


async def send_raw(peer: Peer, offer: bytes, octets: bytes) -> c.Command:
    peer.write(offer)
    answer = await peer.command()
    if not isinstance(answer, c.Sfpa):
        return answer
    peer.write(bytes(buffers.encode(octets, 32_768, last=True).stream))
    peer.send(c.Efid(octets=len(octets)))
    return await peer.command()
