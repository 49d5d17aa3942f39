"""Encrypted files: made and opened by OpenSSL and by us, for several recipients, too weak, damaged, and for somebody else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms import ber
from oftp2.cms.decryption import HEAD, NoKeyError, content_info
from oftp2.cms.enveloped import Enveloping, Opening
from oftp2.cms.errors import CmsError, DecryptionError, PackageError
from oftp2.cms.identifiers import issuer_and_serial
from oftp2.cms.keys import Owner, SoftwareKey, rsa_key, wrap
from oftp2.cms.limits import Limits
from oftp2.cms.signed import Signing
from oftp2.cms.stage import chain
from oftp2.cms.suites import SUITES, CipherSuite, Digest, KeyTransport, Oaep
from tests import pki
from tests.oftp2.cms.layers import LENGTHS, cut, loosened, run
from tests.oftp2.cms.openssl import decrypted, encrypted, openssl

OURS, OTHER, THIRD = pki.certificate("CA01"), pki.certificate("CB01"), pki.certificate("CA04")
OWNER, STRANGER = (one.owner for one in (OURS, OTHER))
SIGNER = OTHER.signer
CONTENT = b"a file of which nobody else is to know anything " * 30
INNER = cms.ContentInfo({"content_type": "data", "content": CONTENT}).dump()
EVERY = pytest.mark.parametrize("suite", SUITES.values(), ids=str)


def enveloped(content: bytes = CONTENT, number: int = 4, **options: object) -> bytes:
    """Made by us, for us, unless it is said otherwise."""
    given = {"suite": SUITES[number], "recipients": [OURS.certificate], "octets": len(content), **options}
    return run(Enveloping(**given), content)  # type: ignore[arg-type]


def opened(octets: bytes, number: int | None = 4, owners: Sequence[Owner] = (OWNER,), **options: object) -> bytes:
    """Opened by us."""
    given = {"suite": number and SUITES[number], "limits": Limits(), **options}
    return run(Opening(owners, **given), octets)  # type: ignore[arg-type]


@pytest.mark.rfc("6.3", "10.2")
@EVERY
@pytest.mark.parametrize("octets", [len(CONTENT), None], ids=["DER", "BER"])
def test_openssl_opens_what_we_make(suite: CipherSuite, octets: int | None) -> None:
    made = enveloped(number=suite.number, octets=octets, recipients=[OTHER.certificate, OURS.certificate])
    assert decrypted(made, OURS) == CONTENT
    assert decrypted(made, OTHER) == CONTENT


@pytest.mark.rfc("6.3", "10.2")
@EVERY
@pytest.mark.parametrize("options", [(), ("-stream",), ("-keyid",)], ids=["DER", "BER", "key identifier"])
def test_we_open_what_openssl_makes(suite: CipherSuite, options: Sequence[str]) -> None:
    made = encrypted(CONTENT, suite, [OTHER, OURS], *options)
    assert opened(made, suite.number) == CONTENT


def test_indefinite_lengths_and_nested_octet_strings_are_read_wherever_they_are() -> None:
    for number in SUITES:
        assert opened(loosened(enveloped(number=number)), number) == CONTENT


@pytest.mark.parametrize("octets", [len(CONTENT), None], ids=["DER", "BER"])
def test_recipients_may_be_named_by_the_identifiers_of_their_keys(octets: int | None) -> None:
    made = enveloped(octets=octets, by_key_identifier=True)
    assert decrypted(made, OURS) == CONTENT
    assert opened(made) == CONTENT
    data = cms.ContentInfo.load(made)["content"]
    assert data["version"].native == "v2"
    assert data["recipient_infos"][0].chosen["rid"].name == "subject_key_identifier"


def test_a_recipient_whose_certificate_states_no_key_identifier_is_named_by_its_issuer() -> None:
    """What others would compute for it is anybody's guess."""
    subject, public = OURS.certificate.subject, OURS.key.public_key()
    bare = x509.CertificateBuilder(subject, subject, public, 3, pki.NOW, pki.NOW + timedelta(days=1))
    certificate = bare.sign(OURS.key, hashes.SHA256())
    for recipients, version, kinds in (
        ([certificate], "v0", {"issuer_and_serial_number"}),
        ([certificate, OTHER.certificate], "v2", {"issuer_and_serial_number", "subject_key_identifier"}),
    ):
        made = run(Enveloping(suite=SUITES[4], recipients=recipients, by_key_identifier=True), CONTENT)
        data = cms.ContentInfo.load(made)["content"]
        assert data["version"].native == version
        assert {info.chosen["rid"].name for info in data["recipient_infos"]} == kinds
        assert {info.chosen["version"].native for info in data["recipient_infos"]} <= {"v0", version}


