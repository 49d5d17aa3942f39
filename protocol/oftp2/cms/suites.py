"""The cipher suites 01 to 10 of SFIDCIPH (RFC 5024 section 10.2 and the list that Odette keeps): what each is made of.

Also how strong the parts are against each other: what is received may be stronger than the suite that was agreed, never
weaker. Names of algorithms are those of asn1crypto; those of the digests are hashlib's as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES

if TYPE_CHECKING:
    from hashlib import _Hash


class Digest(Enum):
    """A message digest. ``value`` is its name, in hashlib as in asn1crypto."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"
    SHA3_256 = "sha3_256"
    SHA3_384 = "sha3_384"
    SHA3_512 = "sha3_512"

    @property
    def octets(self) -> int:
        """The length of a digest."""
        return self.algorithm.digest_size

    @property
    def algorithm(self) -> hashes.HashAlgorithm:
        """As the primitives of cryptography take it."""
        return _ALGORITHMS[self]

    def new(self) -> _Hash:
        """A digest that has seen nothing yet."""
        return hashlib.new(self.value, usedforsecurity=True)

    def of(self, octets: bytes) -> bytes:
        """The digest of octets that are all there."""
        return hashlib.new(self.value, octets, usedforsecurity=True).digest()

    def __str__(self) -> str:
        return (
            self.name.replace("SHA3_", "SHA3-") if self.name.startswith("SHA3_") else self.name.replace("SHA", "SHA-")
        )


_ALGORITHMS: Final[Mapping[Digest, hashes.HashAlgorithm]] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 - suites 01 and 02, which RFC 5024 demands
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
    Digest.SHA3_256: hashes.SHA3_256(),
    Digest.SHA3_384: hashes.SHA3_384(),
    Digest.SHA3_512: hashes.SHA3_512(),
}


class ContentCipher(Enum):
    """A block cipher in CBC mode with the padding of PKCS#7. ``value`` is its name in asn1crypto."""

    TRIPLE_DES = "tripledes_3key"
    AES_128 = "aes128_cbc"
    AES_192 = "aes192_cbc"
    AES_256 = "aes256_cbc"

    @property
    def algorithm(self) -> Callable[[bytes], BlockCipherAlgorithm]:
        """From a key to the primitive of cryptography."""
        return TripleDES if self is ContentCipher.TRIPLE_DES else AES

    @property
    def key_octets(self) -> int:
        """The length of its keys."""
        return _KEYS[self]

    @property
    def block_octets(self) -> int:
        """The length of a block, and of an initialisation vector."""
        return 8 if self is ContentCipher.TRIPLE_DES else 16

    def weaker(self, other: ContentCipher) -> bool:
        """Whether this one is weaker than the other."""
        order = list(ContentCipher)
        return order.index(self) < order.index(other)

    def __str__(self) -> str:
        return "3DES" if self is ContentCipher.TRIPLE_DES else f"AES-{self.key_octets * 8}"


_KEYS: Final[Mapping[ContentCipher, int]] = {
    ContentCipher.TRIPLE_DES: 24,
    ContentCipher.AES_128: 16,
    ContentCipher.AES_192: 24,
    ContentCipher.AES_256: 32,
}


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """How RSA signs a digest: PKCS#1 v1.5, or PSS with MGF1 of the same digest and a salt of its length."""

    digest: Digest
    pss: bool = False

    def padding(self) -> AsymmetricPadding:
        """As the primitives of cryptography take it."""
        if not self.pss:
            return padding.PKCS1v15()
        return padding.PSS(mgf=padding.MGF1(self.digest.algorithm), salt_length=self.digest.octets)


