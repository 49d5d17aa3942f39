"""Private keys behind one small seam, so that they may live in hardware: sign a digest, unwrap a key.

``SoftwareKey`` does both with a key in memory. Certificates stand beside the keys, because they name them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.cms import oaep
from oftp2.cms.suites import Digest, KeyTransport, Oaep, SignatureScheme

# The digests that the OAEP of cryptography takes.
_PRIMITIVE = frozenset({Digest.SHA1, Digest.SHA256, Digest.SHA384, Digest.SHA512})


class SigningKey(Protocol):
    """Whatever can sign."""

    def sign(self, digest: bytes, scheme: SignatureScheme) -> bytes:
        """The raw RSA signature over a digest of ``scheme.digest``.

        Raises ``ValueError`` where the key is too short for the scheme.
        """


class UnwrappingKey(Protocol):
    """Whatever can decrypt a wrapped key."""

    def unwrap(self, wrapped: bytes, transport: KeyTransport) -> bytes:
        """The octets that RSA wrapped.

        Raises ``ValueError`` for what it cannot unwrap. With PKCS#1 v1.5 random octets may come out of what was wrapped
        for another key: that is how a key gives nothing away to who asks with forged ones.
        """


class SoftwareKey:
    """An RSA key in memory."""

    __slots__ = ("_key",)

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def sign(self, digest: bytes, scheme: SignatureScheme) -> bytes:
        """As :class:`SigningKey` says."""
        return self._key.sign(digest, scheme.padding(), Prehashed(scheme.digest.algorithm))

    def unwrap(self, wrapped: bytes, transport: KeyTransport) -> bytes:
        """As :class:`UnwrappingKey` says."""
        match transport.oaep:
            case Oaep(digest, mask) if not _PRIMITIVE.issuperset((digest, mask)):
                return oaep.decrypt(self._key, wrapped, digest=digest, mask=mask)
        return self._key.decrypt(wrapped, transport.padding())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key.key_size} bits)"


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate of ours and the key that signs for it. Raises ``ValueError`` for a certificate without RSA key."""

    certificate: x509.Certificate
    key: SigningKey = field(repr=False)

    def __post_init__(self) -> None:
        rsa_key(self.certificate)

    @property
    def signature_octets(self) -> int:
        """The length of its signatures."""
        return modulus_octets(self.certificate)


@dataclass(frozen=True, slots=True)
class Owner:
    """A certificate of ours and the key that opens what was encrypted for it.

    Raises ``ValueError`` for a certificate without RSA key.
    """

    certificate: x509.Certificate
    key: UnwrappingKey = field(repr=False)

    def __post_init__(self) -> None:
        rsa_key(self.certificate)


def rsa_key(certificate: x509.Certificate) -> RSAPublicKey:
    """The public key of a certificate. Raises ``ValueError`` where it is of another kind than RSA."""
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the certificate has no RSA key, and the cipher suites of OFTP2 know no other")  # noqa: TRY004
    return key


def wrap(key: RSAPublicKey, octets: bytes, transport: KeyTransport) -> bytes:
    """What the owner of the private key unwraps. Raises ``ValueError`` where the key is too short for the padding."""
    match transport.oaep:
        case Oaep(digest, mask) if not _PRIMITIVE.issuperset((digest, mask)):
            return oaep.encrypt(key, octets, digest=digest, mask=mask)
    return key.encrypt(octets, transport.padding())


def modulus_octets(certificate: x509.Certificate) -> int:
    """The length of what the RSA key of a certificate signs or encrypts."""
    return (rsa_key(certificate).key_size + 7) // 8


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate in DER, in hexadecimal digits: what certificates are told apart by."""
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