def test_of_known_length_it_is_der() -> None:
    recipients = [one.certificate for one in (OURS, OTHER, THIRD)]
    enveloping = Enveloping(suite=SUITES[9], recipients=recipients, octets=len(CONTENT))
    made = run(enveloping, CONTENT)
    assert len(made) == enveloping.length
    info = cms.ContentInfo.load(made, strict=True)
    _ = info.native
    assert info.dump(force=True) == made
    assert info["content"]["version"].native == "v0"
    algorithm = info["content"]["recipient_infos"][0].chosen["key_encryption_algorithm"]
    assert algorithm["parameters"]["hash_algorithm"]["algorithm"].native == "sha512"
    assert Enveloping(suite=SUITES[9], recipients=recipients).length is None


@given(st.binary(max_size=1500), LENGTHS, LENGTHS, st.sampled_from([1, 4]), st.booleans())
def test_any_octets_in_any_pieces_come_back(
    content: bytes, one: list[int], other: list[int], number: int, known: bool
) -> None:
    octets = len(content) if known else None
    stage = Enveloping(suite=SUITES[number], recipients=[OURS.certificate], octets=octets)
    made = run(stage, cut(content, one))
    opening = Opening([STRANGER, OWNER], suite=SUITES[number], limits=Limits())
    assert run(opening, cut(made, other)) == content
    assert opening.owner is OWNER


@pytest.mark.parametrize("length", [1, 63, 100, 1000])
def test_what_comes_in_small_pieces_comes_out_piece_by_piece(length: int) -> None:
    pieces = list(chain([Opening([OWNER], suite=SUITES[4], limits=Limits())], cut(enveloped(), [length])))
    assert b"".join(pieces) == CONTENT
    assert max(len(piece) for piece in pieces) <= length + HEAD + 16


def test_each_file_has_its_own_key() -> None:
    assert enveloped()[-500:] != enveloped()[-500:]


@pytest.mark.parametrize("octets", [len(CONTENT) - 1, len(CONTENT) + 16])
def test_content_of_another_length_than_said_is_a_mistake_of_the_caller(octets: int) -> None:
    with pytest.raises(ValueError, match="octets"):
        enveloped(octets=octets)


def test_without_recipients_nothing_is_encrypted() -> None:
    with pytest.raises(ValueError, match="at least one recipient"):
        enveloped(recipients=[])


@pytest.mark.parametrize("number", [9, 10])
def test_a_key_that_is_too_short_for_the_suite_is_a_mistake_of_the_caller(number: int) -> None:
    short = pki.make(key=generate_private_key(65537, 1024))  # noqa: S505 - as short as a partner may have it
    with pytest.raises(ValueError, match=r"."):
        enveloped(number=number, recipients=[short.certificate])


# Which key


def test_a_key_that_is_not_named_opens_it_as_well() -> None:
    """A certificate was renewed with the same key, and the partner still has the former one."""
    renewed = Owner(pki.make(key=OURS.key).certificate, SoftwareKey(OURS.key))
    for number in (4, 8, 10):
        stage = Opening([renewed], suite=SUITES[number], limits=Limits())
        assert run(stage, enveloped(number=number)) == CONTENT
        assert stage.owner is renewed


class Guessing:
    """A key that unwraps everything to a key of the right length, as PKCS#1 v1.5 may by chance."""

    def unwrap(self, wrapped: bytes, transport: KeyTransport) -> bytes:  # noqa: ARG002
        return bytes(32)


GUESSING = Owner(OTHER.certificate, Guessing())


