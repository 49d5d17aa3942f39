"""The session challenge, made and opened by us and by OpenSSL."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import example, given
from hypothesis import strategies as st

from oftp2.cms.challenge import SECRET_OCTETS, Answered, ChallengeError, make_challenge, open_challenge
from oftp2.cms.enveloped import Enveloping
from oftp2.cms.keys import Owner, SoftwareKey
from oftp2.cms.suites import SUITES
from tests import pki

OURS, OTHER = pki.certificate("CA01"), pki.certificate("CB01")
OWNERS = [OTHER.owner, OURS.owner]
ENVELOPE, SECRET = make_challenge(OURS.certificate)


@pytest.mark.rfc("5.3.17", "5.3.18")
def test_the_owner_of_the_key_gets_the_twenty_octets_back() -> None:
    envelope, secret = make_challenge(OURS.certificate)
    assert len(secret) == SECRET_OCTETS
    assert open_challenge(envelope, OWNERS) == secret


def test_each_challenge_is_new() -> None:
    assert make_challenge(OURS.certificate)[1] != make_challenge(OURS.certificate)[1]


def test_other_keys_do_not_open_it() -> None:
    with pytest.raises(ChallengeError, match="none of our keys"):
        open_challenge(ENVELOPE, OWNERS[:1])
    with pytest.raises(ChallengeError, match="none of our keys"):
        open_challenge(ENVELOPE, [])


def test_a_key_that_is_not_named_is_tried_as_well() -> None:
    """A renewed certificate with the same key: the challenge still names the former one."""
    renewed = pki.make(key=OURS.key)
    assert open_challenge(ENVELOPE, [OWNERS[0], renewed.owner]) == SECRET


def test_a_certificate_without_an_rsa_key_cannot_be_challenged() -> None:
    issued = pki.make(key=ec.generate_private_key(ec.SECP256R1()), issuer=pki.issuing("A"))
    with pytest.raises(ChallengeError, match="no RSA key"):
        make_challenge(issued.certificate)


def test_openssl_opens_what_we_make(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(OURS.key_pem)
    (tmp_path / "certificate.pem").write_bytes(OURS.pem)
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", "key.pem", "-recip", "certificate.pem"]
    done = subprocess.run(command, input=ENVELOPE, capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout == SECRET


@pytest.mark.rfc("5.3.17")
@pytest.mark.interop(10)
@pytest.mark.parametrize("cipher", ["-aes256", "-aes192", "-aes128", "-des3"])
@pytest.mark.parametrize("options", [[], ["-keyid"], ["-stream"]])
def test_we_open_what_openssl_makes(tmp_path: Path, cipher: str, options: list[str]) -> None:
    (tmp_path / "certificate.pem").write_bytes(OURS.pem)
    command = ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER", cipher, *options]
    done = subprocess.run(
        [*command, "-recip", "certificate.pem"], input=SECRET, capture_output=True, cwd=tmp_path, check=True
    )
    assert open_challenge(done.stdout, OWNERS) == SECRET


def envelope(
    *,
    content: bytes = SECRET,
    key: bytes = bytes(32),
    algorithm: str = "aes256_cbc",
    transport: str = "rsaes_pkcs1v15",
    recipient: str = "issuer",
    certificate: x509.Certificate = OURS.certificate,
    padded: bool = True,
    parameters: bool = True,
) -> bytes:
    """An envelope with anything wrong that is asked for."""
    cipher = TripleDES(key) if algorithm == "tripledes_3key" else AES(key)
    block = cipher.block_size // 8
    initial = bytes(block)
    length = block - len(content) % block
    encryptor = Cipher(cipher, modes.CBC(initial)).encryptor()
    octets = encryptor.update(content + (bytes([length]) * length if padded else b"")) + encryptor.finalize()
    digest = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    loaded = cms.Certificate.load(OURS.der)
    rid = {
        "issuer": cms.RecipientIdentifier(
            "issuer_and_serial_number",
            cms.IssuerAndSerialNumber({"issuer": loaded.issuer, "serial_number": certificate.serial_number}),
        ),
        "key": cms.RecipientIdentifier("subject_key_identifier", digest),
    }[recipient]
    info = cms.KeyTransRecipientInfo(
        {
            "version": "v0",
            "rid": rid,
            "key_encryption_algorithm": {"algorithm": transport},
            "encrypted_key": certificate.public_key().encrypt(key, padding.PKCS1v15()),  # type: ignore[union-attr]
        }
    )
    enveloped = cms.EnvelopedData(
        {
            "version": "v0",
            "recipient_infos": [cms.RecipientInfo("ktri", info)],
            "encrypted_content_info": {
                "content_type": "data",
                "content_encryption_algorithm": {
                    "algorithm": algorithm,
                    **({"parameters": core.OctetString(initial)} if parameters else {}),
                },
                "encrypted_content": octets,
            },
        }
    )
    result: bytes = cms.ContentInfo({"content_type": "enveloped_data", "content": enveloped}).dump()
    return result


def test_the_recipient_may_be_named_by_key_identifier_even_without_the_extension() -> None:
    assert open_challenge(envelope(recipient="key"), OWNERS) == SECRET
    bare = x509.CertificateBuilder(
        OURS.certificate.issuer,
        OURS.certificate.subject,
        OURS.key.public_key(),
        3,
        pki.NOW,
        pki.NOW.replace(year=pki.NOW.year + 1),
    ).sign(pki.issuing("A").key, OURS.certificate.signature_hash_algorithm)  # type: ignore[arg-type]
    assert open_challenge(envelope(recipient="key"), [OWNERS[0], Owner(bare, SoftwareKey(OURS.key))]) == SECRET


@pytest.mark.parametrize(
    "broken",
    [
        envelope(content=SECRET[:-1]),
        envelope(content=SECRET + b"x"),
        envelope(content=bytes(32), padded=False),
        envelope(key=bytes(16)),  # not the key length of its algorithm
        envelope(transport="rsaes_oaep"),
    ],
)
def test_every_failure_to_open_looks_the_same(broken: bytes) -> None:
    with pytest.raises(ChallengeError, match=r"^none of our keys opens the challenge$"):
        open_challenge(broken, OWNERS)


def test_content_of_a_broken_length_looks_the_same() -> None:
    info = cms.ContentInfo.load(ENVELOPE)
    info["content"]["encrypted_content_info"]["encrypted_content"] = b"x" * 17
    with pytest.raises(ChallengeError, match=r"^none of our keys opens the challenge$"):
        open_challenge(info.dump(force=True), OWNERS)


def test_no_challenge_is_answered_twice() -> None:
    answered = Answered(most=2)
    assert open_challenge(ENVELOPE, OWNERS, answered) == SECRET
    with pytest.raises(ChallengeError, match="is not new"):
        open_challenge(ENVELOPE, OWNERS, answered)
    for _ in range(2):
        envelope, secret = make_challenge(OURS.certificate)
        assert open_challenge(envelope, OWNERS, answered) == secret
    assert open_challenge(ENVELOPE, OWNERS, answered) == SECRET


def test_a_file_in_3des_cannot_be_read_by_challenges_that_are_made_of_it() -> None:
    """Whoever has it knows a block of it, the first mostly, and can make the padding of a challenge of that."""
    stage = Enveloping(suite=SUITES[3], recipients=[OURS.certificate], octets=32)
    info = cms.ContentInfo.load(stage.update(b"KNOWNHDRa secret of 24 octets ") + stage.update(b"..") + stage.finish())
    content = info["content"]["encrypted_content_info"]
    octets, algorithm = content["encrypted_content"].native, content["content_encryption_algorithm"]
    blocks = [octets[at : at + 8] for at in range(0, len(octets), 8)]
    known = _xor(b"KNOWNHDR", algorithm["parameters"].native)
    algorithm["parameters"] = core.OctetString(blocks[0])
    answered, read = Answered(), b""
    for block in blocks[1:4]:
        content["encrypted_content"] = block + _xor(known, b"????\4\4\4\4") + blocks[0]
        with suppress(ChallengeError):
            read += open_challenge(info.dump(force=True), OWNERS, answered)[:8]
        algorithm["parameters"] = core.OctetString(block)
    assert len(read) <= 8


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "not a CMS envelope"),
        (bytes(65_536), "65536 octets"),
        (os.urandom(100), "not a CMS envelope"),
        (cms.ContentInfo({"content_type": "data", "content": b"x"}).dump(), "not enveloped data"),
        (envelope(parameters=False), "not a CMS envelope that can be read"),
    ],
    ids=["nothing", "too long", "noise", "data", "without parameters"],
)
def test_what_is_no_envelope_is_refused(octets: bytes, text: str) -> None:
    with pytest.raises(ChallengeError, match=text):
        open_challenge(octets, OWNERS)


def test_an_unknown_cipher_is_named() -> None:
    info = cms.ContentInfo.load(ENVELOPE)
    algorithm = info["content"]["encrypted_content_info"]["content_encryption_algorithm"]
    algorithm["algorithm"] = "2.16.840.1.101.3.4.1.46"  # AES-256-GCM
    with pytest.raises(ChallengeError, match="encrypted with"):
        open_challenge(info.dump(force=True), OWNERS)


@given(st.binary(max_size=200))
@example(b"0\x80")
def test_arbitrary_octets_raise_nothing_but_a_challenge_error(octets: bytes) -> None:
    with pytest.raises(ChallengeError):
        open_challenge(octets, OWNERS)


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(0, 255))
def test_one_changed_octet_raises_nothing_but_a_challenge_error(position: int, value: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[position] = value
    with suppress(ChallengeError):
        open_challenge(bytes(changed), OWNERS)
