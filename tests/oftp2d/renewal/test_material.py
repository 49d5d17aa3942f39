"""Containers: every form and encryption in which a source may give a credential, and those that are refused."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from oftp2d.errors import OperatorError
from oftp2d.renewal.material import MAX_CHAIN, MAX_OCTETS, Container, Material, opened, packed, pem_pair
from oftp2d.vault import Secret
from tests import pki
from tools.nmvs.containers import Encryption, pack

PASSPHRASE = "hunter2 & <more>"
ROOT, ISSUING = pki.root("A"), pki.issuing("A")


@cache
def _site() -> pki.Issued:
    return pki.make(subject="CN=site-1", issuer=ISSUING)


def _opened(content: bytes, passphrase: str | None = PASSPHRASE) -> Material:
    secret = None if passphrase is None else Secret(passphrase.encode())
    return opened(Container(content=Secret(content), passphrase=secret))


def _chain() -> tuple[x509.Certificate, ...]:
    return ISSUING.certificate, ROOT.certificate


@pytest.mark.parametrize("encryption", list(Encryption))
def test_a_container_of_every_encryption_opens(encryption: Encryption) -> None:
    content = pack(_site().key, _site().certificate, _chain(), PASSPHRASE, encryption)
    found = _opened(content)
    assert (found.certificate, found.chain) == (_site().certificate, _chain())
    assert found.key.private_numbers() == _site().key.private_numbers()
    assert found.fingerprint == _site().fingerprint
    assert (found.valid_from, found.valid_until) == (
        _site().certificate.not_valid_before_utc,
        _site().certificate.not_valid_after_utc,
    )


@pytest.mark.parametrize("encryption", list(Encryption))
@pytest.mark.parametrize("given", ["hunter3", "", None, "hunter2 & <more> "])
def test_a_wrong_passphrase_opens_nothing_and_is_shown_nowhere(encryption: Encryption, given: str | None) -> None:
    content = pack(_site().key, _site().certificate, _chain(), PASSPHRASE, encryption)
    with pytest.raises(OperatorError, match=r"does not open.*passphrase is right") as raised:
        _opened(content, given)
    shown = "".join(traceback.format_exception(raised.value))
    assert "hunter" not in shown


def test_a_container_without_a_passphrase_opens_without_one_and_with_an_empty_one() -> None:
    plain = pkcs12.serialize_key_and_certificates(b"x", _site().key, _site().certificate, _chain(), NoEncryption())
    for given in (None, ""):
        assert _opened(plain, given).certificate == _site().certificate


def test_the_order_of_certificates_does_not_matter_and_those_of_others_are_left_out() -> None:
    foreign = pki.certificate("CA05")
    bundle = (ROOT.certificate, foreign.certificate, ISSUING.certificate, pki.root("B").certificate)
    for content, passphrase in (
        (pack(_site().key, _site().certificate, bundle, PASSPHRASE, Encryption.AES_256), PASSPHRASE),
        (ROOT.pem + foreign.pem + _site().key_pem + ISSUING.pem + _site().pem, None),
    ):
        found = _opened(content, passphrase)
        assert (found.certificate, found.chain) == (_site().certificate, _chain())


def test_a_chain_ends_where_its_next_authority_did_not_come_with_it() -> None:
    assert _opened(_site().pem + _site().key_pem + ROOT.pem, None).chain == ()
    assert _opened(_site().pem + _site().key_pem + ISSUING.pem, None).chain == (ISSUING.certificate,)


def test_pem_opens_with_a_key_of_every_form() -> None:
    forms = {
        "PKCS#8": _site().key_pem,
        "traditional": _site().key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "encrypted PKCS#8": _site().encrypted_key_pem(PASSPHRASE.encode()),
        "encrypted traditional": _site().key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(PASSPHRASE.encode())
        ),
    }
    for form, key in forms.items():
        for content in (key + _site().pem, _site().pem + key, b"Bag Attributes\n" + key + b"\n" + _site().pem):
            assert _opened(content).key.private_numbers() == _site().key.private_numbers(), form
    for form in ("encrypted PKCS#8", "encrypted traditional"):
        for given in ("wrong", None):
            with pytest.raises(OperatorError, match="does not open"):
                _opened(forms[form] + _site().pem, given)


def test_a_key_of_an_elliptic_curve_is_a_key() -> None:
    site = pki.make(issuer=ISSUING, key=ec.generate_private_key(ec.SECP256R1()))
    for content, passphrase in (
        (site.pem + site.key_pem, None),
        (pkcs12.serialize_key_and_certificates(b"x", site.key, site.certificate, [], NoEncryption()), None),
    ):
        assert _opened(content, passphrase).key.public_key() == site.certificate.public_key()


def _of_dsa() -> bytes:
    key = dsa.generate_private_key(1024)  # noqa: S505 - it is refused for its kind, and made quickly
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "does not open"),
    "octets": (lambda: b"\x30\x82\x01\x00 and so on", "does not open"),
    "a page": (lambda: b"<html><body>Bad Gateway</body></html>", "does not open"),
    "a certificate alone": (lambda: _site().pem, "there is no private key"),
    "a certificate in DER": (lambda: _site().der, "does not open"),
    "a key alone": (lambda: _site().key_pem, "does not open"),
    "a key that ends too soon": (lambda: _site().pem + _site().key_pem[:-40], "there is no private key"),
    "another certificate": (lambda: ISSUING.pem + _site().key_pem, "belongs to none of its certificates"),
    "a key without a certificate": (
        lambda: pkcs12.serialize_key_and_certificates(b"x", _site().key, None, _chain(), NoEncryption()),
        "belongs to none of its certificates",
    ),
    "certificates without a key": (
        lambda: pkcs12.serialize_key_and_certificates(b"x", None, _site().certificate, _chain(), NoEncryption()),
        "there is no private key",
    ),
    "a key of Edwards": (
        lambda: (
            _site().pem
            + ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        ),
        "of no known kind",
    ),
    "a key for DSA": (lambda: _site().pem + _of_dsa(), "of no known kind"),
    "many certificates": (lambda: _site().key_pem + _site().pem * (MAX_CHAIN + 2), "holds 12 certificates"),
    "a flood": (lambda: bytes(MAX_OCTETS + 1), "octets, more than"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_credential_is_refused_with_advice(what: str) -> None:
    make, text = REFUSED[what]
    with pytest.raises(OperatorError, match=text) as raised:
        _opened(make(), None)
    assert raised.value.advice


def test_an_authority_that_cannot_be_read_is_left_out() -> None:
    broken = (
        x509.CertificateBuilder()
        .subject_name(ROOT.certificate.subject)
        .issuer_name(ROOT.certificate.subject)
        .public_key(ROOT.key.public_key())
        .serial_number(1)
        .not_valid_before(ROOT.certificate.not_valid_before_utc)
        .not_valid_after(ROOT.certificate.not_valid_after_utc)
        # A name that is no name: cryptography takes the certificate and cannot read the extension.
        .add_extension(
            x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x04\x00"), critical=False
        )
        .sign(ROOT.key, hashes.SHA256())
    )
    content = _site().key_pem + broken.public_bytes(Encoding.PEM) + _site().pem + ISSUING.pem + ROOT.pem
    assert _opened(content, None).chain == _chain()


def test_nothing_secret_is_shown_of_a_container_or_of_what_was_in_it() -> None:
    content = pack(_site().key, _site().certificate, _chain(), PASSPHRASE, Encryption.AES_256)
    container = Container(content=Secret(content), passphrase=Secret(PASSPHRASE.encode()))
    assert repr(container) == "Container(content=<secret>, passphrase=<secret>)"
    assert "key" not in repr(opened(container))


def test_what_is_packed_opens_again_and_with_its_passphrase_only() -> None:
    material = _opened(_site().pem + _site().key_pem + ISSUING.pem + ROOT.pem, None)
    content = packed(material, PASSPHRASE.encode(), "site-1")
    again = _opened(content)
    assert (again.certificate, again.chain) == (material.certificate, material.chain)
    assert pkcs12.load_pkcs12(content, PASSPHRASE.encode()).cert.friendly_name == b"site-1"  # type: ignore[union-attr]
    with pytest.raises(OperatorError):
        _opened(content, None)


def test_a_pair_of_pem_files_has_the_chain_behind_the_certificate_and_the_key_apart() -> None:
    certificates, key = pem_pair(_opened(_site().pem + _site().key_pem + ROOT.pem + ISSUING.pem, None))
    assert tuple(x509.load_pem_x509_certificates(certificates)) == (_site().certificate, *_chain())
    assert load_pem_private_key(key, None).public_key() == _site().key.public_key()
    assert b"PRIVATE" not in certificates