def test_a_key_that_unwraps_by_chance_is_not_taken_where_the_content_proves_another() -> None:
    renewed = Owner(pki.make(key=OURS.key).certificate, SoftwareKey(OURS.key))
    made = enveloped(INNER)
    assert opened(made, owners=[GUESSING, renewed], proof=content_info) == INNER
    with pytest.raises(NoKeyError):
        opened(made, owners=[GUESSING], proof=content_info)


def guessed(made: bytes) -> bool:
    """Whether what the wrong key makes of it ends like padding, as one in some 255 does."""
    try:
        opened(made, owners=[GUESSING])
    except DecryptionError:
        return False
    return True


def test_a_file_of_a_few_octets_proves_its_key_by_its_padding() -> None:
    renewed = Owner(pki.make(key=OURS.key).certificate, SoftwareKey(OURS.key))
    made = enveloped(b"x" * 60)
    while guessed(made):
        made = enveloped(b"x" * 60)
    outcomes = [opened(made, owners=[GUESSING, renewed]) for _ in range(3)]
    assert outcomes == [b"x" * 60] * 3


def test_an_owner_who_is_named_is_the_only_one_asked_for_a_plain_file() -> None:
    damaged = Owner(OURS.certificate, SoftwareKey(OTHER.key))
    with pytest.raises(NoKeyError):
        opened(enveloped(number=8), 8, owners=[GUESSING, damaged])


def test_an_owner_who_is_named_falsely_is_not_the_only_one_asked_where_the_content_proves_the_key() -> None:
    misnamed = Owner(OURS.certificate, SoftwareKey(OTHER.key))
    renewed = Owner(pki.make(key=OURS.key).certificate, SoftwareKey(OURS.key))
    assert opened(enveloped(INNER), owners=[misnamed, renewed], proof=content_info) == INNER


class Counting(SoftwareKey):
    """Says how often it is asked."""

    asked = 0

    def unwrap(self, wrapped: bytes, transport: KeyTransport) -> bytes:
        type(self).asked += 1
        return super().unwrap(wrapped, transport)


def test_the_named_key_is_tried_first_and_the_others_so_often_at_most() -> None:
    Counting.asked = 0
    recipients = [THIRD.certificate, OURS.certificate]
    owners = [Owner(OTHER.certificate, Counting(OTHER.key)), Owner(OURS.certificate, Counting(OURS.key))]
    made = enveloped(INNER, recipients=recipients)
    assert opened(made, owners=owners, proof=content_info) == INNER
    assert Counting.asked == 1
    Counting.asked = 0
    with pytest.raises(NoKeyError):
        opened(made, owners=owners[:1] * 50, proof=content_info, limits=Limits(unwrappings=7))
    assert Counting.asked == 7


@pytest.mark.parametrize("owners", [[], [STRANGER]], ids=["nobody", "somebody else"])
@pytest.mark.parametrize("number", [4, 8])
def test_without_the_key_it_stays_closed(owners: list[Owner], number: int) -> None:
    with pytest.raises(NoKeyError, match=r"^no key here opens the encrypted data$"):
        opened(enveloped(INNER, number=number), number, owners=owners, proof=content_info)


# Too weak


@pytest.mark.parametrize(
    ("made", "agreed", "text"),
    [
        (1, 2, "3DES, weaker than cipher suite 02"),
        (3, 4, "3DES, weaker than"),
        (4, 8, "PKCS#1 v1.5, which is not what cipher suite 08"),
        (8, 9, "OAEP with SHA-256 and MGF1 of SHA-256, which is not"),
    ],
)
def test_what_is_weaker_than_agreed_is_refused(made: int, agreed: int, text: str) -> None:
    with pytest.raises(DecryptionError, match=text):
        opened(enveloped(number=made), agreed)


@pytest.mark.parametrize(("made", "agreed"), [(2, 1), (9, 8), (10, 9), (9, 10), (8, 4), (8, None), (1, None)])
def test_what_is_stronger_than_agreed_is_taken(made: int, agreed: int | None) -> None:
    assert opened(enveloped(number=made), agreed) == CONTENT


