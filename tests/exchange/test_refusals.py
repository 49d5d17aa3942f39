"""Which certificates are taken from a partner and which are not: over a real session, with what both sides see of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from oftp2 import commands as c
from oftp2.certs.usages import Usage
from oftp2.reasons import AnswerReason, NegativeResponseReason
from oftp2d.ledger import AcxMode, Authentication, ExchangeState, Kind, Slot, TransferState
from tests import pki
from tests.exchange.peer import answer_to, session
from tests.exchange.station import CODE_A, CODE_B, Log, Station, eventually, introduce, start
from tests.pki import Issued


def foreign(**wanted: object) -> Issued:
    """A certificate with B's name, unless told otherwise."""
    usual = {
        "subject": "CN=b.test,O=Station B,C=FR",
        "station": CODE_B,
        "issuer": pki.issuing("B"),
        "hosts": ("b.test",),
    }
    return pki.make(**(usual | wanted))  # type: ignore[arg-type]  # as the test gives them


def bundle(*certificates: Issued) -> bytes:
    """A certs-only CMS message."""
    return pkcs7.serialize_certificates([each.certificate for each in certificates], Encoding.DER)


ANNOUNCED = {
    "der": lambda: pki.certificate("CB01").der,
    "pem": lambda: pki.certificate("CB01").pem,
    "pem with text around it": lambda: b"Bag Attributes\r\n" + pki.certificate("CB01").pem + b"\r\n",
    "certs-only cms": lambda: bundle(pki.certificate("CB01")),
    "certs-only cms with its authorities": lambda: bundle(pki.root("B"), pki.certificate("CB01"), pki.issuing("B")),
    "pem with its issuing authority": lambda: pki.certificate("CB01").pem + pki.issuing("B").pem,
}

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "unannounced": (
        lambda: foreign(subject="CN=somebody.test,O=Station B,C=FR").der,
        "not as announced: common name is somebody.test, announced is b.test",
    ),
    "another issuer": (
        lambda: foreign(issuer=pki.issuing("A")).der,
        "not as announced: issuer is CN=OFTP2 Test Issuing A,",
    ),
    "issued by the root": (lambda: pki.certificate("CB05").der, "not trusted: "),
    "outside the trust list": (lambda: pki.certificate("CB06").der, "not trusted: "),
    "expired": (lambda: foreign(days=(-30, -1)).der, "expired: valid from"),
    "not yet valid": (lambda: foreign(days=(1, 30)).der, "not valid yet: valid from"),
    "an authority": (lambda: foreign(ca=True).der, "it is the certificate of a certification authority"),
    "self-signed": (lambda: foreign(issuer=None).der, "a self-signed certificate is accepted only as the renewal"),
    "elliptic": (lambda: foreign(key=ec.generate_private_key(ec.SECP256R1())).der, "its key is of kind EC"),
    "weak": (lambda: foreign(key=rsa.generate_private_key(65537, 1024)).der, "its RSA key has 1024 bits"),  # noqa: S505 - what is refused
    "garbage": (lambda: b"\x00\xff" * 700, "not a readable X.509 certificate"),
    "a der head and garbage": (lambda: pki.certificate("CB01").der[:300], "not a readable X.509 certificate"),
    "trailing garbage": (lambda: pki.certificate("CB01").der + b"more", "not a readable X.509 certificate"),
    "nothing": (lambda: b"", "the file is empty"),
    "xml": (lambda: b"<?xml version='1.0'?><CertificateRequest/>", "XML certificate messages are not supported"),
    "xml behind a byte order mark": (lambda: b"\xef\xbb\xbf\r\n <x/>", "XML certificate messages are not supported"),
    "two certificates in pem": (
        lambda: pki.certificate("CB01").pem + pki.certificate("CB04").pem,
        "the file holds 2 end-entity certificates, expected is one",
    ),
    "two certificates in cms": (
        lambda: bundle(pki.certificate("CB01"), pki.certificate("CB04")),
        "the file holds 2 end-entity certificates, expected is one",
    ),
    "with its private key": (
        lambda: pki.certificate("CB01").pem + pki.certificate("CB01").key_pem,
        "the file holds a private key, which must never leave its owner",
    ),
    "a signing request": (
        lambda: (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name.from_rfc4514_string("CN=b.test"))
            .sign(pki.certificate("CB01").key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        ),
        "not a readable X.509 certificate",
    ),
    "damaged armour": (
        lambda: b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "the PEM armour is damaged",
    ),
    "a pair of brackets": (
        lambda: b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "not a readable X.509 certificate",
    ),
}


