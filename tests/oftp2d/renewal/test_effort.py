"""Containers that would keep a thread busy for hours are seen before they are opened."""

from __future__ import annotations

import hashlib
import hmac
from base64 import encodebytes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asn1crypto import algos, cms, core, keys, pkcs12
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from oftp2d.errors import OperatorError
from oftp2d.renewal.effort import MOST_ROUNDS, is_bearable
from oftp2d.renewal.material import Container, opened, opened_at_first
from oftp2d.vault import Secret
from tests import pki
from tools.nmvs.containers import Encryption, pack

SITE = pki.certificate("CA01")
PASSPHRASE = "hunter2 & more"
SALT = bytes(8)


def _container(change: Callable[[Any, Any], None] | None = None) -> bytes:
    """A container in which something is changed: its outermost sequence, and what is safe in it."""
    pfx = pkcs12.Pfx.load(pack(SITE.key, SITE.certificate, [], PASSPHRASE, Encryption.RC2_40))
    if change is not None:
        safe = pkcs12.AuthenticatedSafe.load(pfx["auth_safe"]["content"].native)
        change(pfx, safe)
        pfx["auth_safe"]["content"] = safe.dump(force=True)
    content: bytes = pfx.dump(force=True)
    return content


def _of_the_mac(pfx: Any, _: Any) -> None:
    pfx["mac_data"]["iterations"] = MOST_ROUNDS


def _of_the_certificates(_: Any, safe: Any) -> None:
    encrypted = safe[1]["content"]["encrypted_content_info"]
    encrypted["content_encryption_algorithm"]["parameters"]["iterations"] = MOST_ROUNDS


def _of_the_key(_: Any, safe: Any) -> None:
    bags = pkcs12.SafeContents.load(safe[0]["content"].native)
    bags[0]["bag_value"]["encryption_algorithm"]["parameters"]["iterations"] = MOST_ROUNDS
    safe[0]["content"] = bags.dump(force=True)


def _key(algorithm: core.Asn1Value) -> bytes:
    info = core.Sequence()
    info.contents = algorithm.dump() + core.OctetString(bytes(16)).dump()
    content: bytes = info.dump()
    return content


def _pbes1(rounds: int) -> bytes:
    parameters = {"salt": SALT, "iterations": rounds}
    return _key(algos.EncryptionAlgorithm({"algorithm": "pkcs12_sha1_tripledes_3key", "parameters": parameters}))


def _pbes2(rounds: int) -> bytes:
    salt = algos.Pbkdf2Salt(name="specified", value=SALT)
    derived = {"algorithm": "pbkdf2", "parameters": {"salt": salt, "iteration_count": rounds}}
    cipher = {"algorithm": "aes256_cbc", "parameters": bytes(16)}
    parameters = {"key_derivation_func": derived, "encryption_scheme": cipher}
    return _key(algos.EncryptionAlgorithm({"algorithm": "pbes2", "parameters": parameters}))


def _scrypt(cost: int) -> bytes:
    parameters = core.Sequence()
    parameters.contents = b"".join(
        each.dump() for each in (core.OctetString(SALT), core.Integer(cost), core.Integer(8), core.Integer(1))
    )
    function = core.Sequence()
    function.contents = core.ObjectIdentifier("1.3.6.1.4.1.11591.4.11").dump() + parameters.dump()
    return _key(function)


def _pem(content: bytes) -> bytes:
    armour = b"-----%s ENCRYPTED PRIVATE KEY-----\n"
    return SITE.pem + armour % b"BEGIN" + encodebytes(content) + armour % b"END"


def test_usual_containers_and_keys_are_bearable() -> None:
    for encryption in Encryption:
        assert is_bearable(pack(SITE.key, SITE.certificate, [], PASSPHRASE, encryption))
    assert is_bearable(_container())
    for content in (_pbes1(600_000), _pbes2(600_000), _scrypt(1 << 20)):
        assert is_bearable(content)
    loaded = keys.EncryptedPrivateKeyInfo.load(_pbes2(600_000))
    assert loaded["encryption_algorithm"].kdf_iterations == 600_000, "the keys made here are keys"


@pytest.mark.parametrize("change", [_of_the_mac, _of_the_certificates, _of_the_key])
def test_a_container_whose_rounds_are_too_many_is_not_opened(change: Callable[[Any, Any], None]) -> None:
    """One of the three counts is at the limit, and all count together."""
    container = Container(content=Secret(_container(change)), passphrase=Secret(PASSPHRASE.encode()))
    with pytest.raises(OperatorError, match="take too long") as raised:
        opened(container)
    assert "fewer rounds" in raised.value.advice


@pytest.mark.parametrize("make", [_pbes1, _pbes2, _scrypt])
def test_nor_is_a_key_in_pem(make: Callable[[int], bytes]) -> None:
    assert is_bearable(make(MOST_ROUNDS))
    assert not is_bearable(make(MOST_ROUNDS + 1))
    with pytest.raises(OperatorError, match="take too long"):
        opened(Container(content=Secret(_pem(make(2**31 - 1))), passphrase=Secret(b"words")))


