"""Signed files, made and verified by us and by OpenSSL."""

from __future__ import annotations

import subprocess
import tracemalloc
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import given, settings
from hypothesis import strategies as st

from oftp2.cms.ber import END, OCTET_STRING, SEQUENCE, SET, distinguished, element, header
from oftp2.cms.errors import PackageError, SignatureError
from oftp2.cms.keys import Signer
from oftp2.cms.limits import Limits
from oftp2.cms.signed import Signing, Verified, Verifying, sign, verify
from oftp2.cms.suites import SUITES, Digest, SignatureScheme
from tests import pki
from tests.oftp2.cms.layers import LENGTHS, cut, loosened, run

CONTENT = b"UNB+UNOA:3+5033'" * 30
AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
OURS, OTHER, THIRD = pki.certificate("CA11"), pki.certificate("CA01"), pki.certificate("CB01")


def signer(issued: pki.Issued) -> Signer:
    return issued.signer


def signing(number: int = 4, *issued: pki.Issued, octets: int | None = None, certificates: bool = False) -> Signing:
    signers = [signer(each) for each in issued or (OURS,)]
    return Signing(signers, SUITES[number], octets=octets, at=AT, certificates=certificates)


@cache
def message(number: int = 4, *, streamed: bool = False) -> bytes:
    return run(signing(number, octets=None if streamed else len(CONTENT)), CONTENT)


def verified(octets: bytes, *issued: pki.Issued, suite: int = 4, **options: Any) -> Verified:
    return verify(octets, [each.certificate for each in issued or (OURS,)], SUITES[suite], **options)


def refused(octets: bytes, text: str, *issued: pki.Issued, **options: Any) -> None:
    with pytest.raises(SignatureError, match=text):
        verified(octets, *issued, **options)


# Both ways with OpenSSL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    (folder / "content").write_bytes(CONTENT)
    for name, issued in {"ours": OURS, "other": OTHER}.items():
        (folder / f"{name}.pem").write_bytes(issued.key_pem + issued.pem)
        (folder / f"{name}.crt").write_bytes(issued.pem)
    return folder


def openssl(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    command = ["openssl", "cms", "-binary", *arguments]
    return subprocess.run(command, input=given, capture_output=True, cwd=folder, check=True).stdout


def signed_by_openssl(folder: Path, *how: str, signers: Sequence[str] = ("ours",)) -> bytes:
    who = [argument for name in signers for argument in ("-signer", f"{name}.pem")]
    return openssl(folder, "-sign", "-in", "content", "-outform", "DER", *who, *how)


@pytest.mark.rfc("6.2", "10.2")
@pytest.mark.parametrize("streamed", [False, True], ids=["DER", "BER"])
@pytest.mark.parametrize("number", SUITES)
def test_openssl_verifies_what_we_sign(folder: Path, number: int, streamed: bool) -> None:
    arguments = ["-verify", "-inform", "DER", "-noverify", "-nointern", "-certfile", "ours.crt"]
    assert openssl(folder, *arguments, given=message(number, streamed=streamed)) == CONTENT


@pytest.mark.rfc("6.2")
def test_openssl_verifies_several_signers_with_the_certificates_that_came_along(folder: Path) -> None:
    octets = run(signing(8, OURS, OTHER, octets=len(CONTENT), certificates=True), CONTENT)
    assert openssl(folder, "-verify", "-inform", "DER", "-noverify", given=octets) == CONTENT


WAYS = {
    "plain": ["-md", "sha256", "-nodetach"],
    "streamed": ["-md", "sha256", "-nodetach", "-stream"],
    "without certificate": ["-md", "sha256", "-nodetach", "-nocerts"],
    "by key identifier": ["-md", "sha256", "-nodetach", "-keyid"],
    "without attributes": ["-md", "sha256", "-nodetach", "-noattr"],
    "without attributes, streamed": ["-md", "sha256", "-nodetach", "-noattr", "-stream"],
    "signing certificate attribute": ["-md", "sha256", "-nodetach", "-cades"],
    "stronger digest": ["-md", "sha512", "-nodetach"],
    "SHA-3": ["-md", "sha3-512", "-nodetach"],
    "SHA-384": ["-md", "sha384", "-nodetach"],
    "PSS": ["-md", "sha256", "-nodetach", "-keyopt", "rsa_padding_mode:pss"],
    "PSS, short salt": [
        "-md",
        "sha256",
        "-nodetach",
        "-keyopt",
        "rsa_padding_mode:pss",
        "-keyopt",
        "rsa_pss_saltlen:8",
    ],
}


@pytest.mark.rfc("6.2")
@pytest.mark.interop(14)
@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_we_verify_what_openssl_signs(folder: Path, how: list[str]) -> None:
    octets = signed_by_openssl(folder, *how)
    found = verified(octets, OTHER, OURS)
    assert found.content == CONTENT
    assert [each.certificate for each in found.signatures] == [OURS.certificate]
    assert (found.signatures[0].signing_time is None) == ("-noattr" in how)
    if "-keyid" not in how:  # that is a string with an implicit tag, which cannot be told from other elements
        assert verified(loosened(distinguished(octets)), OURS).content == CONTENT


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (1, ["-md", "sha1"]),
        (2, ["-md", "sha1"]),
        (3, ["-md", "sha256"]),
        (5, ["-md", "sha512"]),
        (6, ["-md", "sha512", "-stream"]),
        (7, ["-md", "sha3-512"]),
        (8, ["-md", "sha256", "-keyopt", "rsa_padding_mode:pss"]),
        (9, ["-md", "sha512", "-keyopt", "rsa_padding_mode:pss"]),
    ],
)
def test_we_verify_what_openssl_signs_for_each_suite(folder: Path, number: int, how: list[str]) -> None:
    """All but suite 10: OpenSSL 3.0 verifies PSS with SHA-3 and cannot make it."""
    octets = signed_by_openssl(folder, "-nodetach", *how)
    found = verified(octets, suite=number)
    assert found.content == CONTENT
    assert found.signatures[0].digest is SUITES[number].digest


