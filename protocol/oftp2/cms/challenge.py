"""The session challenge: 20 random octets in a CMS envelope (RFC 5024 sections 4.2.3, 5.3.17 and 5.3.18).

The envelope of AUCH is made with AES-256-CBC and RSA PKCS#1 v1.5, which every cipher suite that names AES
knows. Read are AES and 3DES, with the recipient named by issuer and serial number or by subject key
identifier. Only the owner of the private key gets the octets back that AURP carries. Comparing them is the
caller's duty, in constant time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding

SECRET_OCTETS = 20
MAX_ENVELOPE = 65_535
"""Octets that AUCHCHLL can say."""

_KEY_OCTETS = 32
# By the names of asn1crypto: the cipher, and the octets of its key.
_ALGORITHMS: dict[str, tuple[Callable[[bytes], BlockCipherAlgorithm], int]] = {
    "aes128_cbc": (AES, 16),
    "aes192_cbc": (AES, 24),
    "aes256_cbc": (AES, 32),
    "tripledes_3key": (TripleDES, 24),
}

_UNDECODABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)

Key = tuple[x509.Certificate, RSAPrivateKey]
"""A certificate of ours and its private key."""


class ChallengeError(ValueError):
    """The challenge cannot be made or opened. The message never says how far opening it came."""


def make_challenge(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """The envelope for AUCHCHAL in DER and the 20 octets that AURPRSP must repeat.

    Raises :class:`ChallengeError` for a certificate whose key is not RSA.
    """
    public_key = certificate.public_key()
    if not isinstance(public_key, RSAPublicKey):
        raise ChallengeError("the certificate for the challenge has no RSA key")
    secret, key, vector = os.urandom(SECRET_OCTETS), os.urandom(_KEY_OCTETS), os.urandom(AES.block_size // 8)
    padder = PKCS7(AES.block_size).padder()
    encryptor = Cipher(AES(key), modes.CBC(vector)).encryptor()
    padded = padder.update(secret) + padder.finalize()
    issuer = cms.Certificate.load(certificate.public_bytes(Encoding.DER))
    recipient = cms.KeyTransRecipientInfo(
        {
            "version": "v0",
            "rid": cms.RecipientIdentifier(
                "issuer_and_serial_number",
                cms.IssuerAndSerialNumber({"issuer": issuer.issuer, "serial_number": certificate.serial_number}),
            ),
            "key_encryption_algorithm": {"algorithm": "rsaes_pkcs1v15", "parameters": core.Null()},
            "encrypted_key": public_key.encrypt(key, padding.PKCS1v15()),
        }
    )
    content = cms.EncryptedContentInfo(
        {
            "content_type": "data",
            "content_encryption_algorithm": {
                "algorithm": "aes256_cbc",
                "parameters": core.OctetString(vector),
            },
            "encrypted_content": encryptor.update(padded) + encryptor.finalize(),
        }
    )
    enveloped = cms.EnvelopedData({"version": "v0", "recipient_infos": [recipient], "encrypted_content_info": content})
    envelope: bytes = cms.ContentInfo({"content_type": "enveloped_data", "content": enveloped}).dump()
    return envelope, secret


def open_challenge(envelope: bytes, keys: Sequence[Key]) -> bytes:
    """The 20 octets in a received AUCHCHAL, BER or DER, with whichever of ``keys`` opens it.

    The key that a recipient identifier names is tried first, then every other one. Raises
    :class:`ChallengeError`.
    """
    recipients, content = _parse(envelope)
    for recipient in recipients:
        for _, private_key in sorted(keys, key=lambda key: not _names(recipient, key[0])):
            secret = _opened(recipient, content, private_key)
            if secret is not None:
                return secret
    raise ChallengeError("none of our keys opens the challenge")


class _Content:
    """The encrypted content of an envelope, checked for what we can decrypt."""

    def __init__(self, info: cms.EncryptedContentInfo) -> None:
        algorithm = info["content_encryption_algorithm"]
        name = algorithm["algorithm"].native
        if name not in _ALGORITHMS:
            _refuse(f"the challenge is encrypted with {name}")
        self.algorithm, self.key_octets = _ALGORITHMS[name]
        self.vector = algorithm["parameters"].native
        self.octets = info["encrypted_content"].native
        if not isinstance(self.vector, bytes) or not isinstance(self.octets, bytes):
            _refuse("the challenge is not a CMS envelope that can be read")


def _refuse(text: str) -> NoReturn:
    raise ChallengeError(text)


def _parse(envelope: bytes) -> tuple[list[cms.KeyTransRecipientInfo], _Content]:
    if len(envelope) > MAX_ENVELOPE:
        raise ChallengeError(f"the challenge has {len(envelope)} octets, at most {MAX_ENVELOPE} are possible")
    try:
        info = cms.ContentInfo.load(envelope)
        if info["content_type"].native != "enveloped_data":
            _refuse("the challenge is not a CMS envelope")
        enveloped = info["content"]
        infos = enveloped["recipient_infos"]
        recipients = [info.chosen for info in infos if info.name == "ktri"]
        for recipient in recipients:
            _ = recipient.native  # parsed now, so that nothing is left to fail later
        return recipients, _Content(enveloped["encrypted_content_info"])
    except ChallengeError:
        raise
    except _UNDECODABLE as error:
        raise ChallengeError("the challenge is not a CMS envelope that can be read") from error


def _names(recipient: cms.KeyTransRecipientInfo, certificate: x509.Certificate) -> bool:
    identifier = recipient["rid"].chosen
    if isinstance(identifier, cms.IssuerAndSerialNumber):
        issuer = cms.Certificate.load(certificate.public_bytes(Encoding.DER)).issuer
        same_serial: bool = identifier["serial_number"].native == certificate.serial_number
        # Another encoding of the same name is missed here; then the key is merely tried later.
        return same_serial and bool(identifier["issuer"].dump() == issuer.dump())
    return any(identifier.native == digest for digest in _subject_keys(certificate))


def _subject_keys(certificate: x509.Certificate) -> Iterator[bytes]:
    """The identifier in the certificate; without one the usual hash of the key, which senders then take."""
    try:
        yield certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        yield x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _opened(recipient: cms.KeyTransRecipientInfo, content: _Content, private_key: RSAPrivateKey) -> bytes | None:
    """The secret, or ``None``: every failure looks the same, so that an envelope cannot be used to ask."""
    if recipient["key_encryption_algorithm"]["algorithm"].native not in {"rsaes_pkcs1v15", "rsa"}:
        return None
    try:
        key = private_key.decrypt(recipient["encrypted_key"].native, padding.PKCS1v15())
        if len(key) != content.key_octets:
            return None
        algorithm = content.algorithm(key)
        decryptor = Cipher(algorithm, modes.CBC(content.vector)).decryptor()
        unpadder = PKCS7(algorithm.block_size).unpadder()
        padded = decryptor.update(content.octets) + decryptor.finalize()
        secret = unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        return None
    return secret if len(secret) == SECRET_OCTETS else None