@dataclass(frozen=True, slots=True)
class Oaep:
    """OAEP with a digest, MGF1 of ``mask``, and an empty label."""

    digest: Digest
    mask: Digest


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """How RSA encrypts the key of the content: with OAEP, or without it as PKCS#1 v1.5 says."""

    oaep: Oaep | None = None

    def padding(self) -> AsymmetricPadding:
        """As the primitives of cryptography take it, which with digests of SHA-3 they do not."""
        if self.oaep is None:
            return padding.PKCS1v15()
        mask = padding.MGF1(self.oaep.mask.algorithm)
        return padding.OAEP(mgf=mask, algorithm=self.oaep.digest.algorithm, label=None)

    def weaker(self, other: KeyTransport) -> bool:
        """Whether this one is weaker than the other: PKCS#1 v1.5 for OAEP, or a shorter digest.

        That of MGF1 does not count: products leave it at SHA-1, the default of RFC 4055, and nothing hangs on its collisions.
        """
        if other.oaep is None:
            return False
        if self.oaep is None:
            return True
        return self.oaep.digest.octets < other.oaep.digest.octets

    def __str__(self) -> str:
        return "PKCS#1 v1.5" if self.oaep is None else f"OAEP with {self.oaep.digest} and MGF1 of {self.oaep.mask}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CipherSuite:
    """One row of the list. ``str()`` of it is for people."""

    number: int
    """As SFIDCIPH says it, 1 to 10."""

    cipher: ContentCipher
    digest: Digest
    probabilistic: bool = False
    """Whether RSA is padded by PSS and OAEP, instead of PKCS#1 v1.5."""

    @property
    def signature(self) -> SignatureScheme:
        """How signatures are made."""
        return SignatureScheme(self.digest, pss=self.probabilistic)

    @property
    def transport(self) -> KeyTransport:
        """How the key of the content is encrypted for a recipient."""
        return KeyTransport(Oaep(self.digest, self.digest) if self.probabilistic else None)

    @property
    def digest_octets(self) -> int:
        """The length of a digest."""
        return self.digest.octets

    def new_hash(self) -> _Hash:
        """A digest of the suite that has seen nothing yet; also the one of signed end responses (section 5.3.13)."""
        return self.digest.new()

    def __str__(self) -> str:
        rsa = "OAEP and PSS" if self.probabilistic else "PKCS#1 v1.5"
        return f"{self.number:02} ({self.cipher}, {self.digest}, RSA {rsa})"


SUITES: Final[Mapping[int, CipherSuite]] = MappingProxyType(
    {
        row.number: row
        for row in (
            CipherSuite(number=1, cipher=ContentCipher.TRIPLE_DES, digest=Digest.SHA1),
            CipherSuite(number=2, cipher=ContentCipher.AES_256, digest=Digest.SHA1),
            CipherSuite(number=3, cipher=ContentCipher.TRIPLE_DES, digest=Digest.SHA256),
            CipherSuite(number=4, cipher=ContentCipher.AES_256, digest=Digest.SHA256),
            CipherSuite(number=5, cipher=ContentCipher.TRIPLE_DES, digest=Digest.SHA512),
            CipherSuite(number=6, cipher=ContentCipher.AES_256, digest=Digest.SHA512),
            CipherSuite(number=7, cipher=ContentCipher.AES_256, digest=Digest.SHA3_512),
            CipherSuite(number=8, cipher=ContentCipher.AES_256, digest=Digest.SHA256, probabilistic=True),
            CipherSuite(number=9, cipher=ContentCipher.AES_256, digest=Digest.SHA512, probabilistic=True),
            CipherSuite(number=10, cipher=ContentCipher.AES_256, digest=Digest.SHA3_512, probabilistic=True),
        )
    }
)
"""All suites by their numbers."""

WEAK: Final = frozenset({1, 2})
"""The suites with SHA-1, which RFC 5024 demands and nobody should choose."""


def suite(number: int) -> CipherSuite:
    """The suite that SFIDCIPH names. Raises ``ValueError`` for a number that no suite has."""
    if number not in SUITES:
        raise ValueError(f"there is no cipher suite {number:02}: use 01 to {max(SUITES):02}")
    return SUITES[number]