def test_a_signature_apart_from_its_content_is_verified_with_the_content_at_hand(folder: Path) -> None:
    octets = signed_by_openssl(folder, "-md", "sha256")
    assert verified(octets, content=CONTENT).content == CONTENT
    refused(octets, "another content", content=CONTENT + b"x")
    refused(octets, "hold no content")


def test_a_content_at_hand_has_to_be_the_one_inside() -> None:
    assert verified(message(), content=CONTENT).content == CONTENT
    refused(message(), "over another content", content=b"")


@pytest.mark.rfc("6.2")
def test_of_several_signers_those_we_know_count(folder: Path) -> None:
    octets = signed_by_openssl(folder, "-nodetach", "-md", "sha256", signers=("ours", "other"))
    both = verified(octets, OURS, OTHER)
    assert {each.fingerprint for each in both.signatures} == {OURS.fingerprint, OTHER.fingerprint}
    assert both.ignored == ()
    one = verified(octets, OTHER, THIRD)
    assert [each.fingerprint for each in one.signatures] == [OTHER.fingerprint]
    assert len(one.ignored) == 1
    assert f"{OURS.certificate.serial_number:x}" in one.ignored[0]
    refused(octets, "is not valid, or was made with a key whose certificate is not known here", THIRD)


@pytest.mark.parametrize(
    ("number", "how", "text"),
    [
        (4, ["-md", "sha1"], "weaker than cipher suite 04"),
        (6, ["-md", "sha256"], "weaker than cipher suite 06"),
        (8, ["-md", "sha256"], "weaker than cipher suite 08"),
        (4, ["-md", "md5"], "uses the digest md5"),
        (4, ["-md", "sha256", "-econtent_type", "1.2.3"], "no plain content"),
    ],
)
def test_what_is_weaker_or_other_than_agreed_is_refused(folder: Path, number: int, how: list[str], text: str) -> None:
    refused(signed_by_openssl(folder, "-nodetach", *how), text, suite=number)


@pytest.mark.parametrize("mask", ["sha1", "sha256", "sha512"])
def test_the_mask_of_pss_may_be_of_another_digest(folder: Path, mask: str) -> None:
    how = ["-md", "sha256", "-keyopt", "rsa_padding_mode:pss", "-keyopt", f"rsa_mgf1_md:{mask}"]
    assert verified(signed_by_openssl(folder, "-nodetach", *how), suite=8).content == CONTENT


