"""What an end response proves: nothing but what was signed, whatever is done to it on its way."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms import receipts
from oftp2.cms.suites import SUITES
from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.reasons import NegativeResponseReason
from oftp2d.opinions import Opinion, Weight, judge
from tests import pki

HASH = sha256(b"the file").digest()
SIGNER = pki.certificate("CB01")
NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=25).map(lambda name: name.rstrip(" "))
DIGITS = st.text(st.sampled_from("0123456789"), min_size=10, max_size=10)


@cache
def signed(kind: type[EndResponse], suite: int) -> EndResponse:
    common = {
        "dataset": "ORDERS",
        "date": "20261122",
        "time": "1426340001",
        "destination": "O0013000001TESTA0",
        "originator": "O0013000002TESTB",
        "hash": HASH,
    }
    response: EndResponse
    if kind is Eerp:
        response = Eerp(**common)  # type: ignore[arg-type]
    else:
        reason = NegativeResponseReason.PROCESSING_FAILED
        response = Nerp(**common, creator="O0013000002TESTB", reason=reason, text="why")  # type: ignore[arg-type]
    signer = SIGNER.signer
    return replace(response, signature=receipts.sign(response, [signer], SUITES[suite], at=pki.NOW))


def opinion(response: EndResponse, suite: int = 4, *, virtual_hash: bytes | None = HASH) -> Opinion:
    return judge(response, virtual_hash=virtual_hash, used=SUITES[suite], certificates=[SIGNER.certificate])


KINDS = st.sampled_from([Eerp, Nerp])
kinds = pytest.mark.parametrize("kind", [Eerp, Nerp])


@kinds
@pytest.mark.parametrize("suite", [4, 8])
def test_the_right_one_is_signed_and_says_when_and_by_whom(kind: type[EndResponse], suite: int) -> None:
    found = opinion(signed(kind, suite), suite)
    assert found.weight is Weight.SIGNED
    assert found.signature is not None
    assert found.signature.fingerprint == SIGNER.fingerprint
    assert found.signature.signing_time == pki.NOW


@given(
    kind=KINDS, suite=st.sampled_from([4, 8]), at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7)
)
def test_a_flipped_bit_in_the_signature_never_proves_anything_else(
    kind: type[EndResponse], suite: int, at: int, bit: int
) -> None:
    """Where a bit means nothing, what was signed is still what is proven."""
    response = signed(kind, suite)
    octets = bytearray(response.signature)
    octets[at % len(octets)] ^= 1 << bit
    found = opinion(replace(response, signature=bytes(octets)), suite)
    assert found.weight in {Weight.SIGNED, Weight.FALSE}
    if found.signature is not None:
        assert found.signature.fingerprint == SIGNER.fingerprint
    # For any other file it is worth nothing in any case.
    other = replace(response, signature=bytes(octets), dataset="ORDERT")
    assert opinion(other, suite).weight is Weight.FALSE


@given(
    kind=KINDS,
    changes=st.fixed_dictionaries(
        {},
        optional={
            "dataset": NAMES,
            "date": DIGITS.map(lambda digits: digits[:8]),
            "time": DIGITS,
            "destination": NAMES,
            "originator": NAMES,
            "creator": NAMES,
        },
    ),
)
def test_another_field_than_what_was_signed_is_never_proven(kind: type[EndResponse], changes: dict[str, str]) -> None:
    response = signed(kind, 4)
    if kind is Eerp:
        changes.pop("creator", None)
    changed = replace(response, **changes)  # type: ignore[arg-type]
    found = opinion(changed)
    assert (found.weight is Weight.SIGNED) is (changed == response)


@given(kind=KINDS, at=st.integers(min_value=0, max_value=31), bit=st.integers(min_value=0, max_value=7))
def test_another_hash_than_that_of_the_file_is_never_proven(kind: type[EndResponse], at: int, bit: int) -> None:
    octets = bytearray(HASH)
    octets[at] ^= 1 << bit
    other, response = bytes(octets), signed(kind, 4)
    if kind is Eerp:
        assert opinion(response, virtual_hash=other).weight is Weight.OTHER_FILE
        assert opinion(replace(response, hash=other)).weight is Weight.OTHER_FILE
    else:
        assert opinion(replace(response, hash=other)).weight is Weight.FALSE
        assert opinion(replace(response, signature=b""), virtual_hash=other).weight is Weight.OTHER_FILE
    assert opinion(replace(response, hash=other), virtual_hash=other).weight is Weight.FALSE
    assert opinion(replace(response, hash=other), virtual_hash=None).weight is Weight.FALSE


def test_a_refusal_signed_for_another_hash_is_one_all_the_same_and_told_apart() -> None:
    found = opinion(signed(Nerp, 4), virtual_hash=bytes(32))
    assert found.weight is Weight.SIGNED
    assert found.other_content
    assert not opinion(signed(Nerp, 4)).other_content


@given(kind=KINDS, signature=st.binary(min_size=1, max_size=200))
def test_nonsense_is_refused_and_nothing_else_happens(kind: type[EndResponse], signature: bytes) -> None:
    assert opinion(replace(signed(kind, 4), signature=signature)).weight is Weight.FALSE


@kinds
def test_a_weaker_signature_than_the_suite_has_proves_nothing(kind: type[EndResponse]) -> None:
    assert opinion(signed(kind, 4), 8).weight is Weight.FALSE
    assert opinion(signed(kind, 8), 4).weight is Weight.SIGNED


@kinds
def test_what_cannot_be_verified_is_not_what_is_unsigned(kind: type[EndResponse]) -> None:
    response = signed(kind, 4)
    unverified = judge(response, virtual_hash=HASH, used=SUITES[4], certificates=[])
    assert unverified.weight is Weight.UNVERIFIED
    assert opinion(replace(response, signature=b"")).weight is Weight.UNSIGNED
    assert opinion(replace(response, signature=b"", hash=b"")).weight is Weight.UNSIGNED


@pytest.mark.parametrize(
    ("weight", "counting"),
    [
        (Weight.SIGNED, {(True, True), (True, False), (False, True), (False, False)}),
        (Weight.UNSIGNED, {(True, True), (False, True), (False, False)}),
        (Weight.UNVERIFIED, {(False, True), (False, False)}),
        (Weight.OTHER_FILE, set()),
        (Weight.FALSE, set()),
    ],
)
def test_what_counts_depends_on_what_was_asked_and_is_set(weight: Weight, counting: set[tuple[bool, bool]]) -> None:
    found = {
        (asked, unsigned)
        for asked in (True, False)
        for unsigned in (True, False)
        if Opinion(weight=weight).counts(asked=asked, unsigned=unsigned)
    }
    assert found == counting