def test_rounds_do_not_hide_in_the_forms_that_ber_allows() -> None:
    plain = core.OctetString(SALT).dump() + core.Integer(MOST_ROUNDS + 1).dump()
    assert not is_bearable(b"\x30\x80" + plain + b"\x00\x00"), "without a length"
    sequence = core.Sequence()
    sequence.contents = plain
    inner = sequence.dump()
    pieces = core.OctetString(inner[:3]).dump() + core.OctetString(inner[3:]).dump()
    assert not is_bearable(b"\x24\x80" + pieces + b"\x00\x00"), "in pieces"
    assert not is_bearable(b"\x24" + bytes([len(pieces)]) + pieces)
    pieced_salt = b"\x24" + bytes([len(pieces)]) + pieces
    assert not is_bearable(pieced_salt + core.Integer(MOST_ROUNDS + 1).dump())


@pytest.mark.parametrize(
    "content", [b"\x30" * 5_000, b"\x05\x00" * 200_000, b"\x24\x80" * 5_000, b"\x30\x84\xff\xff\xff\xff"]
)
def test_what_is_made_to_be_walked_for_long_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested|recursion|elements|data"):
        is_bearable(content)


@given(st.binary(max_size=200))
def test_whatever_octets_there_are_it_is_said_or_refused(content: bytes) -> None:
    for each in (content, b"\x30\x80" + content, b"\x04\x81\xc8" + content.ljust(200, b"\x30")):
        with suppress(ValueError):
            assert is_bearable(each) in {True, False}


def _hidden(rounds: int) -> bytes:
    """A container whose key, encrypted with so many rounds, is itself in an encrypted part, where nobody sees that."""
    salt, vector = bytes(8), bytes(16)

    def hide(pfx: Any, safe: Any) -> None:
        bags = pkcs12.SafeContents.load(safe[0]["content"].native)
        bags[0]["bag_value"]["encryption_algorithm"]["parameters"]["iterations"] = rounds
        padder = PKCS7(128).padder()
        plain = padder.update(bags.dump(force=True)) + padder.finalize()
        key = PBKDF2HMAC(SHA256(), 32, salt, 1).derive(PASSPHRASE.encode())
        cipher = Cipher(AES(key), CBC(vector)).encryptor()
        derived = {"salt": algos.Pbkdf2Salt("specified", salt), "iteration_count": 1, "prf": {"algorithm": "sha256"}}
        parameters = {
            "key_derivation_func": {"algorithm": "pbkdf2", "parameters": derived},
            "encryption_scheme": {"algorithm": "aes256_cbc", "parameters": vector},
        }
        encrypted = {
            "content_type": "data",
            "content_encryption_algorithm": {"algorithm": "pbes2", "parameters": parameters},
            "encrypted_content": cipher.update(plain) + cipher.finalize(),
        }
        content = {"version": "v0", "encrypted_content_info": encrypted}
        safe[0] = cms.ContentInfo({"content_type": "encrypted_data", "content": cms.EncryptedData(content)})
        mac = pfx["mac_data"]
        mac["iterations"], mac["mac_salt"], mac["mac"]["digest_algorithm"] = 1, salt, {"algorithm": "sha1"}
        mac["mac"]["digest"] = hmac.digest(_mac_key(salt), safe.dump(force=True), "sha1")

    return _container(hide)


def _mac_key(salt: bytes) -> bytes:
    """RFC 7292 appendix B.2 with SHA-1 and one round."""
    given = PASSPHRASE.encode("utf-16-be") + bytes(2)
    filled = [(part * 64)[: -(-len(part) // 64) * 64] for part in (salt, given)]
    return hashlib.sha1(b"\x03" * 64 + b"".join(filled), usedforsecurity=False).digest()


def test_what_is_hidden_in_a_container_is_tried_elsewhere_first() -> None:
    container = Container(content=Secret(_hidden(2048)), passphrase=Secret(PASSPHRASE.encode()))
    assert opened_at_first(container).certificate == SITE.certificate


@pytest.mark.slow
def test_a_container_that_hides_hours_of_work_is_given_up() -> None:
    content = _hidden(2**31 - 1)
    assert is_bearable(content)
    with pytest.raises(OperatorError, match="would take too long"):
        opened_at_first(Container(content=Secret(content), passphrase=Secret(PASSPHRASE.encode())))


def test_of_thousands_of_keys_that_begin_and_never_end_there_is_none() -> None:
    content = SITE.certificate.public_bytes(Encoding.PEM) + b"-----BEGIN PRIVATE KEY-----\n" * 9_000
    with pytest.raises(OperatorError, match="no private key"):
        opened(Container(content=Secret(content)))