# What we write


@given(number=st.sampled_from(list(SUITES)), lengths=LENGTHS, streamed=st.booleans())
def test_what_we_sign_is_verified_whatever_the_pieces(number: int, lengths: list[int], streamed: bool) -> None:
    octets = run(signing(number, octets=None if streamed else len(CONTENT)), cut(CONTENT, lengths))
    stage = Verifying([OTHER.certificate, OURS.certificate], SUITES[number])
    assert run(stage, cut(octets, lengths)) == CONTENT
    (found,) = stage.signatures
    assert (found.certificate, found.fingerprint) == (OURS.certificate, OURS.fingerprint)
    assert (found.signing_time, found.digest, stage.ignored) == (AT, SUITES[number].digest, ())


def test_with_a_known_length_it_is_der_and_without_it_is_the_same_in_ber() -> None:
    der, ber = message(), message(streamed=True)
    assert der == distinguished(der) == distinguished(ber)
    assert ber.startswith(header(SEQUENCE, None))
    assert cms.ContentInfo.load(der, strict=True)["content"]["encap_content_info"]["content"].native == CONTENT


@pytest.mark.parametrize("octets", [0, 1, 100, 127, 128, 255, 256, 65_535, 65_536, 70_000])
def test_lengths_are_right_for_any_content(octets: int) -> None:
    made = run(signing(octets=octets), [bytes(octets)])
    assert made == distinguished(made)
    assert verified(made).content == bytes(octets)


def test_nothing_but_the_signer_is_named_unless_the_certificate_is_wished_for() -> None:
    bare = cms.ContentInfo.load(message())["content"]
    assert (bare["version"].native, bare["certificates"].native) == ("v1", None)
    (info,) = bare["signer_infos"]
    assert info["version"].native == "v1"
    assert info["sid"].chosen["serial_number"].native == OURS.certificate.serial_number
    full = cms.ContentInfo.load(run(signing(4, OURS, OTHER, OURS, octets=0, certificates=True), b""))["content"]
    assert {each.chosen.dump() for each in full["certificates"]} == {OURS.der, OTHER.der}
    assert len(full["signer_infos"]) == 3


@pytest.mark.parametrize(("year", "kind"), [(2026, "utc_time"), (2049, "utc_time"), (2050, "generalized_time")])
def test_the_signing_time_is_written_as_its_year_wants_it(year: int, kind: str) -> None:
    at = datetime(year, 12, 31, 23, 59, 59, 999, tzinfo=timezone(timedelta(hours=-1)))
    octets = sign(CONTENT, [signer(OURS)], SUITES[4], at=at)
    (info,) = cms.ContentInfo.load(octets)["content"]["signer_infos"]
    assert [each["values"][0].name for each in info["signed_attrs"] if each["type"].native == "signing_time"] == [
        kind if at.astimezone(UTC).year < 2050 else "generalized_time"
    ]
    assert verified(octets).signatures[0].signing_time == at.replace(microsecond=0)


def test_what_cannot_be_signed_is_said() -> None:
    with pytest.raises(ValueError, match="nobody to sign"):
        Signing([], SUITES[4], octets=1, at=AT)
    with pytest.raises(ValueError, match="no time zone"):
        Signing([signer(OURS)], SUITES[4], octets=1, at=AT.replace(tzinfo=None))
    with pytest.raises(ValueError, match="2 octets less"):
        run(signing(octets=3), b"x")

    class Token:
        def sign(self, digest: bytes, scheme: SignatureScheme) -> bytes:
            return digest + scheme.digest.value.encode()

    with pytest.raises(ValueError, match="of another length"):
        sign(b"", [Signer(OURS.certificate, Token())], SUITES[4], at=AT)


def test_neither_signing_nor_verifying_holds_the_content() -> None:
    piece, pieces = bytes(1 << 20), 48
    tracemalloc.start()
    for octets in (None, pieces << 20):
        stage = Verifying([OURS.certificate], SUITES[4])
        for out in map(stage.update, map_through(signing(octets=octets), repeat(piece, pieces))):
            assert len(out) <= 2 << 20
        stage.finish()
        assert stage.signatures
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def map_through(stage: Signing, pieces: Iterable[bytes]) -> Iterable[bytes]:
    yield from map(stage.update, pieces)
    yield stage.finish()