def by_hand(
    *,
    transport: KeyTransport = KeyTransport(),  # noqa: B008 - frozen
    algorithm: object = None,
    cipher: object = None,
    content: bytes = CONTENT,
    key: bytes = bytes(32),
    recipients: Sequence[object] | None = None,
    padding: bytes | None = None,
    **changed: object,
) -> bytes:
    """By asn1crypto, with anything odd that is asked for."""
    encryptor = Cipher(AES(key), modes.CBC(bytes(16))).encryptor()
    missing = 16 - len(content) % 16
    padded = content + (bytes((missing,)) * missing if padding is None else padding)
    octets = encryptor.update(padded)
    ktri = cms.KeyTransRecipientInfo(
        {
            "version": "v0",
            "rid": cms.RecipientIdentifier("issuer_and_serial_number", issuer_and_serial(OURS.certificate)),
            "key_encryption_algorithm": algorithm or {"algorithm": "rsaes_pkcs1v15"},
            "encrypted_key": wrap(rsa_key(OURS.certificate), key, transport),
        }
    )
    data = {
        "version": "v0",
        "recipient_infos": [cms.RecipientInfo("ktri", ktri)] if recipients is None else recipients,
        "encrypted_content_info": {
            "content_type": "data",
            "content_encryption_algorithm": cipher
            or {"algorithm": f"aes{len(key) * 8}_cbc", "parameters": core.OctetString(bytes(16))},
            "encrypted_content": octets,
        },
        **changed,
    }
    made: bytes = cms.ContentInfo({"content_type": "enveloped_data", "content": cms.EnvelopedData(data)}).dump()
    return made


@pytest.mark.parametrize("length", [16, 24])
def test_aes_with_a_shorter_key_is_weaker_than_that_of_the_suites_and_stronger_than_3des(length: int) -> None:
    made = by_hand(key=bytes(length))
    with pytest.raises(DecryptionError, match=f"AES-{length * 8}, weaker than"):
        opened(made, 4)
    assert opened(made, 1) == CONTENT


OAEP_SHA1 = KeyTransport(Oaep(Digest.SHA1, Digest.SHA1))


def test_oaep_without_parameters_is_that_of_sha_1() -> None:
    made = by_hand(transport=OAEP_SHA1, algorithm={"algorithm": "rsaes_oaep"})
    assert opened(made, 4) == CONTENT
    for number in (8, 9, 10):
        with pytest.raises(DecryptionError, match="OAEP with SHA-1 and MGF1 of SHA-1, which is not"):
            opened(made, number)


@pytest.mark.parametrize("number", [8, 9])
def test_the_mask_of_oaep_may_be_made_with_the_sha_1_of_its_default(number: int) -> None:
    """As Java does for OAEPWithSHA-256AndMGF1Padding."""
    digest = SUITES[number].digest
    made = by_hand(
        transport=KeyTransport(Oaep(digest, Digest.SHA1)),
        algorithm=_oaep(
            hash_algorithm={"algorithm": digest.value},
            mask_gen_algorithm={"algorithm": "mgf1", "parameters": {"algorithm": "sha1"}},
        ),
    )
    assert opened(made, number) == CONTENT
    options = ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", f"rsa_oaep_md:{digest.value}"]
    command = ("cms", "-encrypt", "-binary", "-outform", "DER", "-aes256", "-recip", "ours.pem", *options)
    assert (
        opened(openssl(*command, "-keyopt", "rsa_mgf1_md:sha1", octets=CONTENT, ours_pem=OURS.pem), number) == CONTENT
    )


def _any(oid: str, parameters: core.Asn1Value) -> cms.KeyEncryptionAlgorithm:
    encoded = ber.element(ber.SEQUENCE, core.ObjectIdentifier(oid).dump(), parameters.dump())
    return cms.KeyEncryptionAlgorithm.load(encoded)


def _oaep(**changed: object) -> cms.KeyEncryptionAlgorithm:
    parameters = {
        "hash_algorithm": {"algorithm": "sha256"},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": "sha256"}},
        **changed,
    }
    return _any("1.2.840.113549.1.1.7", algos.RSAESOAEPParams(parameters))


