"""A credential in its container (PKCS#12 or PEM), opened and packed. Both are slow, and belong in the crypto worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from oftp2.certs.facts import CertificateFacts
from oftp2d.credentials import issued
from oftp2d.errors import OperatorError
from oftp2d.vault import Secret

MAX_OCTETS = 1_048_576
"""Of a container; real ones have some 5 KiB."""
MAX_CHAIN = 10
"""Certificates beside that of the key."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A credential as a source gave it."""

    content: Secret[bytes]
    passphrase: Secret[bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """An opened credential: a certificate, its private key, and the authorities above it, its issuer first."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def facts(self) -> CertificateFacts:
        """What the certificate says."""
        return CertificateFacts.of(self.certificate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, lower-case hexadecimal."""
        return self.facts.fingerprint

    @property
    def valid_from(self) -> datetime:
        """UTC."""
        return self.certificate.not_valid_before_utc

    @property
    def valid_until(self) -> datetime:
        """UTC; the last second in which it is valid."""
        return self.certificate.not_valid_after_utc


def opened(container: Container) -> Material:
    """The credential in a container. Raises OperatorError, which shows neither the content nor the passphrase."""
    content = container.content.reveal()
    passphrase = container.passphrase.reveal() if container.passphrase else None
    if len(content) > MAX_OCTETS:
        raise OperatorError(
            f"the container has {len(content)} octets, more than {MAX_OCTETS}", "give one credential only"
        )
    key, found = _from_pem(content, passphrase) if b"-----BEGIN " in content else _from_pkcs12(content, passphrase)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise OperatorError("the private key is neither RSA nor of an elliptic curve", "ask the source for an RSA key")
    if len(found) > 1 + MAX_CHAIN:
        raise OperatorError(f"the container holds {len(found)} certificates", "give one certificate with its chain")
    mine = next((each for each in found if each.public_key() == key.public_key()), None)
    if mine is None:
        raise OperatorError(
            "the private key of the container belongs to none of its certificates",
            "ask the source for the matching pair",
        )
    return Material(certificate=mine, key=key, chain=_ordered(mine, found))


def packed(material: Material, passphrase: bytes, name: str) -> bytes:
    """The credential as PKCS#12 with its chain, encrypted by AES-256."""
    return pkcs12.serialize_key_and_certificates(
        name.encode(), material.key, material.certificate, material.chain, BestAvailableEncryption(passphrase)
    )


def pem_pair(material: Material) -> tuple[bytes, bytes]:
    """The certificate with its chain, and the private key without a passphrase, each as PEM."""
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (material.certificate, *material.chain))
    return chain, material.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _from_pkcs12(content: bytes, passphrase: bytes | None) -> tuple[object, Sequence[x509.Certificate]]:
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OperatorError(
            "the container does not open", "check that it is PKCS#12 or PEM, and that its passphrase is right"
        ) from None
    return key, [*([certificate] if certificate else []), *others]


def _from_pem(content: bytes, passphrase: bytes | None) -> tuple[object, Sequence[x509.Certificate]]:
    try:
        found = x509.load_pem_x509_certificates(content)
        begins = content.find(b"-----BEGIN", content.find(b"PRIVATE KEY-----") - 40)
        # cryptography wants a passphrase for an encrypted key, and none for another.
        key = load_pem_private_key(content[max(begins, 0) :], passphrase if b"ENCRYPTED" in content else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OperatorError(
            "the container does not open",
            "check that it holds a certificate and its key, and that its passphrase is right",
        ) from None
    return key, found


def _ordered(leaf: x509.Certificate, found: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The authorities above a certificate, its issuer first; what belongs to another chain is left out."""
    pool = [CertificateFacts.of(each) for each in found]
    chain: list[CertificateFacts] = []
    below = CertificateFacts.of(leaf)
    while not below.self_signed:
        above = next((each for each in pool if each not in chain and issued(each, below)), None)
        if above is None:
            break
        chain.append(above)
        below = above
    return tuple(each.certificate for each in chain)