# Signatures that others might make


def attribute(name: str, *values: core.Asn1Value) -> bytes:
    """A signed attribute with any values."""
    made: bytes = element(SEQUENCE, cms.CMSAttributeType(name).dump(), element(SET, *(each.dump() for each in values)))
    return made


def usual(content: bytes = CONTENT, digest: Digest = Digest.SHA256) -> list[bytes]:
    return [
        attribute("content_type", cms.ContentType("data")),
        attribute("message_digest", core.OctetString(digest.of(content))),
    ]


def signer_info(
    attributes: list[bytes] | None,
    *,
    issued: pki.Issued = OURS,
    over: bytes | None = None,
    digest: str = "sha256",
    algorithm: algos.SignedDigestAlgorithm | None = None,
    pad: padding.AsymmetricPadding | None = None,
    raw: bytes | None = None,
    issuer: bytes | None = None,
) -> bytes:
    """A SignerInfo of any kind. ``over``: what is signed when it is not the attributes in just this encoding."""
    hashed = Digest(digest)
    if over is None:
        over = CONTENT if attributes is None else element(SET, *attributes)
    if raw is None:
        raw = issued.key.sign(hashed.of(over), pad or padding.PKCS1v15(), Prehashed(hashed.algorithm))
    if issuer is None:
        issuer = cms.Certificate.load(issued.der).issuer.dump()
    identifier = element(SEQUENCE, issuer, core.Integer(issued.certificate.serial_number).dump())
    return element(
        SEQUENCE,
        b"\x02\x01\x01",
        identifier,
        algos.DigestAlgorithm({"algorithm": digest}).dump(),
        b"" if attributes is None else element(0xA0, *attributes),
        (algorithm or algos.SignedDigestAlgorithm({"algorithm": "rsassa_pkcs1v15"})).dump(),
        element(OCTET_STRING, raw),
    )


def signed_data(
    *infos: bytes, content: bytes | None = CONTENT, digests: Sequence[str] = ("sha256",), certificates: bytes = b""
) -> bytes:
    """A ContentInfo of any kind."""
    named = (algos.DigestAlgorithm({"algorithm": digest}).dump() for digest in digests)
    inside = b"" if content is None else element(0xA0, element(OCTET_STRING, content))
    data = element(
        SEQUENCE,
        b"\x02\x01\x01",
        element(SET, *named),
        element(SEQUENCE, cms.ContentType("data").dump(), inside),
        certificates,
        element(SET, *infos),
    )
    return element(SEQUENCE, cms.ContentType("signed_data").dump(), element(0xA0, data))


def with_algorithm(identifier: str, parameters: core.Asn1Value | None = None) -> algos.SignedDigestAlgorithm:
    extra = {"parameters": parameters} if parameters else {}
    return algos.SignedDigestAlgorithm({"algorithm": identifier, **extra})


def masked(digest: str) -> dict[str, Any]:
    return {"algorithm": "mgf1", "parameters": algos.DigestAlgorithm({"algorithm": digest})}


def pss(salt: int = 32, **changed: Any) -> algos.SignedDigestAlgorithm:
    sha256 = {"algorithm": "sha256"}
    parameters = {
        "hash_algorithm": sha256,
        "mask_gen_algorithm": masked("sha256"),
        "salt_length": salt,
        **changed,
    }
    return with_algorithm("rsassa_pss", algos.RSASSAPSSParams(parameters))


def test_attributes_are_verified_as_received_and_as_der_has_them() -> None:
    usually = usual()
    sorted_set = element(SET, *sorted(usually))
    backwards = sorted(usually, reverse=True)
    assert verified(signed_data(signer_info(backwards))).content == CONTENT
    assert verified(signed_data(signer_info(backwards, over=sorted_set))).content == CONTENT
    refused(signed_data(signer_info(backwards, over=sorted_set + b"x")), "not valid")


