"""What partners send by mistake, or on purpose, where a certificate is expected: each is told what is wrong with it.

The texts are those a person at the other end reads in a NERP, so the tests compare them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted
from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from oftp2 import commands as c
from oftp2.reasons import AnswerReason, NegativeResponseReason
from oftp2d.ledger import Kind
from tests import pki
from tests.exchange.peer import responses, session
from tests.exchange.station import CODE_B, Log, Station
from tests.hostile.mischief import OTHER, serves
from tests.pki import Issued

MEBIBYTE = 1 << 20


def of_b(**wanted: object) -> Issued:
    """The certificate that is awaited, but for what the test wants otherwise."""
    usual = {"subject": "CN=b.test,O=Station B,C=FR", "station": CODE_B, "issuer": pki.issuing("B")}
    return pki.make(**(usual | wanted))  # type: ignore[arg-type]  # as the test gives them


def signed_with(algorithm: str, digest: hashes.HashAlgorithm) -> bytes:
    """A certificate signed by its authority as nobody should sign any more."""
    found = asn1.Certificate.load(of_b().der)
    for field in (found["tbs_certificate"]["signature"], found["signature_algorithm"]):
        field["algorithm"] = algorithm
    octets = found["tbs_certificate"].dump(force=True)
    found["signature_value"] = pki.issuing("B").key.sign(octets, padding.PKCS1v15(), digest)
    return bytes(found.dump(force=True))


def key_of(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "garbage": (lambda: b"\x00\xff\x13" * 500, "not a readable X.509 certificate"),
    "zeros": (lambda: bytes(2000), "not a readable X.509 certificate"),
    "nothing": (lambda: b"", "the file is empty"),
    "half a certificate": (lambda: of_b().der[:400], "not a readable X.509 certificate"),
    "a private key in pem": (
        lambda: of_b().key_pem,
        "the file holds a private key, which must never leave its owner",
    ),
    "a private key with its certificate": (
        lambda: of_b().pkcs12(b"secret"),
        "the file holds a private key, which must never leave its owner",
    ),
    "two certificates in pem": (
        lambda: of_b().pem + of_b().pem,
        "the file holds 2 end-entity certificates, expected is one",
    ),
    "a chain without its end": (
        lambda: pkcs7.serialize_certificates([pki.issuing("B").certificate, pki.root("B").certificate], Encoding.DER),
        "the file holds 0 end-entity certificates, expected is one",
    ),
    "xml": (lambda: b"<?xml version='1.0'?><Request/>", "XML certificate messages are not supported"),
    "a business file": (lambda: b"UNB+UNOA:2+4012345000009", "not a readable X.509 certificate"),
    "an authority": (
        lambda: pki.issuing("B").der,
        "it is the certificate of a certification authority, not of a station",
    ),
    "signed with md5": (
        lambda: signed_with("md5_rsa", hashes.MD5()),  # noqa: S303 - what is refused
        "it is signed with md5, which is not accepted",
    ),
    "signed with sha-1": (
        lambda: signed_with("sha1_rsa", hashes.SHA1()),  # noqa: S303 - what is refused
        "it is signed with sha1, which is not accepted",
    ),
    "a short key": (lambda: of_b(key=key_of(1024)).der, "its RSA key has 1024 bits, required are at least 2048"),
    "of the future": (lambda: of_b(days=(2, 300)).der, "not valid yet: valid from "),
    "of the past": (lambda: of_b(days=(-300, -2)).der, "expired: valid from "),
    "of another station": (
        lambda: of_b(subject="CN=other.test,O=Station O,C=FR", station=OTHER).der,
        "not as announced: common name is other.test, announced is b.test",
    ),
}


@pytest_twisted.ensureDeferred
async def test_each_of_them_is_refused_with_a_text_that_a_person_understands(victim: Station, log: Log) -> None:
    await victim.start()
    told = {}
    async with session(victim) as peer:
        for what, (make, _) in BAD.items():
            sfid = await peer.deliver(make())
            (response,) = responses(await peer.turn())
            assert isinstance(response, c.Nerp), what
            assert (response.reason, response.identity) == (NegativeResponseReason.UNSPECIFIED, sfid.identity)
            told[what] = response.text
        await peer.leave()
    for what, (_, text) in BAD.items():
        assert told[what].startswith(text), f"{what}: {told[what]}"
    await victim.idle()
    assert await victim.certificates(CODE_B) == []
    assert victim.inbox() == []
    assert len(log.lines("DELIVER refused: ")) == len(BAD)
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_only_xml_is_kept_for_analysis_and_never_a_private_key(victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        for what in ("xml", "garbage", "a private key in pem", "a private key with its certificate"):
            await peer.deliver(BAD[what][0]())
            await peer.turn()
        await peer.leave()
    await victim.idle()
    kept = [each for each in await victim.transfers(Kind.EXCHANGE) if each.raw_name]
    assert [each.raw_name for each in kept] == [path.name for path in (victim.home / "spool").glob("*/*")]
    target = victim.home / "message.xml"
    code, printed = await victim.run("transfer", "raw", kept[0].id, "--output", str(target))
    assert code == 0, printed
    assert target.read_bytes() == BAD["xml"][0]()


@pytest_twisted.ensureDeferred
async def test_five_megabytes_are_refused_before_their_data_and_not_kept_when_they_come_all_the_same(
    victim: Station,
) -> None:
    await victim.start()
    async with session(victim) as peer:
        honest = peer.offer("ODETTE_CERTIFICATE_DELIVER", bytes(5 * MEBIBYTE))
        answer = await peer.send_file(honest, b"")
        assert isinstance(answer, c.Sfna)
        assert answer.reason is AnswerReason.FILE_TOO_BIG
        assert answer.text == "SFIDFSIZ says 5120 KiB, allowed are 64"
        small = peer.offer("ODETTE_CERTIFICATE_DELIVER", bytes(500))
        answer = await peer.send_file(small, bytes(5 * MEBIBYTE))
        assert isinstance(answer, c.Efna)
        assert answer.reason is AnswerReason.FILE_TOO_BIG
        assert answer.text == "more than 65536 octets came"
        await peer.leave()
    await victim.idle()
    assert list((victim.home / "spool").glob("*/*")) == []
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_a_certificate_for_a_station_that_is_not_the_partners_is_not_even_taken(victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        for addressed, reason in (
            ({"originator": OTHER}, AnswerReason.INVALID_ORIGIN),
            ({"destination": "O0013000009NOBODY"}, AnswerReason.INVALID_DESTINATION),
        ):
            sfid = peer.offer("ODETTE_CERTIFICATE_DELIVER", of_b().der, **addressed)
            answer = await peer.send_file(sfid, of_b().der)
            assert isinstance(answer, c.Sfna)
            assert answer.reason is reason
        await peer.leave()
    await serves(victim)


@pytest.mark.parametrize("make", [lambda: of_b().der, lambda: of_b().pem], ids=["der", "pem"])
@pytest_twisted.ensureDeferred
async def test_the_certificate_itself_is_taken_in_der_and_in_pem(make: Callable[[], bytes], victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        await peer.deliver(make())
        (response,) = responses(await peer.turn())
        await peer.leave()
    assert isinstance(response, c.Eerp)