@pytest.mark.parametrize(
    "algorithm",
    [
        {"algorithm": "aes256_wrap"},
        _oaep(p_source_algorithm={"algorithm": "p_specified", "parameters": b"label"}),
        _oaep(hash_algorithm={"algorithm": "md5"}),
        _oaep(mask_gen_algorithm={"algorithm": "mgf1", "parameters": {"algorithm": "md5"}}),
    ],
    ids=["no RSA", "label", "digest", "mask"],
)
def test_a_key_that_is_wrapped_in_an_unknown_way_is_told(algorithm: object) -> None:
    made = by_hand(algorithm=algorithm)
    with pytest.raises(DecryptionError, match="an unknown method, which is not what can be read"):
        opened(made, None)
    with pytest.raises(DecryptionError, match="asks for"):
        opened(made, 4)


def test_one_recipient_that_is_too_weak_does_not_spoil_another() -> None:
    weak = cms.ContentInfo.load(by_hand())["content"]["recipient_infos"][0]
    good = cms.ContentInfo.load(by_hand(transport=SUITES[8].transport, algorithm=_oaep()))["content"][
        "recipient_infos"
    ][0]
    assert opened(by_hand(recipients=[weak, good]), 8) == CONTENT


# Other structures


def _password() -> cms.RecipientInfo:
    return cms.RecipientInfo(
        "pwri",
        {
            "version": "v0",
            "key_encryption_algorithm": {"algorithm": "aes256_wrap"},
            "encrypted_key": bytes(40),
        },
    )


def test_recipients_of_another_kind_are_read_over() -> None:
    ktri = cms.ContentInfo.load(by_hand())["content"]["recipient_infos"][0]
    made = by_hand(recipients=[_password(), ktri, _password()], version="v3")
    assert opened(made) == opened(loosened(made)) == CONTENT
    with pytest.raises(NoKeyError):
        opened(by_hand(recipients=[_password()], version="v3"))


def test_what_stands_around_is_read_over() -> None:
    attribute = {"type": "1.2.3", "values": [core.Integer(7)]}
    made = by_hand(
        originator_info={"certs": [cms.CertificateChoices("certificate", cms.Certificate.load(OTHER.der))]},
        unprotected_attrs=[attribute],
        version="v2",
    )
    assert opened(made) == opened(loosened(made)) == CONTENT


def test_no_more_is_held_than_the_limit() -> None:
    made = by_hand(recipients=[_password()] * 30)
    with pytest.raises(DecryptionError, match="more than 29 recipients"):
        opened(made, limits=Limits(recipients=29))
    with pytest.raises(DecryptionError, match="cannot be read: an element has more than"):
        opened(made, limits=Limits(held=29 * len(_password().dump())))
    with pytest.raises(NoKeyError):
        opened(made, limits=Limits(recipients=30, held=30 * len(_password().dump())))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (INNER, "not enveloped data"),
        (b"\x30\x80" * 40, "cannot be read"),
        (by_hand(cipher={"algorithm": "aes256_gcm", "parameters": core.Null()}), "encrypted with aes256_gcm"),
        (by_hand(cipher={"algorithm": "rc2", "parameters": {"iv": bytes(8)}}), "encrypted with rc2"),
        (by_hand(cipher={"algorithm": "aes256_cbc"}), "no initialisation vector"),
        (by_hand(cipher={"algorithm": "aes256_cbc", "parameters": core.OctetString(bytes(8))}), "no initialisation"),
        (by_hand(cipher={"algorithm": "tripledes_3key", "parameters": core.OctetString(bytes(8))}), "3DES, weaker"),
        (by_hand(recipients=[cms.RecipientInfo("ktri", {"version": "v0"})][:0]), "no key here"),
    ],
    ids=["data", "nesting", "mode", "rc2", "no vector", "short vector", "3DES", "nobody"],
)
def test_another_structure_is_refused(octets: bytes, text: str) -> None:
    with pytest.raises(DecryptionError, match=text):
        opened(octets)