@pytest.fixture
def waiting(a: Station, b: Station) -> Station:
    """Station A, which awaits a certificate called b.test under ca-b, in the bootstrap."""
    introduce(a, b, authentication=Authentication.PREPARED, a_host=None)
    return a


@pytest.mark.parametrize("form", ANNOUNCED)
@pytest_twisted.ensureDeferred
async def test_what_was_announced_and_is_trusted_is_accepted(form: str, waiting: Station, log: Log) -> None:
    await waiting.start()
    async with session(waiting, tls=True) as peer:
        response = await answer_to(peer, ANNOUNCED[form]())
    assert isinstance(response, c.Eerp)
    await waiting.idle()
    (held,) = await waiting.certificates(CODE_B)
    assert held.fingerprint == pki.certificate("CB01").fingerprint
    assert held.slot is Slot.CURRENT
    assert held.usages == frozenset(Usage)
    assert held.station == CODE_B
    assert not waiting.inbox()
    (record,) = await waiting.exchanges()
    assert (record.state, record.fingerprint) == (ExchangeState.ACCEPTED, held.fingerprint)
    assert len(log.lines("DELIVER accepted: as announced")) == 1


@pytest.mark.parametrize("what", REFUSED)
@pytest_twisted.ensureDeferred
async def test_what_is_not_acceptable_is_refused_with_nerp_99_and_the_reason(
    what: str, waiting: Station, log: Log
) -> None:
    make, text = REFUSED[what]
    await waiting.start()
    async with session(waiting, tls=True) as peer:
        response = await answer_to(peer, make())
    assert isinstance(response, c.Nerp)
    assert response.reason is NegativeResponseReason.UNSPECIFIED
    assert response.creator == CODE_A
    assert text in response.text, response.text
    await waiting.idle()
    assert await waiting.certificates(CODE_B) == []
    assert not waiting.inbox()
    assert (await waiting.partner(CODE_B)).authentication is Authentication.PREPARED
    (transfer,) = await waiting.transfers(Kind.EXCHANGE)
    assert (transfer.state, transfer.reason) == (TransferState.REFUSED, "NERP 99")
    (record,) = (await waiting.ask("/v1/exchange"))["exchanges"]
    assert record["state"] == "refused"
    assert record["text"] == response.text
    (entry,) = await waiting.audit("exchange deliver refused")
    assert entry.detail["text"] == response.text
    assert len(log.lines("DELIVER refused: ")) == 1


