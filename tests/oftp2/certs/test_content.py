"""The certificate in a received file."""

from __future__ import annotations

from contextlib import suppress

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)
from hypothesis import example, given
from hypothesis import strategies as st

from oftp2.certs.content import MAX_CONTENT, ContentError, certificates_in, is_xml, read_certificate
from tests import pki

LEAF = pki.certificate("CA01")
CHAIN = [LEAF.certificate, *(item.certificate for item in LEAF.chain)]


def test_der_is_the_rule() -> None:
    content = read_certificate(LEAF.der)
    assert content.facts.fingerprint == LEAF.fingerprint
    assert content.chain == ()


def test_pem_is_read_with_text_around_it() -> None:
    assert read_certificate(b"subject: us\r\n" + LEAF.pem + b"\r\n").facts.fingerprint == LEAF.fingerprint


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_a_certs_only_message_gives_the_end_entity_and_its_chain(encoding: Encoding) -> None:
    content = read_certificate(pkcs7.serialize_certificates(CHAIN, encoding))
    assert content.facts.fingerprint == LEAF.fingerprint
    assert {facts.fingerprint for facts in content.chain} == {item.fingerprint for item in LEAF.chain}


@pytest.mark.interop(14)
def test_a_certs_only_message_with_ber_lengths_is_read() -> None:
    message = cms.ContentInfo.load(pkcs7.serialize_certificates(CHAIN[:1], Encoding.DER))
    body = message["content"].dump()[4:]  # without its own tag and three octets of length
    indefinite = bytes.fromhex("3080 06092a864886f70d010702 a080") + body + bytes(4)
    assert read_certificate(indefinite).facts.fingerprint == LEAF.fingerprint


def test_the_same_certificate_twice_is_one() -> None:
    assert read_certificate(LEAF.pem * 2).facts.fingerprint == LEAF.fingerprint


def test_a_single_authority_is_read_and_left_to_be_judged() -> None:
    assert read_certificate(pki.issuing("A").der).facts.is_ca


SIGNER = pki.certificate("CA05")


def signed_message(content: bytes = b"content", *options: pkcs7.PKCS7Options) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(SIGNER.certificate, SIGNER.key, hashes.SHA256())
    builder = builder.add_certificate(pki.issuing("A").certificate)
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, *options])


@pytest.mark.parametrize("content", [LEAF.der, LEAF.pem, pkcs7.serialize_certificates(CHAIN[:1], Encoding.DER)])
@pytest.mark.interop(14)
def test_a_signed_file_counts_as_its_content_and_the_signer_is_chain_material(content: bytes) -> None:
    read = read_certificate(signed_message(content))
    assert read.facts.fingerprint == LEAF.fingerprint
    assert {facts.fingerprint for facts in read.chain} == {SIGNER.fingerprint, pki.issuing("A").fingerprint}


def test_a_certificate_that_signs_its_own_file_is_not_in_its_chain() -> None:
    content = read_certificate(signed_message(SIGNER.der, pkcs7.PKCS7Options.NoAttributes))
    assert content.facts.fingerprint == SIGNER.fingerprint
    assert [facts.fingerprint for facts in content.chain] == [pki.issuing("A").fingerprint]


@pytest.mark.interop(14)
def test_a_signature_that_does_not_verify_does_not_matter() -> None:
    message = bytearray(signed_message(LEAF.der))
    message[-1] ^= 1
    assert read_certificate(bytes(message)).facts.fingerprint == LEAF.fingerprint


def test_a_signer_whose_certificate_cannot_be_read_spoils_nothing() -> None:
    odd = SIGNER.der[:4] + b"\x31" + SIGNER.der[5:]
    content = read_certificate(signed_message(LEAF.der).replace(SIGNER.der, odd))
    assert content.facts.fingerprint == LEAF.fingerprint
    assert [facts.fingerprint for facts in content.chain] == [pki.issuing("A").fingerprint]