@pytest.mark.parametrize("filling", range(40, 60))
def test_attributes_of_any_length_are_verified_as_received(filling: int) -> None:
    """One of these sets has 128 octets, whose length ends with the octet that means indefinite elsewhere."""
    attributes = [*usual(), attribute("1.2.3", core.OctetString(bytes(filling)))]
    assert verified(signed_data(signer_info(sorted(attributes, reverse=True)))).content == CONTENT


@pytest.mark.parametrize(
    ("identifier", "digest"),
    [
        ("sha256_rsa", "sha256"),
        ("sha384_rsa", "sha384"),
        ("sha512_rsa", "sha512"),
        ("2.16.840.1.101.3.4.3.14", "sha3_256"),
        ("2.16.840.1.101.3.4.3.15", "sha3_384"),
        ("2.16.840.1.101.3.4.3.16", "sha3_512"),
    ],
)
def test_the_algorithm_may_name_the_digest_too(identifier: str, digest: str) -> None:
    attributes = usual(digest=Digest(digest))
    info = signer_info(attributes, digest=digest, algorithm=with_algorithm(identifier))
    assert verified(signed_data(info, digests=[digest])).signatures[0].digest is Digest(digest)


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        (with_algorithm("sha512_rsa"), "algorithm that does not fit its digest"),
        (with_algorithm("sha256_ecdsa"), "uses the algorithm 1.2.840.10045.4.3.2"),
        (with_algorithm("rsassa_pss"), "parameters of PSS that do not fit"),
        (pss(hash_algorithm={"algorithm": "sha1"}), "parameters of PSS that do not fit"),
        (pss(salt=-1), "parameters of PSS that do not fit"),
        (pss(salt=1 << 40), "parameters of PSS that do not fit"),
        (pss(salt=2000), "not valid"),
        (pss(trailer_field=2), "parameters of PSS that do not fit"),
        (pss(mask_gen_algorithm=masked("md5")), "parameters of PSS that do not fit"),
        (pss(mask_gen_algorithm=masked("sha512")), "not valid"),
        (pss(), "not valid"),
    ],
)
def test_algorithms_that_are_unknown_or_do_not_fit_are_refused(
    algorithm: algos.SignedDigestAlgorithm, text: str
) -> None:
    refused(signed_data(signer_info(usual(), algorithm=algorithm)), text)


@pytest.mark.parametrize("salt", [0, 20, 32, 100])
def test_the_salt_of_pss_is_as_long_as_it_says(salt: int) -> None:
    digest = Digest.SHA256.algorithm
    pad = padding.PSS(padding.MGF1(digest), salt)
    assert verified(signed_data(signer_info(usual(), algorithm=pss(salt), pad=pad)), suite=8).content == CONTENT
    refused(signed_data(signer_info(usual(), algorithm=pss(salt + 1), pad=pad)), "not valid", suite=8)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ([], "over another type of content"),
        (usual()[:1], "over another content"),
        (usual()[1:], "over another type of content"),
        ([attribute("content_type", cms.ContentType("signed_data")), usual()[1]], "another type"),
        (usual(b"other"), "over another content"),
        ([*usual(), usual()[0]], "not as RFC 5652 has it"),
        ([*usual(b"other")[1:], *usual()], "not as RFC 5652 has it"),
        ([usual()[0], attribute("message_digest")], "not as RFC 5652 has it"),
        ([usual()[0], attribute("message_digest", *[core.OctetString(b"")] * 2)], "not as RFC 5652 has it"),
        ([*usual(), *[attribute("1.2.3", core.Null())] * 63], "not as RFC 5652 has it"),
        ([*usual(), attribute("signing_time", core.Integer(1))], "not as RFC 5652 has it"),
        ([core.Integer(1).dump()], "not as RFC 5652 has it"),
    ],
)
def test_attributes_that_do_not_vouch_for_the_content_are_refused(attributes: list[bytes], text: str) -> None:
    refused(signed_data(signer_info(attributes)), text)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (core.UTCTime(AT), AT),
        (core.GeneralizedTime(AT), AT),
        (core.GeneralizedTime.load(b"\x18\x0e20260203040506"), AT),
        (core.UTCTime.load(b"\x17\x11260203050506+0100"), AT),
        (core.UTCTime.load(b"\x17\x01?"), None),
        (core.GeneralizedTime.load(b"\x18\x0f00000203040506Z"), None),
    ],
    ids=["UTC", "generalized", "local", "with zone", "none", "year 0"],
)
def test_the_signing_time_is_read_where_it_can_be(time: core.Asn1Value, expected: datetime | None) -> None:
    (found,) = verified(signed_data(signer_info([*usual(), attribute("signing_time", time)]))).signatures
    assert found.signing_time == expected