@pytest_twisted.ensureDeferred
async def test_a_file_too_large_for_a_certificate_is_refused_before_or_behind_its_data(waiting: Station) -> None:
    await waiting.start()
    octets = bytes(65 * 1024)
    async with session(waiting, tls=True) as peer:
        for size in (66, 1):
            sfid = peer.offer("ODETTE_CERTIFICATE_DELIVER", octets, size=size)
            answer = await peer.send_file(sfid, octets)
            assert isinstance(answer, c.Sfna if size == 66 else c.Efna)
            assert answer.reason is AnswerReason.FILE_TOO_BIG
        assert isinstance(await answer_to(peer, pki.certificate("CB01").der), c.Eerp)
    await waiting.idle()
    assert list((waiting.home / "spool" / "parts").iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_the_partner_sees_the_reason_of_our_refusal_in_its_transfer_its_exchange_and_its_audit(
    a: Station, b: Station, log: Log
) -> None:
    introduce(a, b, a_announce="other.test")
    await start(a, b)
    (queued,) = await b.running.exchange.deliver(await b.partner(CODE_A), None, None)
    await b.call(CODE_A)

    async def answered() -> bool:
        return (await b.db(b.ledger.transfers.get, queued.transfer_id)).state is TransferState.REFUSED

    await eventually("the NERP", answered)
    expected = "not as announced: common name is b.test, announced is other.test"
    transfer = await b.db(b.ledger.transfers.get, queued.transfer_id)
    assert (transfer.reason, transfer.text) == ("NERP 99", expected)
    (record,) = await b.exchanges()
    assert (record.state, record.text) == (ExchangeState.REFUSED, expected)
    (entry,) = await b.audit("certificate of ours refused by partner")
    assert entry.detail["text"] == expected
    assert await b.db(b.ledger.certificates.confirmed, 1) == set()
    for station, command in (
        (a, ["exchange", "list"]),
        (b, ["exchange", "list"]),
        (b, ["transfer", "show", queued.transfer_id]),
    ):
        code, printed = await station.run(*command, "--json")
        assert code == 0
        assert expected in printed
    assert len(log.lines("error", "refused our certificate", expected)) == 1


@pytest.mark.parametrize("message", ["DELIVER", "REPLACE", "REQUEST"])
@pytest_twisted.ensureDeferred
async def test_with_the_exchange_switched_off_every_message_is_refused_and_nothing_goes_back(
    message: str, a: Station, b: Station
) -> None:
    introduce(a, b, a_acx=AcxMode.OFF, a_host=None)
    await a.start()
    async with session(a, tls=True) as peer:
        sfid = await peer.deliver(pki.certificate("CB01").der, message)
        heard = await peer.turn()
    (response,) = heard
    assert isinstance(response, c.Nerp)
    assert response.text == "certificate exchange is switched off for this partner"
    assert response.identity == sfid.identity
    await a.idle()
    assert await a.certificates(CODE_B) == []
    assert not a.inbox()


@pytest_twisted.ensureDeferred
async def test_the_period_is_judged_with_five_minutes_of_tolerance_ahead_and_none_behind(waiting: Station) -> None:
    await waiting.start()
    passed = (datetime.now(UTC) - pki.NOW).total_seconds() / 86_400
    minute = 1 / 1440
    async with session(waiting, tls=True) as peer:
        for days, accepted in (
            ((-1, passed - minute), False),
            ((passed + 8 * minute, 30), False),
            ((passed + 3 * minute, 30), True),
        ):
            response = await answer_to(peer, foreign(days=days).der)
            assert isinstance(response, c.Eerp) is accepted, response


@pytest_twisted.ensureDeferred
async def test_mode_trusted_takes_a_first_certificate_unannounced_but_fills_only_empty_places(
    a: Station, b: Station
) -> None:
    introduce(a, b, a_announce=None, a_acx=AcxMode.TRUSTED, a_host=None)
    await a.start()
    stranger = foreign(subject="CN=elsewhere.test,O=Else,C=FR")
    async with session(a, tls=True) as peer:
        assert isinstance(await answer_to(peer, pki.certificate("CB01").der), c.Eerp)
        refused = await answer_to(peer, stranger.der)
        assert isinstance(refused, c.Nerp)
        assert "it replaces none of them" in refused.text
        self_signed = await answer_to(peer, foreign(issuer=None, subject="CN=own.test").der)
        assert isinstance(self_signed, c.Nerp)
    await a.idle()
    assert [held.fingerprint for held in await a.certificates(CODE_B)] == [pki.certificate("CB01").fingerprint]


@pytest_twisted.ensureDeferred
async def test_mode_known_refuses_a_first_certificate_and_says_that_an_administrator_must_assign_it(
    a: Station, b: Station
) -> None:
    introduce(a, b, a_announce=None, a_acx=AcxMode.KNOWN, a_host=None)
    await a.start()
    async with session(a, tls=True) as peer:
        response = await answer_to(peer, pki.certificate("CB01").der)
    assert isinstance(response, c.Nerp)
    assert "an administrator must assign it" in response.text


@pytest_twisted.ensureDeferred
async def test_a_partner_cannot_bring_a_certificate_for_another_partner_or_for_a_station_that_is_not_its_own(
    waiting: Station,
) -> None:
    other = "O0013000003OTHER"
    waiting.add_partner(other, password_theirs="OTHERPWD", announce="other.test")
    await waiting.start()
    octets = foreign(subject="CN=other.test", station=other).der
    async with session(waiting, tls=True) as peer:
        answer = await peer.send_file(peer.offer("ODETTE_CERTIFICATE_DELIVER", octets, originator=other), octets)
        assert isinstance(answer, c.Sfna)
        assert answer.reason is AnswerReason.INVALID_ORIGIN
        assert isinstance(await answer_to(peer, octets), c.Nerp)
    await waiting.idle()
    assert await waiting.certificates(other) == []
