"""OAEP with the digests that cryptography has no OAEP for, against OpenSSL and against cryptography."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms.oaep import decrypt, encrypt
from oftp2.cms.suites import Digest
from tests import pki

KEY = pki.key("CA01")
PUBLIC = KEY.public_key()
MESSAGE = bytes(range(32))


def openssl(
    tmp_path: Path, way: str, octets: bytes, digest: Digest = Digest.SHA3_512, mask: Digest = Digest.SHA3_512
) -> bytes:
    (tmp_path / "key.pem").write_bytes(pki.certificate("CA01").key_pem)
    named = {"rsa_oaep_md": digest, "rsa_mgf1_md": mask}
    options = [f"{option}:{each.value.replace('_', '-')}" for option, each in named.items()]
    command = ["openssl", "pkeyutl", way, "-inkey", "key.pem", "-pkeyopt", "rsa_padding_mode:oaep"]
    command += [each for option in options for each in ("-pkeyopt", option)]
    return subprocess.run(command, input=octets, capture_output=True, cwd=tmp_path, check=True).stdout


def sha3(octets: bytes, key: RSAPrivateKey = KEY) -> bytes:
    return decrypt(key, octets, digest=Digest.SHA3_512, mask=Digest.SHA3_512)


def test_openssl_decrypts_what_we_encrypt(tmp_path: Path) -> None:
    wrapped = encrypt(PUBLIC, MESSAGE, digest=Digest.SHA3_512, mask=Digest.SHA3_512)
    assert openssl(tmp_path, "-decrypt", wrapped) == MESSAGE


def test_we_decrypt_what_openssl_encrypts(tmp_path: Path) -> None:
    assert sha3(openssl(tmp_path, "-encrypt", MESSAGE)) == MESSAGE


@pytest.mark.parametrize(
    ("digest", "mask"),
    [(Digest.SHA3_512, Digest.SHA1), (Digest.SHA3_256, Digest.SHA512), (Digest.SHA256, Digest.SHA3_384)],
    ids=str,
)
def test_digest_and_mask_may_differ(tmp_path: Path, digest: Digest, mask: Digest) -> None:
    wrapped = encrypt(PUBLIC, MESSAGE, digest=digest, mask=mask)
    assert openssl(tmp_path, "-decrypt", wrapped, digest, mask) == MESSAGE
    assert decrypt(KEY, openssl(tmp_path, "-encrypt", MESSAGE, digest, mask), digest=digest, mask=mask) == MESSAGE


@pytest.mark.parametrize("digest", [Digest.SHA1, Digest.SHA256, Digest.SHA512])
def test_it_is_the_oaep_of_cryptography(digest: Digest) -> None:
    scheme = padding.OAEP(mgf=padding.MGF1(digest.algorithm), algorithm=digest.algorithm, label=None)
    assert decrypt(KEY, PUBLIC.encrypt(MESSAGE, scheme), digest=digest, mask=digest) == MESSAGE
    assert KEY.decrypt(encrypt(PUBLIC, MESSAGE, digest=digest, mask=digest), scheme) == MESSAGE


@given(st.binary(max_size=126))
def test_any_message_that_fits_comes_back(message: bytes) -> None:
    assert sha3(encrypt(PUBLIC, message, digest=Digest.SHA3_512, mask=Digest.SHA3_512)) == message


def test_a_message_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        encrypt(PUBLIC, bytes(127), digest=Digest.SHA3_512, mask=Digest.SHA3_512)


def raw(encoded: bytes) -> bytes:
    """What decrypts to exactly these octets."""
    numbers = PUBLIC.public_numbers()
    return pow(int.from_bytes(encoded, "big"), numbers.e, numbers.n).to_bytes(256, "big")


def encoded(block: bytes, first: int = 0) -> bytes:
    """A block of OAEP as it may never be written, masked with SHA-256 of MGF1."""
    seed = bytes(32)

    def mask(source: bytes, octets: int) -> bytes:
        made = b"".join(_sha256(source + bytes((0, 0, 0, at))) for at in range(8))
        return made[:octets]

    masked = bytes(a ^ b for a, b in zip(block, mask(seed, len(block)), strict=True))
    return bytes((first,)) + bytes(a ^ b for a, b in zip(seed, mask(masked, 32), strict=True)) + masked


def _sha256(octets: bytes) -> bytes:
    digest = Digest.SHA256.new()
    digest.update(octets)
    return digest.digest()


LABEL = _sha256(b"")


def test_blocks_made_by_hand_are_those_of_the_standard() -> None:
    good = raw(encoded(LABEL + bytes(158) + b"\x01" + bytes(range(32))))
    assert decrypt(KEY, good, digest=Digest.SHA256, mask=Digest.SHA256) == MESSAGE


@pytest.mark.parametrize(
    "ciphertext",
    [
        raw(encoded(bytes(32) + bytes(158) + b"\x01" + MESSAGE)),
        raw(encoded(LABEL + bytes(157) + b"\x02\x01" + MESSAGE)),
        raw(encoded(LABEL + bytes(191))),
        raw(encoded(LABEL + bytes(158) + b"\x01" + MESSAGE, first=1)),
        bytes(255),
        bytes(257),
        b"\xff" * 256,
        bytes(256),
    ],
    ids=["label", "filling", "no separator", "first octet", "too short", "too long", "above modulus", "zero"],
)
def test_every_failure_is_the_same(ciphertext: bytes) -> None:
    with pytest.raises(ValueError, match=r"^decryption failed$"):
        decrypt(KEY, ciphertext, digest=Digest.SHA256, mask=Digest.SHA256)


def test_a_key_too_short_for_the_digest_opens_nothing() -> None:
    with pytest.raises(ValueError, match=r"^decryption failed$"):
        sha3(bytes(128), generate_private_key(65537, 1024))  # noqa: S505 - as short as a partner may have it