def test_attributes_that_were_signed_are_never_taken_for_a_content() -> None:
    """The signature over the attributes of a true message is one over their octets too: without attributes of its own."""
    attributes = usual()
    forged = element(SET, *attributes)
    info = signer_info(None, over=forged)
    refused(signed_data(info, content=forged), "over a content that itself looks like some")
    for start, length in ((b"\x31\x81", bytes((len(forged) - 2,))), (b"\x31", b"\x80")):
        spelled = start + length + forged[2:]
        refused(signed_data(signer_info(None, over=spelled), content=spelled), "itself looks like some")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1",
        b"1\x01",
        b"1\x02\x30\x00\x30\x00",
        b"1\x020",
        b"1\x0400\x30\x30",
        b"\x30\x04\x30\x02\x06\x00",
        b"1\x04\x30\x02\x06\x00, and more",
        b"1\x04\x30\x02\x05\x00",
        b"1\x04\x31\x02\x06\x00",
        b"1\x7f\x1f\x1f",
        b"1\x02\x1f\x00",
        b"1\x020\x00",
    ],
)
def test_other_contents_may_be_signed_without_attributes(content: bytes) -> None:
    assert verified(signed_data(signer_info(None, over=content), content=content)).content == content


def test_a_signature_that_names_one_of_our_certificates_has_to_be_valid() -> None:
    good, bad = signer_info(usual()), signer_info(usual(), over=b"other", issued=OTHER)
    octets = signed_data(good, bad)
    found = verified(octets, OURS)
    assert [each.certificate for each in found.signatures] == [OURS.certificate]
    assert "is not valid" in found.ignored[0]
    refused(octets, f"{OTHER.certificate.serial_number:x}.*is not valid", OURS, OTHER)


def test_an_issuer_may_be_written_in_another_type_of_string() -> None:
    written = cms.Certificate.load(OURS.der).issuer.dump()
    printable = written.replace(b"\x0c", b"\x13").upper()
    assert printable != written
    assert verified(signed_data(signer_info(usual(), issuer=printable))).content == CONTENT
    bad = signer_info(usual(), over=b"other", issuer=printable)
    refused(signed_data(signer_info(usual(), issued=OTHER), bad), "is not valid", OURS, OTHER)


@pytest.mark.parametrize(
    "issuer",
    [
        element(SEQUENCE),
        element(SEQUENCE, *[element(SET, element(SEQUENCE, b"\x06\x03\x55\x04\x03", element(0x0C, b"a")))] * 500),
        element(SEQUENCE, element(SET, element(SEQUENCE, b"\x06\x03\x55\x04\x03", element(0x0C, "\ufffd".encode())))),
    ],
    ids=["empty", "long", "with a character that no name has"],
)
def test_a_signer_whose_name_says_nothing_is_tried_with_every_certificate(issuer: bytes) -> None:
    assert verified(signed_data(signer_info(usual(), issuer=issuer)), OTHER, OURS).content == CONTENT


@pytest.mark.interop(14)
def test_a_certificate_that_is_not_named_is_tried_as_well() -> None:
    """A renewed certificate with the same key: the signature still names the former one."""
    renewed = pki.make(key=OURS.key)
    assert verified(message(), OTHER, renewed).signatures[0].certificate == renewed.certificate


def test_a_certificate_inside_is_never_trusted() -> None:
    octets = run(signing(octets=len(CONTENT), certificates=True), CONTENT)
    refused(octets, "made with a key whose certificate is not known here", OTHER)
    with pytest.raises(SignatureError, match="whose certificate is not known here"):
        verify(octets, [], SUITES[4])


def test_a_certificate_without_an_rsa_key_verifies_nothing() -> None:
    curve = pki.make(key=ec.generate_private_key(ec.SECP256R1()), issuer=pki.issuing("A"))
    assert verified(message(), curve, OURS).signatures[0].certificate == OURS.certificate
    refused(message(), "whose certificate is not known here", curve)


