"""The cipher suites as the list of Odette has them, and what is weaker than what."""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import algos, cms
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from oftp2.cms.suites import SUITES, WEAK, ContentCipher, Digest, KeyTransport, Oaep, SignatureScheme, suite


@pytest.mark.rfc("10.2")
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "01 (3DES, SHA-1, RSA PKCS#1 v1.5)"),
        (2, "02 (AES-256, SHA-1, RSA PKCS#1 v1.5)"),
        (3, "03 (3DES, SHA-256, RSA PKCS#1 v1.5)"),
        (4, "04 (AES-256, SHA-256, RSA PKCS#1 v1.5)"),
        (5, "05 (3DES, SHA-512, RSA PKCS#1 v1.5)"),
        (6, "06 (AES-256, SHA-512, RSA PKCS#1 v1.5)"),
        (7, "07 (AES-256, SHA3-512, RSA PKCS#1 v1.5)"),
        (8, "08 (AES-256, SHA-256, RSA OAEP and PSS)"),
        (9, "09 (AES-256, SHA-512, RSA OAEP and PSS)"),
        (10, "10 (AES-256, SHA3-512, RSA OAEP and PSS)"),
    ],
)
def test_each_suite_is_made_of_what_the_list_says(number: int, text: str) -> None:
    assert str(suite(number)) == text
    assert (number in WEAK) == ("SHA-1," in text)


@pytest.mark.parametrize("number", [0, 11, -1, 99])
def test_a_number_without_suite_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="use 01 to 10"):
        suite(number)


@pytest.mark.parametrize("digest", list(Digest))
def test_digests_have_one_name_in_hashlib_and_asn1crypto(digest: Digest) -> None:
    assert digest.new().digest_size == digest.octets == hashlib.new(digest.value).digest_size
    assert algos.DigestAlgorithmId(digest.value).native == digest.value


@pytest.mark.parametrize("cipher", list(ContentCipher))
def test_ciphers_take_keys_of_their_length(cipher: ContentCipher) -> None:
    primitive = cipher.algorithm(bytes(range(cipher.key_octets)))
    assert primitive.key_size == cipher.key_octets * 8
    assert primitive.block_size == cipher.block_octets * 8
    assert isinstance(primitive, AES) == str(cipher).startswith("AES")
    assert algos.EncryptionAlgorithmId(cipher.value).native == cipher.value


def test_the_digest_of_a_suite_is_that_of_its_end_responses() -> None:
    assert SUITES[7].new_hash().name == "sha3_512"
    assert SUITES[7].digest_octets == 64
    assert SUITES[1].digest_octets == 20


def test_ciphers_are_ordered_by_strength() -> None:
    assert [str(cipher) for cipher in ContentCipher] == ["3DES", "AES-128", "AES-192", "AES-256"]
    assert ContentCipher.TRIPLE_DES.weaker(ContentCipher.AES_128)
    assert ContentCipher.AES_192.weaker(ContentCipher.AES_256)
    assert not ContentCipher.AES_256.weaker(ContentCipher.AES_256)
    assert not ContentCipher.AES_256.weaker(ContentCipher.TRIPLE_DES)


def test_key_transport_is_ordered_by_strength() -> None:
    agreed = SUITES[8].transport
    assert str(agreed) == "OAEP with SHA-256 and MGF1 of SHA-256"
    assert not agreed.weaker(agreed)
    assert not SUITES[10].transport.weaker(SUITES[9].transport)
    assert not KeyTransport(Oaep(Digest.SHA512, Digest.SHA384)).weaker(agreed)
    assert not KeyTransport(Oaep(Digest.SHA1, Digest.SHA1)).weaker(SUITES[4].transport)
    assert KeyTransport().weaker(agreed)
    assert KeyTransport(Oaep(Digest.SHA1, Digest.SHA256)).weaker(agreed)
    assert not KeyTransport(Oaep(Digest.SHA256, Digest.SHA1)).weaker(agreed)
    assert str(KeyTransport()) == "PKCS#1 v1.5"


def test_paddings_are_those_of_the_suite() -> None:
    assert isinstance(SUITES[4].signature.padding(), padding.PKCS1v15)
    assert isinstance(SUITES[4].transport.padding(), padding.PKCS1v15)
    assert SUITES[9].signature == SignatureScheme(Digest.SHA512, pss=True)
    pss = SUITES[9].signature.padding()
    assert isinstance(pss, padding.PSS)
    assert pss._salt_length == 64
    oaep = SUITES[10].transport.padding()
    assert isinstance(oaep, padding.OAEP)
    assert oaep.algorithm.name == "sha3-512"
    assert oaep.mgf._algorithm.name == "sha3-512"


def test_the_names_are_in_the_structures_too() -> None:
    assert cms.KeyEncryptionAlgorithmId("rsaes_oaep").dotted == "1.2.840.113549.1.1.7"
