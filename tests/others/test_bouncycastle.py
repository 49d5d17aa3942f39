"""BouncyCastle opens what we secure, and we open what it secures: every service, every cipher suite, as products do it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oftp2.cms.attached import content_of, with_content
from oftp2.cms.challenge import SECRET_OCTETS, make_challenge, open_challenge
from oftp2.cms.errors import CmsError, DecryptionError, SignatureError
from oftp2.cms.package import Services
from oftp2.cms.receipts import sign, signed_content
from oftp2.cms.suites import SUITES, CipherSuite, Digest
from oftp2.codec import decode, encode
from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.reasons import NegativeResponseReason
from tests import pki
from tests.others.bouncy import Bouncy, RefusedError
from tests.others.ours import ALL, CONTENT, EERP, ENCRYPTED, OTHER, OURS, SECURED, SIGNED, THEIRS, count, open_, secure
from tests.pki import Issued
from tests.signatures import detached

FORMS = ("DER", "BER", "stream")
READ = ("whole", "stream")
NAMED = ("by issuer", "by key")
SECRET = bytes(range(SECRET_OCTETS))

every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=str)
every_service = pytest.mark.parametrize("services", SECURED, ids=str)


# Files


@pytest.mark.rfc("6.1", "6.2", "6.3", "6.4", "10.2")
@every_suite
@every_service
def test_it_opens_what_we_secure(bouncy: Bouncy, services: Services, suite: CipherSuite) -> None:
    for (known, named), form in zip(product([True, False], NAMED), cycle(READ)):
        octets = secure(CONTENT, services, suite, known=known, named=named)
        opened = bouncy.open(octets, services, signers=[OTHER, OURS], owner=THEIRS, form=form)
        assert opened.content == CONTENT
        assert opened.signers == (OURS.der,) * services.sign


@pytest.mark.rfc("6.1", "6.2", "6.3", "6.4", "10.2")
@pytest.mark.interop(14)
@every_suite
@every_service
def test_we_open_what_it_secures(bouncy: Bouncy, services: Services, suite: CipherSuite) -> None:
    for form, named in zip((*FORMS, "stream"), cycle(NAMED)):
        octets = bouncy.secure(CONTENT, services, suite, signers=[THEIRS], recipients=[OURS], form=form, named=named)
        assert open_(octets, services, suite) == (CONTENT, [THEIRS.fingerprint] * services.sign)


@pytest.mark.rfc("6.2")
@pytest.mark.parametrize("number", [4, 6, 8, 10])
def test_several_sign_and_several_may_open(bouncy: Bouncy, number: int) -> None:
    suite = SUITES[number]
    signers, recipients = [OTHER, OURS], [OTHER, THEIRS]
    octets = secure(CONTENT, ALL, suite, signers=signers, recipients=recipients, certificates=True)
    for owner in recipients:
        assert sorted(bouncy.open(octets, ALL, signers=signers, owner=owner).signers) == ders(signers)
    for form, named in product(FORMS, NAMED):
        octets = bouncy.secure(
            CONTENT, ALL, suite, signers=[OTHER, THEIRS], recipients=[OTHER, OURS], form=form, named=named
        )
        both = sorted(each.fingerprint for each in (OTHER, THEIRS))
        assert open_(octets, ALL, suite, signers=[THEIRS, OTHER]) == (CONTENT, both)
        # A partner that goes over to a new certificate signs with the former one as well.
        assert open_(octets, ALL, suite) == (CONTENT, [THEIRS.fingerprint])


def ders(certificates: Sequence[Issued]) -> list[bytes]:
    return sorted(each.der for each in certificates)


@pytest.mark.rfc("6.1")
@pytest.mark.interop(14)
@pytest.mark.parametrize("form", FORMS)
def test_we_open_what_products_do_otherwise(bouncy: Bouncy, form: str) -> None:
    """Certificates go along; nothing but the content is signed; each layer says of which type the one inside is."""
    for certificates, attributes, typed in ((True, True, False), (False, False, False), (False, True, True)):
        for suite in (SUITES[4], SUITES[9]):
            octets = bouncy.secure(
                CONTENT,
                ALL,
                suite,
                signers=[THEIRS],
                recipients=[OURS],
                form=form,
                certificates=certificates,
                attributes=attributes,
                typed=typed,
            )
            assert open_(octets, ALL, suite) == (CONTENT, [THEIRS.fingerprint])


@pytest.mark.rfc("6.1")
@pytest.mark.parametrize("form", FORMS)
def test_we_read_over_what_else_may_stand_in_a_message(bouncy: Bouncy, form: str) -> None:
    """Attributes, revocation lists, who it is from, recipients with elliptic curves, shared keys and passwords."""
    lists = [pki.crl(pki.issuing("A")), pki.crl(pki.issuing("B"))]
    for suite, certificates in ((SUITES[4], True), (SUITES[10], False)):
        octets = bouncy.secure(
            CONTENT,
            ALL,
            suite,
            signers=[THEIRS],
            recipients=[OTHER, OURS],
            form=form,
            certificates=certificates,
            extras=True,
            lists=lists,
        )
        assert open_(octets, ALL, suite) == (CONTENT, [THEIRS.fingerprint])


@pytest.mark.parametrize("content", [b"", b"x", bytes(15), bytes(16), bytes(range(256)) * 8_000], ids=len)
def test_files_of_any_length_pass_both_ways(bouncy: Bouncy, content: bytes) -> None:
    suite = SUITES[6]
    for services in (SIGNED, ENCRYPTED, ALL):
        for known in (True, False):
            octets = secure(content, services, suite, known=known)
            assert bouncy.open(octets, services, signers=[OURS], owner=THEIRS, form="stream").content == content
        for segment in (64, 100_000):
            octets = bouncy.secure(
                content, services, suite, signers=[THEIRS], recipients=[OURS], form="stream", segment=segment
            )
            assert open_(octets, services, suite)[0] == content


@pytest.mark.rfc("10.2")
@pytest.mark.parametrize("number", [8, 9, 10])
def test_we_open_what_has_the_mask_that_java_makes_by_default(bouncy: Bouncy, number: int) -> None:
    """With SHA-1, whatever the digest of OAEP is, which itself has to be as long as that of the suite."""
    suite = SUITES[number]
    octets = bouncy.secure(CONTENT, ENCRYPTED, suite, recipients=[OURS], mask=Digest.SHA1)
    assert open_(octets, ENCRYPTED, suite)[0] == CONTENT
    shorter = bouncy.secure(CONTENT, ENCRYPTED, SUITES[8], recipients=[OURS], mask=Digest.SHA1)
    with pytest.raises(DecryptionError, match="OAEP with SHA-256 and MGF1 of SHA-1, which is not what"):
        open_(shorter, ENCRYPTED, SUITES[9])


# Files that somebody altered, or that are not meant for whom they came to


@every_suite
def test_both_refuse_another_content_and_another_signature(bouncy: Bouncy, suite: CipherSuite) -> None:
    ours = secure(CONTENT, SIGNED, suite)
    theirs = bouncy.secure(CONTENT, SIGNED, suite, signers=[THEIRS])
    for at in (ours.index(CONTENT) + 100, len(ours) - 1):
        for form in READ:
            with pytest.raises(RefusedError, match=r"CMSSignerDigestMismatchException|is not valid"):
                bouncy.open(flipped(ours, at), SIGNED, signers=[OURS], form=form)
    # Behind the signature stand no further attributes.
    for at in (theirs.index(CONTENT) + 100, len(theirs) - 1):
        with pytest.raises(SignatureError, match=r"is over another content|is not valid"):
            open_(flipped(theirs, at), SIGNED, suite)


def flipped(octets: bytes, at: int, bit: int = 0) -> bytes:
    return octets[:at] + bytes((octets[at] ^ 1 << bit,)) + octets[at + 1 :]


@every_suite
def test_both_refuse_what_somebody_else_signed_or_may_open(bouncy: Bouncy, suite: CipherSuite) -> None:
    ours, theirs = (
        secure(CONTENT, ALL, suite),
        bouncy.secure(CONTENT, ALL, suite, signers=[THEIRS], recipients=[OURS]),
    )
    with pytest.raises(RefusedError, match="by somebody else"):
        bouncy.open(ours, ALL, signers=[OTHER], owner=THEIRS)
    with pytest.raises(RefusedError, match="for somebody else"):
        bouncy.open(ours, ALL, signers=[OURS], owner=OTHER)
    with pytest.raises(SignatureError, match="certificate is not known here"):
        open_(theirs, ALL, suite, signers=[OTHER])
    with pytest.raises(DecryptionError, match="no key here opens"):
        open_(theirs, ALL, suite, owners=[OTHER])


BITS = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7))


@settings(max_examples=200)
@given(where=BITS, number=st.sampled_from([6, 10]), services=st.sampled_from([SIGNED, ALL]), form=st.sampled_from(READ))
def test_it_gets_no_other_content_out_of_ours_when_a_bit_is_flipped(
    bouncy: Bouncy, where: tuple[float, int], number: int, services: Services, form: str
) -> None:
    octets = secure(CONTENT, services, SUITES[number], known=form == "whole")
    altered = flipped(octets, int(where[0] * len(octets)), where[1])
    with suppress(RefusedError):
        assert bouncy.open(altered, services, signers=[OURS], owner=THEIRS, form=form).content == CONTENT


@settings(max_examples=200)
@given(
    where=BITS, number=st.sampled_from([6, 10]), services=st.sampled_from([SIGNED, ALL]), form=st.sampled_from(FORMS)
)
def test_we_get_no_other_content_out_of_its_files_when_a_bit_is_flipped(
    bouncy: Bouncy, where: tuple[float, int], number: int, services: Services, form: str
) -> None:
    suite = SUITES[number]
    octets = bouncy.secure(CONTENT, services, suite, signers=[THEIRS], recipients=[OURS], form=form)
    altered = flipped(octets, int(where[0] * len(octets)), where[1])
    with suppress(CmsError):
        assert open_(altered, services, suite) == (CONTENT, [THEIRS.fingerprint])


# Signed end responses


NERP = Nerp(
    dataset="ORDERS",
    date="20260203",
    time="0405060001",
    destination="O0013000001A",
    originator="O0013000002B",
    creator="O0013000003C",
    reason=NegativeResponseReason.INVALID_SIGNATURE,
    text="no",
    hash=b"",
)
both_responses = pytest.mark.parametrize("response", [EERP, NERP], ids=["EERP", "NERP"])


def hashed(response: EndResponse, suite: CipherSuite) -> EndResponse:
    return replace(response, hash=suite.digest.of(CONTENT))


@pytest.mark.rfc("5.3.13", "5.3.14", "10.2")
@every_suite
@both_responses
def test_it_verifies_our_end_responses(bouncy: Bouncy, response: EndResponse, suite: CipherSuite) -> None:
    command = hashed(response, suite)
    content = signed_content(command)
    for certificates in (False, True):
        signer = OURS.signer
        signature = sign(command, [signer], suite, at=pki.NOW, certificates=certificates)
        for form in READ:
            opened = bouncy.open(signature, SIGNED, signers=[OTHER, OURS], form=form)
            assert (opened.content, opened.signers) == (content, (OURS.der,))
    # Nothing of a signature depends on where the content is.
    for form in READ:
        without = detached(sign(command, [signer], suite, at=pki.NOW))
        assert bouncy.open(without, SIGNED, signers=[OURS], form=form, content=content).signers == (OURS.der,)
        with pytest.raises(RefusedError, match=r"CMSSignerDigestMismatchException|is not valid"):
            bouncy.open(without, SIGNED, signers=[OURS], form=form, content=flipped(content, len(content) - 1))


@pytest.mark.rfc("5.3.13", "5.3.14", "10.2")
@pytest.mark.interop(4)
@every_suite
@both_responses
def test_we_verify_its_end_responses(bouncy: Bouncy, response: EndResponse, suite: CipherSuite) -> None:
    command = hashed(response, suite)
    for (form, attached), certificates in zip(product(FORMS, [True, False]), cycle([True, True, False])):
        signature = bouncy.secure(
            signed_content(command),
            SIGNED,
            suite,
            signers=[THEIRS],
            form=form,
            attached=attached,
            certificates=certificates,
        )
        assert (content_of(signature) is not None) == attached
        # As it is kept for evidence.
        whole = with_content(signature, signed_content(command))
        assert bouncy.open(whole, SIGNED, signers=[THEIRS]).content == signed_content(command)
        travelled = decode(encode(replace(command, signature=signature)))
        assert isinstance(travelled, Eerp | Nerp)
        count(travelled, suite)


# Session challenges


@pytest.mark.rfc("4.2.3", "5.3.17", "5.3.18")
def test_it_answers_our_challenge(bouncy: Bouncy) -> None:
    for form in READ:
        envelope, secret = make_challenge(THEIRS.certificate)
        assert bouncy.open(envelope, ENCRYPTED, owner=THEIRS, form=form).content == secret


@pytest.mark.rfc("4.2.3", "5.3.17", "5.3.18")
@pytest.mark.interop(10)
@every_suite
def test_we_answer_its_challenge(bouncy: Bouncy, suite: CipherSuite) -> None:
    for form, named in zip(FORMS, cycle(NAMED)):
        envelope = bouncy.secure(SECRET, ENCRYPTED, suite, recipients=[OURS], form=form, named=named)
        assert open_challenge(envelope, [OTHER.owner, OURS.owner]) == SECRET