@pytest.mark.parametrize("octets", [0, 20, 255, 257])
def test_a_signature_of_another_length_than_its_key_is_not_valid(octets: int) -> None:
    refused(signed_data(signer_info(usual(), raw=b"\x01" * octets)), "not valid")


def test_digests_that_are_unknown_weak_or_many_do_no_harm() -> None:
    every = [digest.value for digest in Digest]
    info = signer_info(usual())
    assert verified(signed_data(info, digests=["md5", "1.2.3.4", *every, *every])).content == CONTENT
    assert verified(signed_data(info, digests=[])).content == CONTENT
    late = signer_info(usual(digest=Digest.SHA512), digest="sha512")
    refused(signed_data(late, digests=[]), "uses SHA-512, which the signed data do not announce")


def test_signers_are_told_without_what_cannot_be_printed_and_cut() -> None:
    """Names come from anyone, and go into texts for people and partners."""
    kinds = (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME, x509.NameOID.LOCALITY_NAME)
    name = x509.Name([x509.NameAttribute(kind, "evil\n\x1b[2J" + "ä" * 27) for kind in kinds])
    stranger = pki.make(subject=name)
    with pytest.raises(SignatureError) as caught:
        verified(signed_data(signer_info(usual(), issued=stranger)))
    assert str(caught.value).isprintable()
    assert "evil??[2J" in str(caught.value)
    assert len(str(caught.value).encode()) < 350


def test_an_issuer_that_would_take_much_memory_to_say_is_not_spelt_out() -> None:
    """A bit string comes out of the parser as one number for each bit."""
    bits = element(SEQUENCE, element(0x06, b"\x2a\x03"), element(0x03, b"\x00" + bytes(900_000)))
    octets = signed_data(signer_info(usual(), issuer=element(SEQUENCE, element(SET, bits))))
    tracemalloc.start()
    refused(octets, "of an issuer with a very long name", OTHER)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


# Anything from anyone


def test_what_is_no_signed_data_is_refused() -> None:
    data = cms.ContentInfo({"content_type": "data", "content": CONTENT}).dump()
    refused(data, "no signed data")
    refused(b"", "breaks off")
    refused(CONTENT, "cannot be read")
    refused(signed_data(), "hold no signature")
    refused(signed_data(element(SEQUENCE)), "not as RFC 5652 has it")
    refused(signed_data(element(SEQUENCE, b"\x02\x01\x01")), "not as RFC 5652 has it")


def test_octets_behind_it_are_refused() -> None:
    for octets in (message(), message(streamed=True)):
        with pytest.raises(PackageError, match="octets follow"):
            run(Verifying([OURS.certificate], SUITES[4]), octets + b"\x00")
        refused(octets + b"\x00", "octets follow")


@given(st.integers(0, len(message()) - 1), st.booleans())
def test_what_breaks_off_is_refused(kept: int, streamed: bool) -> None:
    refused(message(streamed=streamed)[:kept], "breaks off")


def test_a_stage_that_refused_does_not_verify_in_the_end() -> None:
    stage = Verifying([OURS.certificate], SUITES[4])
    with pytest.raises(SignatureError):
        stage.update(b"?" * 20)
    with pytest.raises(SignatureError):
        stage.finish()
    assert stage.signatures == ()