def test_an_import_takes_no_signed_file() -> None:
    with pytest.raises(ContentError, match="a signed CMS message"):
        certificates_in(signed_message(LEAF.der))


def empty_message() -> bytes:
    message = cms.ContentInfo.load(pkcs7.serialize_certificates(CHAIN, Encoding.DER))
    message["content"]["certificates"] = cms.CertificateSet([])
    octets: bytes = message.dump(force=True)
    return octets


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "the file is empty"),
        (b"x" * (MAX_CONTENT + 1), "the file has 65537 octets"),
        (b"\xef\xbb\xbf <?xml version='1.0'?><x/>", "XML certificate messages are not supported"),
        (b"hello", "not a readable X.509 certificate"),
        (LEAF.der[:-1], "not a readable X.509 certificate"),
        (LEAF.der + b"\0", "not a readable X.509 certificate"),
        (LEAF.pem + pki.pem("CB01"), "the file holds 2 end-entity certificates"),
        (pki.issuing("A").pem + pki.root("A").pem, "the file holds 0 end-entity certificates"),
        (LEAF.pem + LEAF.key_pem, "the file holds a private key"),
        (b"-----BEGIN X-----\nAA==\n-----END X-----\n", "the file holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n", "the file holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "the PEM armour is damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a readable X.509"),
        (signed_message(), "not a readable X.509 certificate"),
        (signed_message(b""), "the file is empty"),
        (signed_message(b"<x/>"), "XML certificate messages are not supported"),
        (signed_message(LEAF.pem + pki.pem("CB01")), "the file holds 2 end-entity certificates"),
        (signed_message(signed_message(LEAF.der)), "the file is a signed CMS message"),
        (signed_message(LEAF.der, pkcs7.PKCS7Options.DetachedSignature), "the file is a signed CMS message"),
        (empty_message(), "the file holds no certificate"),
        (cms.ContentInfo({"content_type": "data", "content": b"x"}).dump(), "not a readable X.509"),
    ],
)
def test_what_is_not_one_certificate_is_refused_with_a_text(octets: bytes, text: str) -> None:
    with pytest.raises(ContentError, match=text.replace("(", r"\(")):
        read_certificate(octets)


def test_an_import_passes_over_private_keys() -> None:
    found = certificates_in(LEAF.key_pem + LEAF.pem, keys=True)
    assert [facts.fingerprint for facts in found] == [LEAF.fingerprint]


@given(st.binary(max_size=400))
@example(b"0\x80")
@example(b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----")
def test_arbitrary_octets_raise_nothing_but_a_content_error(octets: bytes) -> None:
    with pytest.raises(ContentError):
        read_certificate(octets)


@given(st.integers(0, len(LEAF.der) - 1), st.integers(0, 255))
def test_one_changed_octet_raises_nothing_but_a_content_error(position: int, value: int) -> None:
    changed = bytearray(LEAF.der)
    changed[position] = value
    with suppress(ContentError):
        read_certificate(bytes(changed))


MESSAGES = [pkcs7.serialize_certificates(CHAIN[:1], Encoding.DER), signed_message(LEAF.der)]


@given(st.sampled_from(MESSAGES), st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_message_raises_nothing_but_a_content_error(message: bytes, position: int, value: int) -> None:
    changed = bytearray(message)
    changed[position] = value
    with suppress(ContentError):
        read_certificate(bytes(changed))


@pytest.mark.parametrize(
    "octets",
    [
        LEAF.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        LEAF.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        LEAF.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        LEAF.pkcs12(b"secret"),
    ],
    ids=["pkcs8", "encrypted pkcs8", "pkcs1", "pkcs12"],
)
def test_a_private_key_in_der_is_called_by_its_name(octets: bytes) -> None:
    with pytest.raises(ContentError, match="holds a private key, which must never leave its owner"):
        read_certificate(octets)


def test_xml_is_known_by_its_first_sign() -> None:
    assert is_xml(b"\xef\xbb\xbf\r\n <x/>")
    assert not is_xml(LEAF.der)
