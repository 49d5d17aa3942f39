"""What is read from a certificate."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import given
from hypothesis import strategies as st

from oftp2.certs.facts import CertificateFacts, UnreadableCertificateError
from oftp2.certs.usages import CLIENT_AUTH, SERVER_AUTH, Usage
from tests import pki


def test_the_facts_of_a_station_certificate() -> None:
    issued = pki.certificate("CA01")
    facts = CertificateFacts.of(issued.der)
    assert facts.subject.common_name == "a0.test"
    assert facts.subject.serial_number == "O0013000001TESTA0"
    assert facts.issuer.common_name == "OFTP2 Test Issuing A"
    assert facts.serial == issued.certificate.serial_number
    assert facts.key_usage == frozenset({"digitalSignature", "keyEncipherment"})
    assert facts.extended == frozenset({SERVER_AUTH, CLIENT_AUTH})
    assert facts.hosts == ("a0.test",)
    assert (facts.key_type, facts.key_bits, facts.signature_hash) == ("RSA", 2048, "sha256")
    assert facts.not_after - facts.not_before == timedelta(days=365)
    assert not facts.is_ca
    assert not facts.self_signed
    assert facts.fingerprint == issued.fingerprint
    assert facts.allowed == set(Usage)
    assert facts.certificate == issued.certificate
    assert f"serial {facts.serial:x}" in str(facts)


def test_the_authority_key_of_a_certificate_is_the_subject_key_of_its_issuer() -> None:
    leaf, issuer = (CertificateFacts.of(item.der) for item in (pki.certificate("CA01"), pki.issuing("A")))
    assert leaf.aki == issuer.ski
    assert issuer.is_ca


def test_absent_extensions_are_none() -> None:
    facts = CertificateFacts.of(pki.make(key_usage=None, extended=None, hosts=(), ca=None).certificate)
    assert facts.key_usage is None
    assert facts.extended is None
    assert facts.hosts == ()
    assert not facts.is_ca


def test_bits_that_need_key_agreement_are_read_with_it() -> None:
    facts = CertificateFacts.of(pki.make(key_usage=("keyAgreement", "decipherOnly")).der)
    assert facts.key_usage == frozenset({"keyAgreement", "decipherOnly"})


def test_a_certificate_without_key_identifiers_is_read() -> None:
    key = pki.new_key()
    name = x509.Name.from_rfc4514_string("CN=bare")
    bare = (
        x509.CertificateBuilder(name, name, key.public_key(), 7)
        .not_valid_before(pki.NOW)
        .not_valid_after(pki.NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    facts = CertificateFacts.of(bare)
    assert (facts.ski, facts.aki, facts.self_signed) == (None, None, True)


def test_equal_names_alone_do_not_make_a_certificate_self_signed() -> None:
    other = pki.make(subject="CN=twin")
    facts = CertificateFacts.of(pki.make(subject="CN=twin", issuer=other).der)
    assert facts.subject == facts.issuer
    assert not facts.self_signed


@pytest.mark.parametrize(
    ("key", "kind", "bits"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "EC", 256),
        (dsa.generate_private_key(1024), "DSA", 1024),  # noqa: S505
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519", None),
    ],
)
def test_other_kinds_of_keys_are_named(key: object, kind: str, bits: int | None) -> None:
    facts = CertificateFacts.of(pki.make(key=key, issuer=pki.issuing("A")).der)
    assert (facts.key_type, facts.key_bits) == (kind, bits)


def test_a_signature_without_a_hash_has_none() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name.from_rfc4514_string("CN=edwards")
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 7)
        .not_valid_before(pki.NOW)
        .not_valid_after(pki.NOW + timedelta(days=1))
        .sign(key, None)
    )
    facts = CertificateFacts.of(signed)
    assert facts.signature_hash is None
    assert facts.self_signed


def test_a_negative_serial_number_is_not_read() -> None:
    der = bytearray(pki.make(issuer=pki.issuing("A"), serial=0x4142434445464748).der)
    position = der.index(bytes.fromhex("02084142434445464748"))
    der[position + 2] = 0xC1
    with pytest.warns(CryptographyDeprecationWarning), pytest.raises(UnreadableCertificateError, match="negative"):
        CertificateFacts.of(bytes(der))


@given(st.binary(max_size=300))
def test_octets_that_are_no_certificate_are_unreadable(octets: bytes) -> None:
    with pytest.raises(UnreadableCertificateError):
        CertificateFacts.of(octets)