def test_hostile_messages_cost_little() -> None:
    info = signer_info(usual())
    without = loosened(signed_data())
    endless_set = without[: -4 * len(END)]  # where the signatures begin and no length says where they end
    stage = Verifying([OURS.certificate], SUITES[4])
    tracemalloc.start()
    with pytest.raises(SignatureError, match="more than 16 signatures"):
        run(stage, [endless_set, *repeat(info, 100_000)])
    refused(signed_data(*[info] * 17), "more than 16 signatures")
    refused(signed_data(info, digests=["sha256"] * 17), "nothing more belongs")
    certificates = element(0xA0, *[OURS.der] * 2000)
    refused(signed_data(info, certificates=certificates), "more than [0-9]+ octets")
    revocations = element(0xA1, element(SEQUENCE, bytes(2 << 20)))
    refused(signed_data(info, certificates=revocations), "more than [0-9]+ octets")
    refused(signed_data(element(SEQUENCE, bytes(2 << 20))), "more than [0-9]+ octets")
    refused(signed_data(b"\x30\x80" * 200_000), "longer than|inside each other")
    refused(header(SEQUENCE, None) * 100_000, "30 stands|cannot be read")
    refused(signed_data(info)[:-1], "breaks off")
    refused(signed_data(info).replace(element(SET, info), element(SET, info[:-1])), "longer than the one around")
    streamed = message(streamed=True)
    endless = Verifying([OURS.certificate], SUITES[4])
    endless.update(streamed[: streamed.index(header(0x24, None))])
    with pytest.raises(SignatureError, match="inside each other"):
        run(endless, repeat(header(0x24, None), 100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_limits_are_those_that_were_given() -> None:
    octets = run(signing(4, OURS, OTHER, octets=len(CONTENT)), CONTENT)
    refused(octets, "more than 1 signatures", limits=Limits(signers=1))
    refused(octets, "more than [0-9]+ octets", limits=Limits(held=600))
    refused(octets, "inside each other", limits=Limits(depth=6))


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


MESSAGES = {
    "DER": message(),
    "BER": message(streamed=True),
    "PSS": message(8),
    "loosened": loosened(message()),
    "with certificate": run(signing(octets=len(CONTENT), certificates=True), CONTENT),
    "two signers": run(signing(4, OURS, THIRD, octets=len(CONTENT)), CONTENT),
    "without attributes": signed_data(signer_info(None)),
}


def bear(name: str, bit: int) -> None:
    """Flip a bit of a message: it is refused, or the same comes out.

    CMS leaves unprotected: versions, who the signer is said to be, certificates that came along, parameters of
    algorithms, digests that are announced and not used, how lengths and segments are encoded, and the signatures of
    those whom we do not know. The content, its type and the signing time are protected.
    """
    try:
        found = verified(flipped(MESSAGES[name], bit), suite=8 if name == "PSS" else 4)
    except SignatureError:
        return
    assert found.content == CONTENT
    assert [each.certificate for each in found.signatures] == [OURS.certificate]
    assert found.signatures[0].signing_time == (None if name == "without attributes" else AT)


@pytest.mark.parametrize("name", ["BER", "PSS"])
def test_a_change_of_any_octet_is_refused_or_changes_nothing_that_counts(name: str) -> None:
    for bit in range(0, len(MESSAGES[name]) * 8, 8):
        bear(name, bit)


@settings(max_examples=300)
@given(name=st.sampled_from(list(MESSAGES)), data=st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing_that_counts(name: str, data: st.DataObject) -> None:
    bear(name, data.draw(st.integers(0, len(MESSAGES[name]) * 8 - 1)))


@given(st.integers(0, len(CONTENT) * 8 - 1), st.sampled_from(["DER", "with certificate", "without attributes"]))
def test_a_flipped_bit_in_the_content_is_always_refused(bit: int, name: str) -> None:
    start = MESSAGES[name].index(CONTENT)
    refused(flipped(MESSAGES[name], start * 8 + bit), "over another content|not valid")


@pytest.mark.parametrize("number", SUITES)
def test_a_change_of_any_octet_that_a_signature_protects_is_always_refused(number: int) -> None:
    """The signed attributes in their entirety, and the signature itself; in each octet another bit."""
    octets = message(number)
    (info,) = cms.ContentInfo.load(octets)["content"]["signer_infos"]
    for protected in (info["signed_attrs"].contents, info["signature"].native):
        start = octets.index(protected)
        for at in range(start, start + len(protected)):
            refused(flipped(octets, at * 8 + at % 8), r"signature|signed data", suite=number)


@given(st.binary(max_size=200), st.integers(0, len(message()) - 1))
def test_arbitrary_octets_raise_nothing_but_an_error_of_the_message(octets: bytes, at: int) -> None:
    for changed in (octets, message()[:at] + octets + message()[at + len(octets) :], message()[:at] + octets):
        try:
            assert verified(changed).content == CONTENT
        except SignatureError as error:
            assert str(error).isprintable()  # noqa: PT017 - it may as well be accepted
        else:
            assert CONTENT in changed
