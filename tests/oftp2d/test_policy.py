"""Which files are taken as they are secured: the whole table, row by row."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from oftp2.commands import Sfid
from oftp2.reasons import AnswerReason
from oftp2.values import MAX_TEXT, SecurityLevel
from oftp2d.ledger import Demand, NewPartner, Partner
from oftp2d.policy import Keys, Refusal, judge, judge_message

ALL = Keys(decryption=True, receipts=True)
NONE = Keys(decryption=False, receipts=False)
PLAIN, ENCRYPTED, SIGNED, BOTH = SecurityLevel

OFFER = Sfid(
    dataset="ORDERS",
    date="20260101",
    time="1200000001",
    destination="US",
    originator="THEM",
    cipher=4,
    size=1,
    original_size=1,
)
NEW = NewPartner(code="THEM", name="Them", station="US")
PARTNER = Partner(
    **{each.name: getattr(NEW, each.name) for each in fields(NEW)},
    id=1,
    created_at=datetime.now(UTC),
    last_call_at=None,
    last_error=None,
    last_reason=None,
    next_call_at=None,
    call_failures=0,
)


def judged(offer: dict[str, Any], setting: dict[str, Any] | None = None, keys: Keys = ALL) -> Refusal | None:
    return judge(replace(OFFER, **offer), replace(PARTNER, **(setting or {})), keys)


@pytest.mark.parametrize("cipher", range(3, 11))
@pytest.mark.parametrize(
    ("security", "compression", "envelope", "signed"), list(product(SecurityLevel, (0, 1), (0, 1), (False, True)))
)
def test_whatever_is_not_spoken_against_is_taken(
    security: SecurityLevel, compression: int, envelope: int, cipher: int, *, signed: bool
) -> None:
    offer = {"security": security, "compression": compression, "envelope": envelope, "signed_response": signed}
    assert judged({**offer, "cipher": cipher}) is None


REFUSED: list[tuple[dict[str, Any], dict[str, Any], AnswerReason, str]] = [
    (
        {"security": SIGNED},
        {"incoming_signed": Demand.REFUSED},
        AnswerReason.SIGNED_NOT_ALLOWED,
        "incoming-signed refused",
    ),
    (
        {"security": BOTH},
        {"incoming_signed": Demand.REFUSED},
        AnswerReason.SIGNED_NOT_ALLOWED,
        "incoming-signed refused",
    ),
    ({}, {"incoming_signed": Demand.REQUIRED}, AnswerReason.UNSIGNED_NOT_ALLOWED, "incoming-signed required"),
    (
        {"security": ENCRYPTED},
        {"incoming_signed": Demand.REQUIRED},
        AnswerReason.UNSIGNED_NOT_ALLOWED,
        "incoming-signed required",
    ),
    (
        {"security": ENCRYPTED},
        {"incoming_encrypted": Demand.REFUSED},
        AnswerReason.ENCRYPTED_NOT_ALLOWED,
        "incoming-encrypted refused",
    ),
    (
        {"security": BOTH},
        {"incoming_encrypted": Demand.REFUSED},
        AnswerReason.ENCRYPTED_NOT_ALLOWED,
        "incoming-encrypted refused",
    ),
    ({}, {"incoming_encrypted": Demand.REQUIRED}, AnswerReason.UNENCRYPTED_NOT_ALLOWED, "incoming-encrypted required"),
    (
        {"security": SIGNED},
        {"incoming_encrypted": Demand.REQUIRED},
        AnswerReason.UNENCRYPTED_NOT_ALLOWED,
        "incoming-encrypted required",
    ),
    (
        {"compression": 1},
        {"incoming_compressed": Demand.REFUSED},
        AnswerReason.COMPRESSION_NOT_ALLOWED,
        "incoming-compressed refused",
    ),
    ({"compression": 2}, {}, AnswerReason.COMPRESSION_NOT_ALLOWED, "SFIDCOMP is 2"),
    ({"envelope": 2}, {}, AnswerReason.UNSPECIFIED, "SFIDENV is 2"),
    ({"security": SIGNED, "cipher": 0}, {}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "SFIDCIPH is 00"),
    ({"security": ENCRYPTED, "cipher": 11}, {}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "SFIDCIPH is 11"),
    ({"signed_response": True, "cipher": 0}, {}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "a signed end response"),
    ({"signed_response": True, "cipher": 99}, {}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "SFIDCIPH is 99"),
    ({"security": SIGNED, "cipher": 1}, {}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "suite 01 is weak"),
    ({"security": SIGNED, "cipher": 1}, {"cipher_suite": 2}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "suite 02 is"),
    ({"signed_response": True, "cipher": 2}, {}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "suite 02 is weak"),
]


@pytest.mark.rfc("5.3.5")
@pytest.mark.parametrize(("offer", "setting", "reason", "text"), REFUSED)
def test_what_is_not_allowed_is_refused_for_good_with_the_setting_that_says_so(
    offer: dict[str, Any], setting: dict[str, Any], reason: AnswerReason, text: str
) -> None:
    refusal = judged(offer, setting)
    assert refusal is not None
    assert (refusal.reason, refusal.retry) == (reason, False)
    assert text in refusal.text
    assert len(refusal.text) <= MAX_TEXT


@pytest.mark.parametrize("suite", [1, 2])
def test_a_weak_suite_is_taken_where_it_was_agreed(suite: int) -> None:
    offer = {"security": BOTH, "cipher": suite, "signed_response": True}
    assert judged(offer, {"cipher_suite": suite}) is None


def test_the_suite_does_not_matter_where_none_is_used() -> None:
    for cipher in (0, 1, 77):
        assert judged({"compression": 1, "envelope": 1, "cipher": cipher}) is None


def test_what_is_demanded_and_done_is_taken() -> None:
    demands = {"incoming_signed": Demand.REQUIRED, "incoming_encrypted": Demand.REQUIRED}
    assert judged({"security": BOTH}, demands) is None
    assert (
        judged({}, dict.fromkeys(("incoming_signed", "incoming_encrypted", "incoming_compressed"), Demand.REFUSED))
        is None
    )


@pytest.mark.parametrize(
    ("offer", "text"),
    [
        ({"security": ENCRYPTED}, "no key to decrypt"),
        ({"security": BOTH}, "no key to decrypt"),
        ({"signed_response": True}, "no certificate to sign end responses"),
    ],
)
def test_what_we_have_no_key_for_may_be_sent_again(offer: dict[str, Any], text: str) -> None:
    refusal = judged(offer, keys=NONE)
    assert refusal is not None
    assert (refusal.reason, refusal.retry) == (AnswerReason.UNSPECIFIED, True)
    assert text in refusal.text
    assert judged({"security": SIGNED, "compression": 1}, keys=NONE) is None


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        ({}, None),
        ({"security": SIGNED, "cipher": 1}, None),
        ({"security": SIGNED, "cipher": 0, "envelope": 1}, None),
        ({"signed_response": True, "cipher": 0}, None),
        ({"signed_response": True, "cipher": 11}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED),
        ({"security": SIGNED, "cipher": 11}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED),
        ({"security": ENCRYPTED}, AnswerReason.ENCRYPTED_NOT_ALLOWED),
        ({"security": BOTH}, AnswerReason.ENCRYPTED_NOT_ALLOWED),
        ({"compression": 1}, AnswerReason.COMPRESSION_NOT_ALLOWED),
    ],
)
def test_of_a_certificate_that_is_exchanged_no_security_is_demanded(
    offer: dict[str, Any], reason: AnswerReason | None
) -> None:
    refusal = judge_message(replace(OFFER, **offer))
    assert (None if refusal is None else refusal.reason) is reason
