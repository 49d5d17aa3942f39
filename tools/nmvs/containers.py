"""PKCS#12 containers as servers make them: AES-256, 3DES or RC2-40 (nmvs.md section 5), and their passphrases."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from asn1crypto import algos, cms, keys, pkcs12
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import pkcs12 as modern

from . import rc2

NAME: Final = b"stand-in"
ROUNDS: Final = 2048


class Encryption(StrEnum):
    """How a container is encrypted."""

    AES_256 = "aes-256"
    TRIPLE_DES = "3des"
    RC2_40 = "rc2-40"


def passphrase() -> str:
    """Eight to sixty characters, always with those that XML has to escape, in any order."""
    special = list("&<>\"'")
    others = [
        secrets.choice(string.ascii_letters + string.digits + "!#%;:+=?") for _ in range(secrets.randbelow(53) + 3)
    ]
    drawn = special + others
    secrets.SystemRandom().shuffle(drawn)
    return "".join(drawn)


def pack(
    key: rsa.RSAPrivateKey,
    certificate: x509.Certificate,
    above: Sequence[x509.Certificate],
    secret: str,
    encryption: Encryption,
) -> bytes:
    """The container with key, certificate and authorities."""
    if encryption is Encryption.RC2_40:
        return _with_rc2(key, [certificate, *above], secret)
    pbe, digest = {
        Encryption.AES_256: (modern.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA256()),
        Encryption.TRIPLE_DES: (modern.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1()),  # noqa: S303 - as old writers do
    }[encryption]
    protection = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(pbe)
        .hmac_hash(digest)
        .build(secret.encode())
    )
    return modern.serialize_key_and_certificates(NAME, key, certificate, above, protection)


def _with_rc2(key: rsa.RSAPrivateKey, certificates: Sequence[x509.Certificate], secret: str) -> bytes:
    """RFC 7292 by hand: no living library writes this cipher any more, all of them have to read it."""
    local = pkcs12.Attribute({"type": "local_key_id", "values": [b"\x01"]})
    info = keys.PrivateKeyInfo.load(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    algorithm, sealed = _sealed(info.dump(), secret)
    shrouded = keys.EncryptedPrivateKeyInfo({"encryption_algorithm": algorithm, "encrypted_data": sealed})
    key_bags = pkcs12.SafeContents(
        [{"bag_id": "pkcs8_shrouded_key_bag", "bag_value": shrouded, "bag_attributes": [local]}]
    )
    bags = []
    for each in certificates:
        found = asn1_x509.Certificate.load(each.public_bytes(Encoding.DER))
        value = pkcs12.CertBag({"cert_id": "x509", "cert_value": cms.ParsableOctetString(found.dump())})
        attributes = [local] if each is certificates[0] else []
        bags.append(pkcs12.SafeBag({"bag_id": "cert_bag", "bag_value": value, "bag_attributes": attributes}))
    algorithm, sealed = _sealed(pkcs12.SafeContents(bags).dump(), secret)
    content = {"content_type": "data", "content_encryption_algorithm": algorithm, "encrypted_content": sealed}
    safe = pkcs12.AuthenticatedSafe(
        [
            {"content_type": "data", "content": key_bags.dump()},
            {"content_type": "encrypted_data", "content": {"version": 0, "encrypted_content_info": content}},
        ]
    ).dump()
    salt = secrets.token_bytes(8)
    mac = hmac.new(_derived(3, secret, salt, 20), safe, hashlib.sha1).digest()
    made = pkcs12.Pfx(
        {
            "version": "v3",
            "auth_safe": {"content_type": "data", "content": safe},
            "mac_data": {
                "mac": {"digest_algorithm": {"algorithm": "sha1"}, "digest": mac},
                "mac_salt": salt,
                "iterations": ROUNDS,
            },
        }
    )
    octets: bytes = made.dump()
    return octets


def _sealed(content: bytes, secret: str) -> tuple[algos.EncryptionAlgorithm, bytes]:
    salt = secrets.token_bytes(8)
    algorithm = algos.EncryptionAlgorithm(
        {"algorithm": "pkcs12_sha1_rc2_40", "parameters": {"salt": salt, "iterations": ROUNDS}}
    )
    return algorithm, rc2.encrypt(_derived(1, secret, salt, 5), _derived(2, secret, salt, 8), content)


def _derived(purpose: int, secret: str, salt: bytes, length: int) -> bytes:
    """RFC 7292 appendix B.2 with SHA-1, where ``length`` is never more than one digest."""
    block = 64
    password = secret.encode("utf-16-be") + b"\0\0"
    whole = -(-len(password) // block) * block
    found = bytes([purpose]) * block + (salt * block)[:block] + (password * block)[:whole]
    for _ in range(ROUNDS):
        found = hashlib.sha1(found).digest()  # noqa: S324 - RFC 7292
    return found[:length]
