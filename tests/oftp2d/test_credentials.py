"""Making and reading keys, certificates and requests."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2d import credentials
from oftp2d.credentials import MAX_INPUT, Profile, read_key, read_material
from oftp2d.errors import OperatorError
from tests import pki

PROFILE = Profile(
    common_name="host.test",
    station="O0013000001TEST",
    organisation="Company",
    country="DE",
    hosts=("host.test", "192.0.2.1"),
)
LEAF = pki.certificate("CA01")
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PEM = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_self_signed_certificate_follows_the_policy() -> None:
    key = pki.new_key()
    certificate = credentials.self_signed(key, PROFILE, pki.NOW, days=30)
    facts = CertificateFacts.of(certificate)
    assert str(facts.subject) == "serialNumber=O0013000001TEST,CN=host.test,O=Company,C=DE"
    assert facts.self_signed
    assert not facts.is_ca
    assert facts.ski == facts.aki
    assert facts.hosts == ("host.test", "192.0.2.1")
    assert facts.allowed == set(Usage)
    assert facts.signature_hash == "sha256"
    assert facts.not_before < pki.NOW
    assert facts.not_after == pki.NOW + timedelta(days=30)
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).critical


def test_a_request_asks_for_the_same() -> None:
    key = pki.new_key()
    request = x509.load_pem_x509_csr(credentials.signing_request(key, PROFILE))
    assert request.is_signature_valid
    facts = CertificateFacts.of(pki.sign_request(request.public_bytes(Encoding.PEM), issuer=pki.issuing("A")))
    assert facts.hosts == ("host.test", "192.0.2.1")
    assert facts.allowed == set(Usage)


def test_without_hosts_there_is_no_alternative_name() -> None:
    profile = Profile(common_name="x", station="O1")
    assert CertificateFacts.of(credentials.self_signed(pki.new_key(), profile, pki.NOW)).hosts == ()


@pytest.mark.parametrize("change", [{"country": "Germany"}, {"common_name": ""}, {"common_name": "x" * 65}])
def test_a_subject_that_is_not_possible_is_refused(change: dict[str, str]) -> None:
    values = {"common_name": "x", "station": "O1"} | change
    with pytest.raises(OperatorError, match="subject of the certificate"):
        Profile(**values).subject()  # type: ignore[arg-type]


def test_a_host_name_that_is_none_is_refused() -> None:
    with pytest.raises(OperatorError, match="no host name"):
        credentials.signing_request(pki.new_key(), Profile(common_name="x", station="O1", hosts=("bücher.test",)))


def test_keys_have_two_to_eight_thousand_bits() -> None:
    assert credentials.generate_key(2048).key_size == 2048
    for bits in (1024, 16384):
        with pytest.raises(OperatorError, match="not possible"):
            credentials.generate_key(bits)


def test_a_sealed_key_opens_with_its_passphrase_alone() -> None:
    sealed = credentials.sealed_key(LEAF.key, b"passphrase")
    assert b"ENCRYPTED" in sealed.splitlines()[0]
    assert read_key(sealed, b"passphrase").private_numbers() == LEAF.key.private_numbers()
    with pytest.raises(OperatorError, match="does not open"):
        read_key(sealed, b"wrong")
    with pytest.raises(OperatorError, match="is encrypted"):
        read_key(sealed)


def test_a_needless_passphrase_is_no_fault() -> None:
    assert read_key(LEAF.key_pem, b"needless").key_size == 2048


@pytest.mark.parametrize("octets", [b"", b"0", LEAF.pem.replace(b"CERTIFICATE", b"PRIVATE KEY")])
def test_what_is_no_key_is_said_so(octets: bytes) -> None:
    with pytest.raises(OperatorError, match="does not open"):
        read_key(octets)


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(OperatorError, match="not an RSA key"):
        read_key(EC_PEM)
    bundle = pkcs12.serialize_key_and_certificates(b"x", EC_KEY, None, None, NoEncryption())
    with pytest.raises(OperatorError, match="not an RSA key"):
        read_material(bundle)


def test_pem_may_hold_certificates_and_their_key_in_any_order() -> None:
    for octets in (LEAF.pem + LEAF.key_pem, LEAF.key_pem + LEAF.pem):
        material = read_material(octets)
        assert [facts.fingerprint for facts in material.certificates] == [LEAF.fingerprint]
        assert material.key is not None
        assert material.key.public_key() == LEAF.key.public_key()
    assert "PRIVATE" not in repr(material)


def test_a_key_alone_is_material_too() -> None:
    material = read_material(LEAF.encrypted_key_pem(b"x"), b"x")
    assert material.certificates == ()
    assert material.key is not None


@pytest.mark.parametrize(
    "octets",
    [LEAF.der, LEAF.pem, pkcs7.serialize_certificates([LEAF.certificate], Encoding.DER)],
)
def test_certificates_come_in_der_pem_and_pkcs7(octets: bytes) -> None:
    material = read_material(octets)
    assert material.certificates[0].fingerprint == LEAF.fingerprint
    assert material.key is None


def test_pkcs12_brings_key_certificate_and_chain() -> None:
    material = read_material(LEAF.pkcs12(b"secret"), b"secret")
    assert [facts.fingerprint for facts in material.certificates] == [
        LEAF.fingerprint,
        *(above.fingerprint for above in LEAF.chain),
    ]
    assert material.key is not None
    with pytest.raises(OperatorError, match="check its passphrase"):
        read_material(LEAF.pkcs12(b"secret"), b"wrong")


def test_a_pkcs12_of_certificates_alone_is_read() -> None:
    bundle = pkcs12.serialize_key_and_certificates(None, None, None, [LEAF.certificate], BestAvailableEncryption(b"x"))
    assert read_material(bundle, b"x").key is None


@pytest.mark.parametrize("octets", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_holds_no_certificate_is_said_so(octets: bytes) -> None:
    with pytest.raises(OperatorError, match="no certificate can be read"):
        read_material(octets)


def test_an_enormous_file_is_not_looked_at() -> None:
    with pytest.raises(OperatorError, match="too large"):
        read_material(bytes(MAX_INPUT + 1))


def test_an_issuer_is_told_by_its_signature() -> None:
    leaf, issuer = CertificateFacts.of(LEAF.der), CertificateFacts.of(pki.issuing("A").der)
    impostor = pki.make(subject=pki.issuing("A").certificate.subject, ca=True)
    assert credentials.issued(issuer, leaf)
    assert not credentials.issued(CertificateFacts.of(pki.issuing("B").der), leaf)
    assert not credentials.issued(CertificateFacts.of(impostor.der), leaf)
    assert not credentials.issued(issuer, issuer)
