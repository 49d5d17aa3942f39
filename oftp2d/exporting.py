"""A certificate of the store as a file for others: alone, with its chain, or with its key."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs7, pkcs12

from oftp2d.errors import OperatorError

SHORTEST = 8
"""Characters of the passphrase of a file with a private key."""


class Form(StrEnum):
    """The forms of such a file."""

    PEM = "pem"
    """The certificate, and its chain behind it."""
    DER = "der"
    """The certificate alone."""
    P7B = "p7b"
    """PKCS#7: the certificate and its chain, without a signature."""
    P12 = "p12"
    """PKCS#12: the certificate, its chain and its private key, under a passphrase."""


def exported(
    form: Form,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate] = (),
    *,
    name: str = "",
    key: RSAPrivateKey | None = None,
    passphrase: bytes = b"",
) -> bytes:
    """The octets of the file; with a key slow, for its passphrase is made hard to guess.

    Raises OperatorError where the key or a passphrase of some length is missing.
    """
    match form:
        case Form.PEM:
            return b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *chain))
        case Form.DER:
            return certificate.public_bytes(Encoding.DER)
        case Form.P7B:
            return pkcs7.serialize_certificates([certificate, *chain], Encoding.DER)
        case Form.P12:
            if key is None:
                raise OperatorError(f"there is no private key of {name} here", "export it as pem, der or p7b")
            if len(passphrase) < SHORTEST:
                raise OperatorError(
                    "the passphrase is too short for a private key", f"give one of {SHORTEST} characters or more"
                )
            encryption = BestAvailableEncryption(passphrase)
            return pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, chain, encryption)
