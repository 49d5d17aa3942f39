"""The seam for keys, and the names by which messages call certificates."""

from __future__ import annotations

import pytest
from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from oftp2.cms.identifiers import issuer_and_serial, key_identifier, names
from oftp2.cms.keys import Owner, Signer, SoftwareKey, fingerprint, modulus_octets, rsa_key, wrap
from oftp2.cms.suites import SUITES, CipherSuite
from tests import pki

OURS, OTHER = pki.certificate("CA01"), pki.certificate("CB01")
KEY = SoftwareKey(OURS.key)


@pytest.mark.rfc("10.2")
@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_a_software_key_signs_and_unwraps_as_each_suite_says(suite: CipherSuite) -> None:
    digest = suite.new_hash().digest()
    signature = KEY.sign(digest, suite.signature)
    assert len(signature) == Signer(OURS.certificate, KEY).signature_octets == modulus_octets(OURS.certificate) == 256
    public = rsa_key(OURS.certificate)
    public.verify(signature, b"", suite.signature.padding(), suite.digest.algorithm)
    wrapped = wrap(public, bytes(32), suite.transport)
    assert KEY.unwrap(wrapped, suite.transport) == bytes(32)


def test_what_cannot_be_unwrapped_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"."):
        KEY.unwrap(bytes(256), SUITES[8].transport)


def test_keys_do_not_show() -> None:
    assert repr(KEY) == "SoftwareKey(2048 bits)"
    assert "key" not in repr(Signer(OURS.certificate, KEY)).lower().replace("certificate", "")
    assert "SoftwareKey" not in repr(Owner(OURS.certificate, KEY))


def test_a_certificate_without_an_rsa_key_neither_signs_nor_opens() -> None:
    issued = pki.make(key=ec.generate_private_key(ec.SECP256R1()), issuer=pki.issuing("A"))
    with pytest.raises(ValueError, match="no RSA key"):
        Signer(issued.certificate, KEY)
    with pytest.raises(ValueError, match="no RSA key"):
        Owner(issued.certificate, KEY)


def test_a_fingerprint_is_that_of_the_whole_certificate() -> None:
    assert fingerprint(OURS.certificate) == OURS.fingerprint


def test_a_certificate_is_named_by_issuer_and_serial_number() -> None:
    identifier = issuer_and_serial(OURS.certificate)
    assert identifier["serial_number"].native == OURS.certificate.serial_number
    assert names(identifier, OURS.certificate)
    assert not names(identifier, OTHER.certificate)
    same_serial = pki.make(serial=OURS.certificate.serial_number, key=OTHER.key)
    assert not names(identifier, same_serial.certificate)


def test_what_cannot_be_read_names_nobody() -> None:
    octets = issuer_and_serial(OURS.certificate).dump()
    broken = cms.IssuerAndSerialNumber.load(octets[:2] + b"\x05" + octets[3:])
    assert not names(broken, OURS.certificate)


def test_a_certificate_is_named_by_its_key_identifier_even_without_the_extension() -> None:
    identifier = core.OctetString(key_identifier(OURS.certificate))
    assert names(identifier, OURS.certificate)
    assert not names(identifier, OTHER.certificate)
    subject, public = OURS.certificate.subject, OURS.key.public_key()
    period = (pki.NOW, pki.NOW.replace(year=pki.NOW.year + 1))
    bare = x509.CertificateBuilder(subject, subject, public, 3, *period).sign(OURS.key, hashes.SHA256())
    assert names(identifier, bare)
