"""A credential in its container (PKCS#12 or PEM), opened and packed. Both are slow, and belong in the crypto worker."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

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

from oftp2.certs.facts import CertificateFacts, UnreadableCertificateError
from oftp2d.credentials import issued, key_fingerprint
from oftp2d.errors import OperatorError
from oftp2d.renewal.effort import MOST_ROUNDS, ends_in_time, is_bearable
from oftp2d.vault import Secret

MAX_OCTETS = 256 << 10
"""Of a container; real ones have some 5 KiB."""
MAX_CHAIN = 10
"""Certificates beside that of the key."""

_KEY_BEGINS = re.compile(rb"-----BEGIN ([A-Z]{1,12} |)PRIVATE KEY-----")
_MOST_ARMOURS = 10

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
    # That it has an empty passphrase or none is the same to both forms.
    passphrase = container.passphrase.reveal() if container.passphrase else None
    if len(content) > MAX_OCTETS:
        raise OperatorError(
            f"the container has {len(content)} octets, more than {MAX_OCTETS}", "give one credential only"
        )
    try:
        key, found = _from_pem(content, passphrase) if b"-----BEGIN " in content else _from_pkcs12(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OperatorError(
            "the container does not open",
            "check that it is PKCS#12, or PEM with a certificate and its key, and that its passphrase is right",
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        what = "there is no private key in the container" if key is None else "its private key is of no known kind"
        raise OperatorError(what, "give a certificate together with its RSA key, or that of an elliptic curve")
    if len(found) > 1 + MAX_CHAIN:
        raise OperatorError(f"the container holds {len(found)} certificates", "give one certificate with its chain")
    return _assembled(key, found)


def opened_at_first(container: Container) -> Material:
    """The same for one that nobody has opened before: it is seen first, in a process of its own, that this comes to an end.

    What is itself encrypted may say in turn how often a passphrase is hashed, and while OpenSSL does that nothing else runs here.
    """
    content, passphrase = container.content.reveal(), container.passphrase
    if len(content) <= MAX_OCTETS and b"-----BEGIN " not in content:
        with suppress(ValueError):
            _bear(content)
            if not ends_in_time(content, passphrase.reveal() if passphrase else None):
                raise _unbearable()
    return opened(container)


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
    _bear(content)
    key, certificate, others = pkcs12.load_key_and_certificates(content, passphrase)
    return key, [*([certificate] if certificate else []), *others]


def _from_pem(content: bytes, passphrase: bytes | None) -> tuple[object, Sequence[x509.Certificate]]:
    found = x509.load_pem_x509_certificates(content)
    armour = _armour(content)
    if armour is None:
        return None, found
    encrypted, text, armoured = armour
    if encrypted:
        _bear(b64decode(text))
    # cryptography wants a passphrase for an encrypted key, and none for another.
    return load_pem_private_key(armoured, passphrase if b"ENCRYPTED" in armoured else None), found


def _armour(content: bytes) -> tuple[bool, bytes, bytes] | None:
    """The first private key: whether it is encrypted as a whole, its base64, and all of it with its frame."""
    for begin in islice(_KEY_BEGINS.finditer(content), _MOST_ARMOURS):
        end = b"-----END " + begin[1] + b"PRIVATE KEY-----"
        if (at := content.find(end, begin.end())) >= 0:
            return begin[1] == b"ENCRYPTED ", content[begin.end() : at], content[begin.start() : at + len(end)]
    return None


def _bear(content: bytes) -> None:
    if not is_bearable(content):
        raise _unbearable()


def _unbearable() -> OperatorError:
    return OperatorError(
        "to open the container would take too long: its passphrase is hashed too often",
        f"have it made again with fewer rounds; up to {MOST_ROUNDS} in all are taken",
    )


def _assembled(key: PrivateKey, found: Sequence[x509.Certificate]) -> Material:
    """The certificate of the key, with the authorities above it. One that cannot be read is neither."""
    readable = []
    for each in found:
        with suppress(UnreadableCertificateError):
            readable.append(CertificateFacts.of(each))
    mine = key_fingerprint(key.public_key())
    leaf = next((each for each in readable if each.key_fingerprint == mine), None)
    if leaf is None:
        raise OperatorError(
            "the private key of the container belongs to none of its certificates",
            "ask the source for the matching pair",
        )
    return Material(certificate=leaf.certificate, key=key, chain=_ordered(leaf, readable))


def _ordered(leaf: CertificateFacts, pool: Sequence[CertificateFacts]) -> tuple[x509.Certificate, ...]:
    """The authorities above a certificate, its issuer first; what belongs to another chain is left out."""
    chain: list[CertificateFacts] = []
    below = leaf
    while not below.self_signed:
        above = next((each for each in pool if each not in chain and issued(each, below)), None)
        if above is None:
            break
        chain.append(above)
        below = above
    return tuple(each.certificate for each in chain)