def test_a_structure_inside_that_is_no_content_info_is_told() -> None:
    """Some nest the layers by their types, as RFC 5652 would have it without RFC 5024 section 6.1."""
    made = run(Signing([SIGNER], SUITES[4], octets=len(CONTENT), at=pki.NOW), CONTENT)
    bare = cms.ContentInfo.load(made)["content"].untag().dump()
    info = cms.ContentInfo.load(by_hand(content=bare))
    info["content"]["encrypted_content_info"]["content_type"] = "signed_data"
    with pytest.raises(NoKeyError, match=r"no plain content \(id-data\), which it has to be$"):
        opened(info.dump(force=True), proof=content_info)
    info["content"]["encrypted_content_info"]["content_type"] = "data"
    with pytest.raises(NoKeyError, match=r"^no key here opens the encrypted data$"):
        opened(info.dump(force=True), proof=content_info)


def test_an_algorithm_and_a_recipient_that_are_none_are_refused() -> None:
    made = by_hand()
    vector = made.index(core.ObjectIdentifier("2.16.840.1.101.3.4.1.42").dump())
    broken = made[:vector] + b"\x02" + made[vector + 1 :]
    with pytest.raises(DecryptionError, match="there is no algorithm"):
        opened(broken)
    name = made.index(issuer_and_serial(OURS.certificate).dump())
    broken = made[:name] + b"\x31" + made[name + 1 :]
    with pytest.raises(DecryptionError, match="a recipient is not written"):
        opened(broken)


def test_octets_behind_the_layer_are_refused() -> None:
    for made in (enveloped(), enveloped(octets=None)):
        with pytest.raises(PackageError, match="octets follow"):
            opened(made + b"\x00")


# Damaged


@pytest.mark.parametrize(
    "padding", [b"", b"\x00" * 16, b"\x11" * 16, b"\x01\x02"], ids=["no", "zero", "long", "uneven"]
)
@pytest.mark.parametrize("content", [CONTENT[:32], CONTENT[:320]], ids=["short", "longer"])
def test_a_wrong_padding_looks_like_a_wrong_key(content: bytes, padding: bytes) -> None:
    broken = content + b"x" * 14 if len(padding) == 2 else content
    with pytest.raises(NoKeyError, match=r"^no key here opens the encrypted data$"):
        opened(by_hand(content=broken, padding=padding))


@pytest.mark.parametrize("length", [0, 1, 15, 17, 63, 65, 161])
def test_content_that_is_no_whole_number_of_blocks_looks_like_a_wrong_key(length: int) -> None:
    info = cms.ContentInfo.load(enveloped())
    content = info["content"]["encrypted_content_info"]["encrypted_content"].native
    info["content"]["encrypted_content_info"]["encrypted_content"] = content[:length]
    with pytest.raises(NoKeyError, match=r"^no key here opens the encrypted data$"):
        opened(info.dump(force=True))


MADE = enveloped(INNER[:500])


@given(st.integers(0, len(MADE) * 8 - 1))
def test_a_flipped_bit_raises_nothing_but_errors_of_cms(bit: int) -> None:
    changed = bytearray(MADE)
    changed[bit // 8] ^= 1 << bit % 8
    with suppress(CmsError):
        opened(bytes(changed))


@given(st.integers(0, len(MADE) - 1))
def test_a_file_that_breaks_off_is_refused(length: int) -> None:
    with pytest.raises(DecryptionError):
        opened(MADE[:length])


@given(st.binary(max_size=300))
def test_noise_raises_nothing_but_errors_of_cms(octets: bytes) -> None:
    with pytest.raises(CmsError):
        opened(octets)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8])
def test_a_layer_inside_proves_itself_in_whatever_way_its_length_is_written(size: int) -> None:
    oid = core.ObjectIdentifier("1.2.840.113549.1.7.2").dump()
    begin = b"\x30" + (bytes((0x80 | size,)) + b"\n" * size if size else b"\x80") + oid
    assert content_info(begin + b"...")
    assert content_info(b"\x30\x7f" + oid)
    assert not content_info(begin[:-1])
    assert not content_info(b"\x31" + begin[1:])
    assert not content_info(os.urandom(64))
