"""Whole secured files: every combination of services, with OpenSSL, zlib and asn1crypto as the partner, altered and cut off."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import product, repeat

import pytest
from asn1crypto import cms
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from oftp2.cms.compressed import PART, Compressing
from oftp2.cms.enveloped import Enveloping
from oftp2.cms.errors import CmsError, DecompressionError, DecryptionError, PackageError, SignatureError
from oftp2.cms.limits import Limits
from oftp2.cms.package import Opened, Services, Unpacking, pack, unpack
from oftp2.cms.stage import chain
from oftp2.cms.suites import SUITES, CipherSuite
from oftp2.values import SecurityLevel
from tests import pki
from tests.oftp2.cms import openssl
from tests.oftp2.cms.layers import LENGTHS, compressed_data, cut, damaged, loosened, run

OURS, THEIRS, OTHER = pki.certificate("CA01"), pki.certificate("CB01"), pki.certificate("CA04")
OWNER = OURS.owner
STRANGER = OTHER.owner
SIGNER = THEIRS.signer
CONTENT = b"UNB+UNOA:1+THEIRS+OURS+260101:1200+1'UNH+1+ORDERS:D:95B:UN'" * 12
ALL = Services(sign=True, compress=True, encrypt=True)
EVERY = [Services(*flags) for flags in product([False, True], repeat=3)]
SECURED = EVERY[1:]
SUITE = SUITES[6]


def packed(
    services: Services = ALL,
    content: bytes = CONTENT,
    *,
    suite: CipherSuite = SUITE,
    known: bool = True,
    lengths: Sequence[int] = (1 << 20,),
    by_key_identifier: bool = False,
) -> bytes:
    stages = pack(
        suite=suite,
        signers=[SIGNER] if services.sign else [],
        compress=services.compress,
        recipients=[OTHER.certificate, OURS.certificate] if services.encrypt else [],
        octets=len(content) if known else None,
        at=pki.NOW,
        by_key_identifier=by_key_identifier,
    )
    return run(stages, cut(content, lengths))


def unpacking(services: Services = ALL, *, suite: CipherSuite = SUITE, **options: object) -> Unpacking:
    given = {"owners": [OWNER], "certificates": [OTHER.certificate, THEIRS.certificate], **options}
    return unpack(services, suite=suite, **given)  # type: ignore[arg-type]


def unpacked(octets: bytes, services: Services = ALL, **options: object) -> bytes:
    return run(unpacking(services, **options).stages, octets)  # type: ignore[arg-type]


@pytest.mark.rfc("5.3.3", "6.1")
@pytest.mark.parametrize(
    ("security", "compression", "services"),
    [
        (SecurityLevel.NONE, 0, Services()),
        (SecurityLevel.NONE, 1, Services(compress=True)),
        (SecurityLevel.ENCRYPTED, 0, Services(encrypt=True)),
        (SecurityLevel.SIGNED, 0, Services(sign=True)),
        (SecurityLevel.SIGNED, 1, Services(sign=True, compress=True)),
        (SecurityLevel.ENCRYPTED_AND_SIGNED, 1, ALL),
    ],
)
def test_sfid_says_which_services_there_are(security: SecurityLevel, compression: int, services: Services) -> None:
    assert Services.of(security, compression) == services


@pytest.mark.rfc("6.1")
@given(
    services=st.sampled_from(SECURED),
    content=st.binary(max_size=2000),
    one=LENGTHS,
    other=LENGTHS,
    known=st.booleans(),
    named=st.booleans(),
)
def test_any_octets_come_back_through_any_services_in_any_pieces(
    *, services: Services, content: bytes, one: list[int], other: list[int], known: bool, named: bool
) -> None:
    octets = packed(services, content, known=known, lengths=one, by_key_identifier=named)
    opening = unpacking(services)
    assert run(opening.stages, cut(octets, other)) == content
    opened = opening.opened
    assert [signature.fingerprint for signature in opened.signatures] == [THEIRS.fingerprint] * services.sign
    assert opened.recipient == (OURS.fingerprint if services.encrypt else None)
    assert opened.ignored == ()


@pytest.mark.parametrize(
    "services", [Services(sign=True), Services(encrypt=True), Services(True, False, True)], ids=str
)
def test_a_file_of_known_length_is_der_in_every_layer(services: Services) -> None:
    octets = packed(services)
    if services.encrypt:
        assert cms.ContentInfo.load(octets, strict=True).dump(force=True) == octets
        octets = openssl.decrypted(octets, OURS)
    if services.sign:
        assert cms.ContentInfo.load(octets, strict=True).dump(force=True) == octets


def test_without_services_nothing_is_done() -> None:
    assert pack(suite=SUITE, octets=None, at=pki.NOW) == []


@pytest.mark.rfc("5.3.3", "6.1")
@pytest.mark.parametrize("encode", [bytes, loosened], ids=["DER", "BER"])
def test_an_envelope_without_services_holds_plain_data(encode: type[bytes]) -> None:
    octets = encode(cms.ContentInfo({"content_type": "data", "content": CONTENT}).dump())
    for lengths in ([1], [1 << 20]):
        opening = unpacking(Services())
        assert run(opening.stages, cut(octets, lengths)) == CONTENT
        assert opening.opened == Opened()
    with pytest.raises(PackageError, match="octets follow"):
        unpacked(octets + b"\x00", Services())
    with pytest.raises(PackageError, match="breaks off"):
        unpacked(octets[:-1], Services())
    with pytest.raises(PackageError, match="cannot be read"):
        unpacked(CONTENT, Services())


# With others


@pytest.mark.rfc("6.1", "10.2")
@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
@pytest.mark.parametrize("services", SECURED, ids=str)
def test_others_open_what_we_secure(services: Services, suite: CipherSuite) -> None:
    octets = packed(services, suite=suite)
    if services.encrypt:
        octets = openssl.decrypted(octets, OURS)
    if services.compress:
        info = cms.ContentInfo.load(octets)
        assert info["content_type"].native == "compressed_data"
        octets = zlib.decompress(info["content"]["encap_content_info"]["content"].native)
    if services.sign:
        octets = openssl.verified(octets, [THEIRS])
    assert octets == CONTENT


# OpenSSL 3.0 makes no signature by PSS with SHA-3, though it verifies ours.
BY_OPENSSL = [
    (services, suite) for services in SECURED for suite in SUITES.values() if suite.number < 10 or not services.sign
]


@pytest.mark.rfc("6.1", "10.2")
@pytest.mark.interop(14)
@pytest.mark.parametrize(("services", "suite"), BY_OPENSSL, ids=str)
def test_we_open_what_others_secure(services: Services, suite: CipherSuite) -> None:
    octets = CONTENT
    if services.sign:
        octets = openssl.signed(octets, suite, [THEIRS], "-nocerts")
    if services.compress:
        octets = compressed_data(octets)
    if services.encrypt:
        octets = openssl.encrypted(octets, suite, [OTHER, OURS])
    assert unpacked(octets, services, suite=suite) == CONTENT
    assert unpacked(loosened(octets), services, suite=suite) == CONTENT


@pytest.mark.interop(14)
def test_we_open_what_others_stream() -> None:
    octets = compressed_data(openssl.signed(CONTENT, SUITE, [THEIRS, OTHER], "-stream"))
    assert unpacked(openssl.encrypted(octets, SUITE, [OURS], "-stream", "-keyid")) == CONTENT


# What is not as announced


ERRORS = {"encrypt": DecryptionError, "compress": DecompressionError, "sign": SignatureError}


def outermost(services: Services) -> type[CmsError]:
    return next((error for name, error in ERRORS.items() if getattr(services, name)), PackageError)


def layers(services: Services) -> str:
    """From the outside in."""
    return "e" * services.encrypt + "c" * services.compress + "s" * services.sign


@pytest.mark.rfc("5.3.14", "6.1")
@pytest.mark.parametrize("announced", EVERY, ids=str)
@pytest.mark.parametrize("services", SECURED, ids=str)
def test_only_the_layers_that_were_announced_are_taken(services: Services, announced: Services) -> None:
    if announced != Services() and layers(services).startswith(layers(announced)):
        # What stands below the last layer is content, whatever else it is.
        assert (unpacked(packed(services), announced) == CONTENT) == (services == announced)
    else:
        with pytest.raises(outermost(announced) if layers(announced)[:1] != layers(services)[:1] else CmsError):
            unpacked(packed(services), announced)


@pytest.mark.rfc("5.3.14")
@pytest.mark.parametrize("services", EVERY, ids=str)
@pytest.mark.parametrize("octets", [b"", CONTENT, b"\x30\x80" * 50], ids=["nothing", "text", "nesting"])
def test_what_is_no_layer_fails_by_the_reason_of_the_outermost(services: Services, octets: bytes) -> None:
    with pytest.raises(outermost(services)):
        unpacked(octets, services)


def encrypted_around(octets: bytes) -> bytes:
    return run(Enveloping(suite=SUITE, recipients=[OURS.certificate], octets=len(octets)), octets)


def altered(octets: bytes) -> bytes:
    """The same with another octet in the middle of what is compressed last."""
    return octets[:-40] + bytes((octets[-40] ^ 1,)) + octets[-39:]


SIGNED = packed(Services(sign=True))


@pytest.mark.rfc("5.3.14")
@pytest.mark.parametrize(
    ("octets", "error", "reason"),
    [
        (packed(suite=SUITES[5]), DecryptionError, 33),
        (encrypted_around(packed(Services(sign=True))), DecompressionError, 32),
        (encrypted_around(compressed_data(SIGNED, stream=b"none")), DecompressionError, 32),
        (encrypted_around(compressed_data(CONTENT)), SignatureError, 31),
        (encrypted_around(compressed_data(altered(SIGNED))), SignatureError, 31),
        (packed() + b"\x00", PackageError, 34),
        (encrypted_around(packed(Services(True, True, False)) + b"\x00"), PackageError, 34),
        (encrypted_around(compressed_data(SIGNED + b"\x00")), PackageError, 34),
    ],
    ids=["3DES", "no compression", "no zlib", "no signature", "another octet", "more", "more inside", "most inside"],
)
def test_each_layer_has_its_reason(octets: bytes, error: type[CmsError], reason: int) -> None:
    with pytest.raises(error) as caught:
        unpacked(octets)
    assert caught.value.reason == reason


@pytest.mark.parametrize("certificates", [[], [OTHER.certificate]], ids=["nobody", "somebody else"])
def test_a_signature_by_none_of_the_certificates_is_none(certificates: list[x509.Certificate]) -> None:
    with pytest.raises(SignatureError):
        unpacked(packed(), certificates=certificates)


def test_a_key_that_is_not_ours_opens_nothing() -> None:
    with pytest.raises(DecryptionError):
        unpacked(encrypted_around(packed(Services(True, True, False))), owners=[STRANGER])


@pytest.mark.parametrize("services", [ALL, Services(sign=True)], ids=str)
def test_nothing_is_said_of_a_file_that_has_not_gone_through_all_stages(services: Services) -> None:
    opening = unpacking(services)
    octets = packed(services)
    for piece in (octets[:-1], octets[-1:]):
        opening.stages[0].update(piece)
        with pytest.raises(ValueError, match="not gone through"):
            _ = opening.opened


# Altered


WHOLE = {services: packed(services) for services in SECURED}
PROTECTED = [services for services in SECURED if services.sign or not services.encrypt]


@given(st.sampled_from(PROTECTED), st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(services: Services, data: st.DataObject) -> None:
    octets = bytearray(WHOLE[services])
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[bit // 8] ^= 1 << bit % 8
    with suppress(CmsError):
        assert unpacked(bytes(octets), services) == CONTENT


@cache
def whole(services: Services, number: int, known: bool, loose: bool) -> bytes:
    octets = packed(services, suite=SUITES[number], known=known)
    return loosened(octets) if loose and known and not services.compress else octets


SIGNED_IN = [services for services in SECURED if services.sign]
FORMS = st.tuples(st.sampled_from(list(SUITES)), st.booleans(), st.booleans())


def bear(octets: bytes, services: Services, number: int) -> None:
    """It is refused, or the very file comes out, by its very signer."""
    opening = unpacking(services, suite=SUITES[number])
    try:
        content = run(opening.stages, octets)
    except CmsError:
        with pytest.raises(ValueError, match="not gone through"):
            _ = opening.opened
        return
    assert content == CONTENT
    assert [(each.certificate, each.signing_time) for each in opening.opened.signatures] == [
        (THEIRS.certificate, pki.NOW)
    ]


@settings(max_examples=300)
@given(st.sampled_from(SIGNED_IN), FORMS, st.data())
def test_a_signed_file_that_was_changed_anyhow_is_refused_or_the_same(
    services: Services, form: tuple[int, bool, bool], data: st.DataObject
) -> None:
    """Whatever the suite, the layers and the encoding. Some changes, such as of the version, change nothing."""
    bear(data.draw(damaged(whole(services, *form))), services, form[0])


@settings(max_examples=300)
@given(st.sampled_from([each for each in SIGNED_IN if each != Services(sign=True)]), FORMS, st.data())
def test_a_signed_file_that_was_changed_inside_is_refused_or_the_same(
    services: Services, form: tuple[int, bool, bool], data: st.DataObject
) -> None:
    """By somebody who encrypts and compresses anew what he changed, as anybody can."""
    suite = SUITES[form[0]]
    octets = data.draw(damaged(whole(Services(sign=True), *form)))
    if services.compress:
        octets = run(Compressing(), octets)
    if services.encrypt:
        octets = run(Enveloping(suite=suite, recipients=[OURS.certificate]), octets)
    bear(octets, services, form[0])


@given(st.sampled_from(SECURED), st.data())
def test_a_file_that_breaks_off_is_refused(services: Services, data: st.DataObject) -> None:
    octets = WHOLE[services]
    with pytest.raises(CmsError):
        unpacked(octets[: data.draw(st.integers(0, len(octets) - 1))], services)


@given(st.sampled_from(EVERY), st.binary(max_size=400), LENGTHS)
def test_noise_raises_nothing_but_errors_of_cms(services: Services, octets: bytes, lengths: list[int]) -> None:
    with pytest.raises(CmsError):
        run(unpacking(services).stages, cut(octets, lengths))


def test_without_a_signature_encryption_protects_no_octet() -> None:
    """The reason why ``PROTECTED`` leaves encrypted files without signature out."""
    services = Services(encrypt=True)
    octets = bytearray(WHOLE[services])
    octets[-100] ^= 1
    assert unpacked(bytes(octets), services) != CONTENT


# What a partner is told


def failure(octets: bytes, services: Services, **options: object) -> tuple[Exception, Exception]:
    """How a file fails, and what is told of it."""
    opening = unpacking(services, **options)
    with pytest.raises(CmsError) as caught:
        run(opening.stages, octets)
    return caught.value, opening.told(caught.value)


def broken_inside(services: Services) -> dict[str, bytes]:
    """Files for us in which something else is wrong each, as somebody may make them out of one that he intercepted."""
    inner = Services(services.sign, services.compress, False)
    whole, right = packed(services), packed(inner)
    return {
        "padding": whole[:-17] + bytes((whole[-17] ^ 1,)) + whole[-16:],
        "last block": whole[:-16] + bytes(16),
        "first block": encrypted_around(b"\x31" + right[1:]),
        "tag": encrypted_around(right.replace(b"\xa0", b"\xa1", 1)),
        "type": encrypted_around(b"\x30\x80" + OTHER_TYPE + right[13:]),
        "short": encrypted_around(right[:-1]),
        "long": encrypted_around(right + b"\x00"),
        "nothing": encrypted_around(b""),
        "text": encrypted_around(CONTENT),
        "behind": whole + b"\x00",
        "cut off": whole[:-16],
        **({"signature": encrypted_around(altered(right))} if services.sign and not services.compress else {}),
        **({"stream": encrypted_around(altered(right))} if services.compress else {}),
        **({"signature below": encrypted_around(compressed_data(altered(SIGNED)))} if services == ALL else {}),
    }


OTHER_TYPE = b"\x06\x09" + bytes.fromhex("2a864886f70d010706")


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize(
    "services", [each for each in SECURED if each.encrypt and each != Services(encrypt=True)], ids=str
)
def test_what_is_told_of_an_encrypted_file_does_not_depend_on_what_is_in_it(services: Services, *, named: bool) -> None:
    owner = OWNER if named else pki.make(key=OURS.key).owner
    found = {what: failure(octets, services, owners=[owner]) for what, octets in broken_inside(services).items()}
    assert len({(type(error), str(error)) for error, _ in found.values()}) > 4
    (told,) = {(type(told), str(told)) for _, told in found.values()}
    reason = DecryptionError if not named else SignatureError if services.sign else DecompressionError
    assert told[0] is reason


def test_what_is_told_of_a_file_that_is_only_encrypted_does_not_depend_on_what_is_in_it() -> None:
    services = Services(encrypt=True)
    whole = packed(services)
    _, told = failure(whole[:-16] + bytes(16), services)
    opening = unpacking(services)
    run(opening.stages, whole)
    behind = opening.told(RuntimeError("the content is no text"))
    assert (type(behind), str(behind)) == (type(told), str(told))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (CONTENT, "cannot be read"),
        (SIGNED, "not enveloped data"),
        (packed(suite=SUITES[5]), "3DES, weaker than"),
    ],
    ids=["text", "another layer", "3DES"],
)
def test_what_everybody_sees_of_an_encrypted_file_is_told(octets: bytes, text: str) -> None:
    error, told = failure(octets, ALL)
    assert told is error
    assert text in str(told)


def test_what_is_wrong_with_a_content_is_told_where_nothing_is_hidden_or_its_signature_is_valid() -> None:
    error, told = failure(altered(SIGNED), Services(sign=True))
    assert told is error
    for services in (ALL, Services(sign=True), Services(compress=True)):
        opening = unpacking(services)
        run(opening.stages, packed(services))
        error = RuntimeError("the content is no text")
        assert opening.told(error) is error


# Made to burst


def bomb() -> bytes:
    """A gibibyte of zeros, compressed and encrypted."""
    return encrypted_around(run(Compressing(), repeat(bytes(1 << 20), 1 << 10)))


def test_a_file_made_to_burst_is_refused_early() -> None:
    octets = bomb()
    for known in (len(octets), None):
        opening = unpacking(Services(False, True, True), limits=Limits(floor=1 << 20, ratio=50), octets=known)
        taken: list[int] = []
        with pytest.raises(DecompressionError, match="expands more than allowed"):
            taken.extend(map(len, chain(opening.stages, cut(octets, [1 << 16]))))
        assert max(taken) <= PART
        assert sum(taken) <= len(octets) * 50
