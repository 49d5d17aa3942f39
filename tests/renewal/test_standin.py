"""The stand-in for an NMVS is as nmvs.md has it: asked with requests written by hand, point by point of section 8.3."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import pki
from tests.renewal import wire
from tools.nmvs.authority import Pair
from tools.nmvs.containers import Encryption, passphrase
from tools.nmvs.faults import Fault
from tools.nmvs.habits import ENVELOPES, Habits, Refusal
from tools.nmvs.issuing import Issue
from tools.nmvs.standin import Enrolled, StandIn

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSWORD = "Correct-horse-1"
REFUSED = (ssl.SSLError, ConnectionError)


@pytest_twisted.async_yield_fixture
async def standin(tmp_path: Path) -> AsyncIterator[StandIn]:
    from twisted.internet import reactor

    made = StandIn(reactor, tmp_path / "standin", now=BEGIN, new_key=pki.new_key)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def user(standin: StandIn) -> Enrolled:
    return standin.enrol("PHARMACY-1", "machine", PASSWORD)


async def renew(standin: StandIn, client: Issue | None, content: bytes | None = None) -> wire.Reply:
    assert standin.addresses
    return await wire.post(
        standin, standin.addresses.renew, content or wire.g615(version=standin.habits.version), client
    )


async def with_tan(standin: StandIn, tan: str, **changes: str) -> wire.Reply:
    assert standin.addresses
    return await wire.post(standin, standin.addresses.tan, wire.g615(body=f"<t:Tan>{tan}</t:Tan>", **changes))


async def support(standin: StandIn, client: Issue | None, content: bytes) -> wire.Reply:
    assert standin.addresses
    return await wire.post(standin, standin.addresses.probe, content, client)


def opened(reply: wire.Reply) -> tuple[rsa.RSAPrivateKey, x509.Certificate, list[x509.Certificate]]:
    """What an answer brought."""
    (cert,) = reply.find("Cert")
    secret = reply.attribute("Cert", "passphrase")
    assert secret is not None
    key, certificate, above = pkcs12.load_key_and_certificates(base64.b64decode(cert.text), secret.encode())
    assert isinstance(key, rsa.RSAPrivateKey)
    assert certificate is not None
    return key, certificate, above


def stranger(standin: StandIn) -> Issue:
    """A certificate of another authority."""
    found = pki.make(days=(-3000, 3000))
    return Issue(
        pair=Pair(found.certificate, found.key),
        root=standin.authorities.roots[0],
        secret="",
        container=b"",
        made_at=BEGIN,
    )


# --- 1: two listeners, and what a client certificate must be ------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_1_a_client_without_a_good_certificate_is_refused_in_the_handshake(
    standin: StandIn, user: Enrolled
) -> None:
    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_07"
    for client in (None, stranger(standin)):
        with pytest.raises(REFUSED):
            await renew(standin, client)
    standin.clock.advance(timedelta(days=730, seconds=1))
    with pytest.raises(REFUSED):
        await renew(standin, user.issue)
    standin.clock.set(BEGIN - timedelta(days=1))
    with pytest.raises(REFUSED):
        await renew(standin, user.issue)

    assert standin.counters()["handshakes refused"] == 4
    assert standin.counters()["handshakes refused: expired"] == 1
    assert standin.counters()["requests"] == 1


@pytest_twisted.ensureDeferred
async def test_1_or_it_is_answered_with_403(standin: StandIn, user: Enrolled) -> None:
    standin.change(refusal="http")
    statuses = [(await renew(standin, client)).status for client in (user.issue, None, stranger(standin))]
    standin.clock.advance(timedelta(days=731))
    statuses.append((await renew(standin, user.issue)).status)

    assert statuses == [200, 403, 403, 403]
    assert {name: count for name, count in standin.counters().items() if name.startswith("forbidden")} == {
        "forbidden: expired": 1,
        "forbidden: no certificate": 1,
        "forbidden: wrong authority": 1,
    }


@pytest_twisted.ensureDeferred
async def test_1_or_one_that_only_expired_gets_a_code(standin: StandIn, user: Enrolled) -> None:
    standin.change(refusal="process")
    standin.clock.advance(timedelta(days=731))

    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_01"
    assert (await renew(standin, stranger(standin))).status == 403


@pytest_twisted.ensureDeferred
async def test_1_the_tan_listener_wants_no_certificate(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))
    assert (await with_tan(standin, standin.tan("PHARMACY-1", "machine"))).code == "NMVS_SUCCESS"


@pytest_twisted.ensureDeferred
async def test_1_certificates_of_all_generations_of_the_authority_are_good(standin: StandIn, user: Enrolled) -> None:
    standin.authorities.roll_over()
    standin.clock.advance(timedelta(days=670))
    reply = await renew(standin, user.issue)
    _, certificate, above = opened(reply)

    assert above == [standin.authorities.roots[1].certificate]
    assert certificate.issuer != user.user.issues[0].pair.certificate.issuer
    assert (await support(standin, user.user.issues[1], wire.ping())).find("Output")


# --- 2: SOAP document/literal, checked strictly -------------------------------------------------------------------------

VIOLATIONS = {
    "a transaction of 33 characters": ({"trx": "x" * 33}, "NMVS_TE_XM_02"),
    "a UUID as transaction": ({"trx": "123e4567-e89b-12d3-a456-426614174000"}, "NMVS_TE_XM_02"),
    "no transaction": ({"trx": ""}, "NMVS_TE_XM_02"),
    "an underscore in the transaction": ({"trx": "a_b"}, "NMVS_TE_XM_02"),
    "a software version of 11 characters": (
        {"software": 't:name="a" t:supplier="b" t:version="1.2.3-beta4"'},
        "NMVS_TE_XM_02",
    ),
    "no supplier": ({"software": 't:name="a" t:version="1"'}, "NMVS_TE_XM_02"),
    "unqualified attributes": ({"software": 'name="a" supplier="b" version="1"'}, "NMVS_TE_XM_02"),
    "a short password": ({"password": "1234567"}, "NMVS_TE_XM_02"),
    "a long password": ({"password": "x" * 61}, "NMVS_TE_XM_02"),
    "a user of 3 characters": ({"user": "abc"}, "NMVS_TE_XM_02"),
    "a login of 21 characters": ({"login": "x" * 21}, "NMVS_TE_XM_02"),
    "a language of two letters": ({"language": "en"}, "NMVS_TE_XM_02"),
    "SubUserId before its time": ({"sub": "<t:SubUserId>a</t:SubUserId><t:SubUserId>b</t:SubUserId>"}, "NMVS_TE_XM_02"),
    "a short TAN": ({"body": "<t:Tan>1234567</t:Tan>"}, "NMVS_TE_XM_02"),
    "something else in the body": ({"body": "<t:Pin>12345678</t:Pin>"}, "NMVS_TE_XM_02"),
    "text in the body": ({"body": "hello"}, "NMVS_TE_XM_02"),
    "the namespaces of another version": ({"version": "2.0"}, "NMVS_TE_REQ_02"),
    "another process": ({"wrapper": "G110Request"}, "NMVS_TE_REQ_02"),
    "another envelope": ({"soap": "http://schemas.xmlsoap.org/soap/envelope/"}, "NMVS_TE_XM_02"),
    "no end tag": ({"body": "<t:Tan>"}, "NMVS_TE_XM_01"),
    "a document type": ({"before": "<!DOCTYPE x>"}, "NMVS_TE_XM_01"),
}


@pytest_twisted.ensureDeferred
async def test_2_what_violates_the_schema_is_answered_so_and_nobody_is_logged_in(
    standin: StandIn, user: Enrolled
) -> None:
    found = {}
    for name, (changes, _) in VIOLATIONS.items():
        found[name] = (await renew(standin, user.issue, wire.g615(**changes))).code

    assert found == {name: code for name, (_, code) in VIOLATIONS.items()}
    assert standin.counters()["authentications"] == 0


@pytest_twisted.ensureDeferred
async def test_2_the_order_of_elements_counts(standin: StandIn, user: Enrolled) -> None:
    right = wire.g615()
    login, name = b"<t:ClientLoginId>PHARMACY-1</t:ClientLoginId>", b"<t:UserId>machine</t:UserId>"
    assert login + name in right

    assert (await renew(standin, user.issue, right.replace(login + name, name + login))).code == "NMVS_TE_XM_02"
    assert (
        await renew(standin, user.issue, wire.g615(sub="<t:SubUserId>till 4</t:SubUserId>"))
    ).code == "NMVS_FE_PKI_07"


@pytest.mark.parametrize("version", ["2.0", "4.0", "5.0"])
@pytest_twisted.ensureDeferred
async def test_2_each_version_has_its_namespaces_and_path(standin: StandIn, user: Enrolled, version: str) -> None:
    old = standin.addresses
    assert old
    standin.change(version=version)
    standin.clock.advance(timedelta(days=670))
    reply = await renew(standin, user.issue)
    (wrapper,) = reply.find("G615Response")

    assert wrapper.tag == f"{{urn:wsdltypes.nmvs.eu:v{version}}}G615Response"
    assert {each.tag.partition("}")[0][1:] for each in wrapper.iterdescendants()} == {f"urn:types.nmvs.eu:v{version}"}
    assert reply.attribute("ReturnCode", "code") == "NMVS_SUCCESS"
    assert len(reply.find("NMVSTrxId")[0].text) == 32
    if version != "4.0":
        missing = await wire.post(standin, old.renew, wire.g615(), user.issue)
        assert (missing.status, missing.code) == (404, "NMVS_TE_REQ_02")


@pytest_twisted.ensureDeferred
async def test_2_prefixes_change_from_answer_to_answer(standin: StandIn, user: Enrolled) -> None:
    prefixes = {(await renew(standin, user.issue)).tree().prefix for _ in range(4)}
    assert len(prefixes) == 4


@pytest_twisted.ensureDeferred
async def test_2_soap_1_1_and_error_statuses_are_there_too(standin: StandIn, user: Enrolled) -> None:
    standin.change(soap="1.1", error_status=500)
    reply = await renew(standin, user.issue, wire.g615(soap=ENVELOPES["1.1"]))

    assert reply.kind.startswith("text/xml")
    assert (reply.status, reply.code) == (500, "NMVS_FE_PKI_07")
    assert reply.tree().tag == f"{{{ENVELOPES['1.1']}}}Envelope"


# --- 3: users -----------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_3_the_fourth_wrong_password_locks_and_a_right_one_before_it_forgives(
    standin: StandIn, user: Enrolled
) -> None:
    async def codes(*passwords: str) -> list[str | None]:
        return [(await renew(standin, user.issue, wire.g615(password=each))).code for each in passwords]

    wrong = "Wrong-password-1"
    assert await codes(wrong, wrong, wrong, PASSWORD) == [*["NMVS_FE_AU_06"] * 3, "NMVS_FE_PKI_07"]
    assert await codes(*[wrong] * 4) == [*["NMVS_FE_AU_06"] * 3, "NMVS_FE_AU_05"]
    assert await codes(PASSWORD, wrong) == ["NMVS_FE_AU_02"] * 2
    assert standin.counters()["authentication failures"] == 9


@pytest_twisted.ensureDeferred
async def test_3_a_login_must_belong_to_the_certificate_and_be_known(standin: StandIn, user: Enrolled) -> None:
    other = standin.enrol("PHARMACY-2", "machine", "Other-password-2")

    assert (await renew(standin, other.issue)).code == "NMVS_FE_AU_03"
    assert (await renew(standin, user.issue, wire.g615(login="PHARMACY-3"))).code == "NMVS_FE_AU_04"
    assert (await renew(standin, user.issue, wire.g615(user="nobody"))).code == "NMVS_FE_AU_01"


@pytest_twisted.ensureDeferred
async def test_3_passwords_expire_and_terms_wait_for_consent(standin: StandIn, user: Enrolled) -> None:
    standin.change(password_days=90)
    initial = standin.enrol("PHARMACY-2", "machine", PASSWORD, initial=True)
    terms = standin.enrol("PHARMACY-3", "machine", PASSWORD, terms_until=BEGIN + timedelta(days=2))

    assert (await renew(standin, initial.issue, wire.g615(login="PHARMACY-2"))).code == "NMVS_FE_AU_11"
    assert (await renew(standin, terms.issue, wire.g615(login="PHARMACY-3"))).code == "NMVS_FE_PKI_07"
    standin.clock.advance(timedelta(days=2))
    assert (await renew(standin, terms.issue, wire.g615(login="PHARMACY-3"))).code == "NMVS_FE_AU_23"
    standin.clock.advance(timedelta(days=88))
    assert (await renew(standin, user.issue)).code == "NMVS_FE_AU_11"


# --- 4: the life of a certificate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [60, 30])
@pytest_twisted.ensureDeferred
async def test_4_a_successor_is_made_so_many_days_before_the_end_and_not_before(
    standin: StandIn, user: Enrolled, lead: int
) -> None:
    standin.change(lead_days=lead)
    standin.clock.advance(timedelta(days=730 - lead, seconds=-1))
    early = await renew(standin, user.issue)
    standin.clock.advance(timedelta(seconds=1))
    due = await renew(standin, user.issue)
    _, certificate, _ = opened(due)

    assert (early.code, early.find("Cert")) == ("NMVS_FE_PKI_07", [])
    assert certificate.not_valid_before_utc == standin.clock.now()
    assert certificate.not_valid_after_utc == standin.clock.now() + timedelta(days=730)
    assert standin.counters()["authentications"] == 2
    assert "handshakes refused" not in standin.counters()


@pytest_twisted.ensureDeferred
async def test_4_the_successor_has_a_successor_of_its_own(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))
    await renew(standin, user.issue)
    second = user.user.issues[1]
    assert (await renew(standin, second)).code == "NMVS_FE_PKI_07"
    standin.clock.advance(timedelta(days=670))

    assert opened(await renew(standin, second))[1].serial_number == user.user.issues[2].serial


@pytest_twisted.ensureDeferred
async def test_4_what_is_not_fetched_is_kept_for_a_while_only(standin: StandIn, user: Enrolled) -> None:
    standin.change(store_days=20)
    tan = standin.tan("PHARMACY-1", "machine")
    standin.clock.advance(timedelta(days=691))

    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_08"
    assert (await with_tan(standin, tan)).code == "NMVS_FE_PKI_08"


@pytest_twisted.ensureDeferred
async def test_4_a_tan_is_of_one_user_and_one_certificate_and_ends_with_what_it_follows(
    standin: StandIn, user: Enrolled
) -> None:
    standin.enrol("PHARMACY-2", "machine", PASSWORD)
    standin.change(again="refused")
    early = standin.tan("PHARMACY-1", "machine")
    assert (await with_tan(standin, early)).code == "NMVS_FE_PKI_07"
    standin.clock.advance(timedelta(days=675))
    tan, unused = (standin.tan("PHARMACY-1", "machine") for _ in range(2))

    assert (await with_tan(standin, tan, login="PHARMACY-2")).code == "NMVS_FE_AU_10"
    assert (await with_tan(standin, "NOT-A-TAN-AT-ALL")).code == "NMVS_FE_AU_10"
    assert opened(await with_tan(standin, tan))[1].serial_number == user.user.issues[1].serial
    assert (await with_tan(standin, tan)).code == "NMVS_FE_PKI_09"
    standin.clock.advance(timedelta(days=56))
    assert (await with_tan(standin, unused)).code == "NMVS_FE_PKI_01"


@pytest_twisted.ensureDeferred
async def test_4_a_new_tan_helps_who_has_no_certificate_any_more_or_never_had_one(
    standin: StandIn, user: Enrolled
) -> None:
    standin.clock.advance(timedelta(days=800))
    assert (await with_tan(standin, standin.tan("PHARMACY-1", "machine"))).code == "NMVS_SUCCESS"
    new = standin.enrol("PHARMACY-9", "machine", PASSWORD, certificate=False)
    assert (new.issue, new.container_path) == (None, None)
    reply = await with_tan(standin, standin.tan("PHARMACY-9", "machine"), login="PHARMACY-9")

    assert opened(reply)[1].not_valid_before_utc == standin.clock.now()


# --- 5: what is issued --------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_5_a_certificate_is_as_the_published_one(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))
    key, certificate, above = opened(await renew(standin, user.issue))
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)

    assert (key.key_size, key.public_key()) == (2048, certificate.public_key())
    assert key.public_key() != user.user.issues[0].pair.key.public_key()
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha256"
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_encipherment, usage.value.key_cert_sign) == (
        True,
        True,
        False,
    )
    assert above == [standin.authorities.roots[0].certificate]
    assert certificate.subject == user.user.issues[0].pair.certificate.subject


@pytest.mark.parametrize("encryption", Encryption)
@pytest_twisted.ensureDeferred
async def test_5_containers_are_encrypted_in_each_way(standin: StandIn, user: Enrolled, encryption: Encryption) -> None:
    standin.change(encryption=encryption)
    standin.clock.advance(timedelta(days=670))
    reply = await renew(standin, user.issue)
    content = base64.b64decode(reply.find("Cert")[0].text)
    # The identifiers of the algorithms: pbeWithSHAAnd40BitRC2-CBC, pbeWithSHAAnd3-KeyTripleDES-CBC, aes256-CBC.
    known = {
        Encryption.RC2_40: bytes.fromhex("060a2a864886f70d010c0106"),
        Encryption.TRIPLE_DES: bytes.fromhex("060a2a864886f70d010c0103"),
        Encryption.AES_256: bytes.fromhex("060960864801650304012a"),
    }

    assert {name for name, octets in known.items() if octets in content} == {encryption}
    assert opened(reply)[1].serial_number == user.user.issues[1].serial
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(content, b"another")


def test_5_passphrases_hold_what_xml_has_to_escape() -> None:
    drawn = [passphrase() for _ in range(200)]

    assert all(8 <= len(each) <= 60 and set("&<>\"'") <= set(each) for each in drawn)
    assert len(set(drawn)) == 200
    assert len({len(each) for each in drawn}) > 20


# --- 6: asking again ----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_6_a_second_download_brings_what_the_mode_says(standin: StandIn) -> None:
    found = {}
    for number, mode in enumerate(("same", "new passphrase", "limited", "refused")):
        user = standin.enrol(f"PHARMACY-{number}", "machine", PASSWORD)
        standin.change(again=mode)
        standin.clock.advance(timedelta(days=670))
        replies = [await renew(standin, user.issue, wire.g615(login=f"PHARMACY-{number}")) for _ in range(3)]
        passphrases = {reply.attribute("Cert", "passphrase") for reply in replies if reply.find("Cert")}
        serials = {opened(reply)[1].serial_number for reply in replies if reply.find("Cert")}
        found[mode] = ([reply.code for reply in replies], len(passphrases), len(serials))

    good, already = "NMVS_SUCCESS", "NMVS_FE_PKI_09"
    assert found == {
        "same": ([good] * 3, 1, 1),
        "new passphrase": ([good] * 3, 3, 1),
        "limited": ([good, good, already], 1, 1),
        "refused": ([good, already, already], 1, 1),
    }


@pytest_twisted.ensureDeferred
async def test_6_what_was_confirmed_is_not_given_again(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))
    await renew(standin, user.issue)
    new = user.user.issues[1]
    confirmations = [(await renew(standin, new, wire.g615(wrapper="G616Request"))).code for _ in range(2)]

    assert confirmations == ["NMVS_SUCCESS", "NMVS_FE_PKI_09"]
    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_09"


# --- 7: the old one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("refusal", [Refusal.HANDSHAKE, Refusal.HTTP])
@pytest_twisted.ensureDeferred
async def test_7_the_old_certificate_stays_good_or_is_revoked_when_the_new_one_is_used(
    standin: StandIn, user: Enrolled, revoked: bool, refusal: Refusal
) -> None:
    standin.change(revoke_old=revoked, refusal=refusal)
    standin.clock.advance(timedelta(days=670))
    await renew(standin, user.issue)
    assert (await support(standin, user.issue, wire.ping())).find("Output")
    assert (await support(standin, user.user.issues[1], wire.ping())).find("Output")

    if not revoked:
        assert (await support(standin, user.issue, wire.ping())).find("Output")
    elif refusal is Refusal.HTTP:
        assert (await support(standin, user.issue, wire.ping())).status == 403
    else:
        with pytest.raises(REFUSED):
            await support(standin, user.issue, wire.ping())
        assert standin.counters()["handshakes refused: revoked"] == 1


# --- 8: what goes wrong -------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_8_a_transaction_counts_once_and_calls_have_a_frequency(standin: StandIn, user: Enrolled) -> None:
    once = wire.g615()
    assert [(await renew(standin, user.issue, once)).code for _ in range(2)] == ["NMVS_FE_PKI_07", "NMVS_TE_TX_01"]
    standin.clock.advance(timedelta(hours=1))
    standin.change(rate_calls=2, rate_seconds=60)
    codes = [(await renew(standin, user.issue)).code for _ in range(3)]
    standin.clock.advance(timedelta(seconds=61))

    assert codes == ["NMVS_FE_PKI_07", "NMVS_FE_PKI_07", "NMVS_FI_SE_CLI_01"]
    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_07"


@pytest_twisted.ensureDeferred
async def test_8_faults_count_calls_and_are_of_one_process(standin: StandIn, user: Enrolled) -> None:
    standin.faults.on(Fault.HTTP_503, calls=2, process="G615")
    standin.faults.on(Fault.CODE, code="NMVS_TI_TO_01")

    assert [(await renew(standin, user.issue)).status for _ in range(2)] == [503, 503]
    assert (await renew(standin, user.issue)).code == "NMVS_TI_TO_01"
    standin.faults.clear()
    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_07"


BROKEN = {
    Fault.HTTP_503: (503, b"Service Unavailable"),
    Fault.HTTP_500: (500, b"Internal Server Error"),
    Fault.REDIRECT: (307, b""),
    Fault.HTML: (200, b"<!DOCTYPE html>"),
    Fault.NOT_XML: (200, b"no XML"),
    Fault.EMPTY: (200, b""),
    Fault.SOAP_FAULT: (500, b"Receiver"),
    Fault.DTD: (200, b"<!DOCTYPE Envelope SYSTEM"),
    Fault.ENTITY_BOMB: (200, b"<!ENTITY a11"),
    Fault.EXTERNAL_ENTITY: (200, b"file:///etc/passwd"),
    Fault.DEEP: (200, b"<x><x><x>"),
    Fault.OTHER_ELEMENT: (200, b"G110Response"),
}


@pytest_twisted.ensureDeferred
async def test_8_answers_that_no_honest_server_gives(standin: StandIn, user: Enrolled) -> None:
    found = {}
    for fault in BROKEN:
        standin.faults.on(fault, calls=1)
        reply = await renew(standin, user.issue)
        found[fault] = (reply.status, BROKEN[fault][1] if BROKEN[fault][1] in reply.content else reply.content)

    assert found == BROKEN


@pytest_twisted.ensureDeferred
async def test_8_connections_that_hang_or_end_and_bodies_that_do_not_or_too_early(
    standin: StandIn, user: Enrolled
) -> None:
    assert standin.addresses
    standin.clock.advance(timedelta(days=670))
    standin.faults.on(Fault.HANG, calls=1)
    with pytest.raises(TimeoutError):
        await wire.post(standin, standin.addresses.renew, wire.g615(), user.issue, seconds=0.3)
    standin.faults.on(Fault.CLOSE, calls=1)
    with pytest.raises((*REFUSED, http.client.HTTPException)):
        await renew(standin, user.issue)
    standin.faults.on(Fault.CUT_OFF, calls=1)
    with pytest.raises((*REFUSED, http.client.IncompleteRead)):
        await renew(standin, user.issue)
    assert len(user.user.issues) == 2
    standin.faults.on(Fault.OVERSIZE, calls=1)
    assert await wire.most(standin, standin.addresses.renew, wire.g615(), user.issue, 20_000_000) > 20_000_000


@pytest_twisted.ensureDeferred
async def test_8_certificates_that_are_not_as_they_should_be(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))

    async def of(fault: Fault) -> wire.Reply:
        standin.faults.on(fault, calls=1)
        reply = await renew(standin, user.issue)
        assert reply.status == 200
        return reply

    assert (await of(Fault.NO_CERTIFICATE)).find("Cert") == []
    assert (await of(Fault.NO_PASSPHRASE)).attribute("Cert", "passphrase") is None
    with pytest.raises(ValueError, match="password"):
        opened(await of(Fault.WRONG_PASSPHRASE))
    with pytest.raises(ValueError, match="PKCS12"):
        opened(await of(Fault.RUBBISH))
    assert "%" in (await of(Fault.NOT_BASE64)).find("Cert")[0].text
    assert opened(await of(Fault.OTHER_USER))[1].subject != user.user.issues[0].pair.certificate.subject
    assert opened(await of(Fault.OLD_CERTIFICATE))[1] == user.user.issues[0].pair.certificate
    assert (await of(Fault.NO_CODE)).find("ReturnCode") == []
    assert len((await of(Fault.TWO_CODES)).find("ReturnCode")) == 2


def test_8_every_fault_was_tried_above() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [fault.name for fault in Fault if f"Fault.{fault.name}" not in source] == []


# --- 9: notifications, ping, a new password -----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_9_notifications_ride_on_successful_answers(standin: StandIn) -> None:
    user = standin.enrol("PHARMACY-1", "machine", PASSWORD, terms_until=BEGIN + timedelta(days=672))
    standin.change(password_days=676)
    standin.clock.advance(timedelta(days=669))
    assert (await renew(standin, user.issue)).find("Notification") == []
    standin.clock.advance(timedelta(days=1))
    reply = await renew(standin, user.issue)
    ns = f"{{urn:types.nmvs.eu:v{standin.habits.version}}}"
    told = {each.get(f"{ns}notificationCode"): each.get(f"{ns}notificationDesc") for each in reply.find("Notification")}

    assert told == {
        "NMVS_NOTIFY_AU_02": "Password expires in 6 days.",
        "NMVS_NOTIFY_PMS_01": "New terms and conditions, 2 days left to confirm.",
    }


@pytest_twisted.ensureDeferred
async def test_9_a_ping_needs_a_certificate_and_no_login(standin: StandIn, user: Enrolled) -> None:
    reply = await support(standin, user.issue, wire.ping(text="a < b".replace("<", "&lt;")))

    assert reply.find("Output")[0].text == "a < b"
    assert standin.counters()["authentications"] == 0
    assert (await renew(standin, user.issue, wire.ping("Pki"))).find("PkiPingResponse")
    with pytest.raises(REFUSED):
        await support(standin, None, wire.ping())


@pytest_twisted.ensureDeferred
async def test_9_a_new_password_is_checked_and_the_old_one_is_taken_for_a_while(
    standin: StandIn, user: Enrolled
) -> None:
    async def change(old: str, new: str) -> str | None:
        body = f"<t:Password>{old}</t:Password><t:NewPassword>{new}</t:NewPassword>"
        return (await support(standin, user.issue, wire.g615(wrapper="G445Request", password=old, body=body))).code

    new = "Quite-another-2"
    assert await change(PASSWORD, PASSWORD) == "NMVS_FE_PMS_02"
    assert await change(PASSWORD, "alllowercase") == "NMVS_FE_PMS_04"
    assert await change(PASSWORD, new) == "NMVS_SUCCESS"
    assert await change(PASSWORD, "And-a-third-3") == "NMVS_FE_AU_24"
    assert await change(new, PASSWORD) == "NMVS_FE_PMS_03"
    standin.clock.advance(timedelta(days=2))
    assert (await renew(standin, user.issue)).code == "NMVS_FE_PKI_07"
    standin.clock.advance(timedelta(days=2))
    assert (await renew(standin, user.issue)).code == "NMVS_FE_AU_06"
    assert (await renew(standin, user.issue, wire.g615(password=new))).code == "NMVS_FE_PKI_07"
    standin.change(change_password=False)
    assert await change(new, "And-a-third-3") == "NMVS_TE_REQ_02"


@pytest_twisted.ensureDeferred
async def test_9_the_old_password_is_told_of(standin: StandIn, user: Enrolled) -> None:
    body = f"<t:Password>{PASSWORD}</t:Password><t:NewPassword>Quite-another-2</t:NewPassword>"
    await support(standin, user.issue, wire.g615(wrapper="G445Request", body=body))
    standin.change(valid_days=730)
    standin.clock.set(BEGIN + timedelta(days=670))
    user.user.former_until = standin.clock.now() + timedelta(days=2)
    reply = await renew(standin, user.issue)

    assert reply.attribute("Notification", "notificationCode") == "NMVS_NOTIFY_AU_01"


# --- 10: variants -------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_10_each_mode_of_the_tan_takes_its_own_requests_alone(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))
    bodies = {
        "omit": "",
        "empty": "<t:Tan/>",
        "fixed": "<t:Tan>CERTIFICATE</t:Tan>",
        "tan": f"<t:Tan>{standin.tan('PHARMACY-1', 'machine')}</t:Tan>",
    }
    taken = {}
    for mode in bodies:
        standin.change(tan_mode=mode, fixed_tan="CERTIFICATE")
        codes = {name: (await renew(standin, user.issue, wire.g615(body=body))).code for name, body in bodies.items()}
        taken[mode] = [name for name, code in codes.items() if code == "NMVS_SUCCESS"]

    assert taken == {mode: [mode] for mode in bodies}


@pytest_twisted.ensureDeferred
async def test_10_the_wrapper_may_be_called_otherwise_where_there_is_a_certificate(
    standin: StandIn, user: Enrolled
) -> None:
    standin.change(element="G615WithCertRequest")
    reply = await renew(standin, user.issue, wire.g615(wrapper="G615WithCertRequest"))

    assert reply.find("G615WithCertResponse")
    assert reply.code == "NMVS_FE_PKI_07"
    assert (await renew(standin, user.issue)).code == "NMVS_TE_REQ_02"
    assert (await with_tan(standin, standin.tan("PHARMACY-1", "machine"))).code == "NMVS_FE_PKI_07"


def test_10_a_switch_that_there_is_not_is_refused() -> None:
    for wrong in ({"tan_mode": "never"}, {"nothing": 1}, {"version": "3.0"}, {"lead_days": "60"}, {"soap": "2"}):
        with pytest.raises(ValueError, match=r"tan_mode|TanMode|nothing|version|lead_days|soap"):
            Habits().but(**wrong)


# --- 11: loopback -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost", ""])  # noqa: S104 - they are refused
def test_11_no_other_address_than_loopback_is_listened_on(tmp_path: Path, host: str) -> None:
    from twisted.internet import reactor

    with pytest.raises(ValueError, match=r"loopback|address"):
        StandIn(reactor, tmp_path, now=BEGIN, new_key=pki.new_key, host=host)


@pytest_twisted.ensureDeferred
async def test_11_all_addresses_it_tells_are_loopback(standin: StandIn) -> None:
    assert standin.addresses
    told = [standin.addresses.renew, standin.addresses.tan, standin.addresses.probe, standin.addresses.control]
    profile = standin.profile_path.read_text()

    assert all(each.partition("://")[2].startswith("127.0.0.1:") for each in told)
    assert [line for line in profile.splitlines() if "://" in line and "127.0.0.1" not in line] == []
    assert {port.getHost().host for port in standin._ports} == {"127.0.0.1"}


# --- what it tells of itself --------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_no_secret_is_in_what_it_noted(standin: StandIn, user: Enrolled) -> None:
    standin.clock.advance(timedelta(days=670))
    tan = standin.tan("PHARMACY-1", "machine")
    await with_tan(standin, tan)
    await renew(standin, user.issue, wire.g615(trx="not_valid"))
    await renew(standin, user.issue, wire.g615(body="<t:Tan>"))
    body = f"<t:Password>{PASSWORD}</t:Password><t:NewPassword>Quite-another-2</t:NewPassword>"
    await support(standin, user.issue, wire.g615(wrapper="G445Request", body=body))
    noted = repr(list(standin.seen)) + "".join(each.text for each in standin.seen) + repr(user)

    assert len(standin.seen) == 4
    assert all("***" in each.text for each in standin.seen)
    issue = user.user.issues[1]
    for secret in (PASSWORD, tan, "Quite-another-2", issue.secret, base64.b64encode(issue.container).decode()):
        assert secret not in noted
