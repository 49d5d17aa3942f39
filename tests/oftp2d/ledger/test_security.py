"""Transfers that are secured on their way out, opened on their way in, and answered with a signature."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2d.ledger import (
    Evidence,
    HeldResponse,
    IllegalMoveError,
    Kind,
    Ledger,
    NewEvidence,
    NewPartner,
    NewReceipt,
    Partner,
    ReceiptKind,
    SignedResponse,
    Transfer,
    TransferState,
)

S = TransferState
LEASE = timedelta(seconds=60)
DONE: dict[str, Any] = {
    "octets": 900,
    "spool_name": "secured1",
    "virtual_hash": b"hash",
    "signers": ["01" * 32, "02" * 32],
    "recipients": ("03" * 32,),
    "choice": "the newest that fits",
}
EVIDENCE = NewEvidence(
    kind=ReceiptKind.EERP, hash=b"hash", signature=b"signature", certificate=b"certificate", chain=b"chain"
)


@pytest.fixture
def securing(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> Transfer:
    new = replace(files.outgoing(partner), security=3, cipher=4, compression=1, envelope=1, original_size=1)
    queued: Transfer = ledger.transfers.queue(new, now)
    return queued


def claim(ledger: Ledger, partner: Partner, now: datetime) -> Transfer | None:
    return ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)


def sent(ledger: Ledger, partner: Partner, transfer: Transfer, now: datetime) -> Transfer:
    ledger.transfers.secured(transfer.id, now, **DONE)
    claim(ledger, partner, now)
    return ledger.transfers.sent(transfer.id, now)


@pytest.mark.parametrize(
    "service", [{"security": 1}, {"security": 2}, {"compression": 1}, {"envelope": 1}, {"signed_response": True}]
)
def test_whatever_is_to_be_done_to_a_file_is_done_before_it_is_queued(
    ledger: Ledger, partner: Partner, files: Any, now: datetime, service: dict[str, Any]
) -> None:
    transfer = ledger.transfers.queue(replace(files.outgoing(partner), **service), now)
    assert (transfer.state, transfer.plain_name, transfer.plain_octets) == (S.SECURING, "invoice1", 5)
    assert ledger.transfers.get(transfer.id) == transfer
    assert ledger.transfers.to_secure() == [transfer]
    assert ledger.transfers.partners_waiting(now) == set()
    assert claim(ledger, partner, now) is None


def test_the_plain_file_counts_the_lengths_of_its_records_in_the_spool(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    new = replace(files.outgoing(partner), format="V", octets=100, records=7, record_length=30, security=2)
    transfer = ledger.transfers.queue(new, now)
    assert (transfer.octets, transfer.plain_octets) == (100, 114)
    ledger.transfers.secured(transfer.id, now, **DONE)
    claim(ledger, partner, now)
    ledger.transfers.refused(transfer.key, now, "NERP 31", "")
    again = ledger.transfers.retry(transfer.id, now)
    assert (again.octets, again.plain_octets) == (100, 114)


def test_what_is_to_be_secured_comes_oldest_first_of_each_partner_small_and_large(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    new = replace(files.outgoing(partner), security=2)
    queued = [ledger.transfers.queue(new, now) for _ in range(3)]
    ledger.transfers.queue(files.outgoing(partner), now)
    other = ledger.partners.add(
        NewPartner(code="OTHER", name="OTHER", station=partner.station, transport=partner.transport), now
    )
    small = ledger.transfers.queue(replace(new, octets=4), now)
    others = ledger.transfers.queue(replace(new, partner_id=other.id), now)
    assert ledger.transfers.to_secure(limit=2) == [*queued[:2], others]
    assert ledger.transfers.to_secure(limit=2, small=4) == [*queued[:2], small, others]
    assert ledger.transfers.to_secure() == [*queued, small, others]


def test_a_secured_file_is_queued_as_what_it_has_become(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    later = now + timedelta(minutes=5)
    secured = ledger.transfers.secured(securing.id, later, **DONE)
    assert secured == ledger.transfers.get(securing.id)
    assert (secured.state, secured.queued_at) == (S.QUEUED, later)
    assert (secured.spool_name, secured.octets, secured.virtual_hash) == ("secured1", 900, b"hash")
    assert (secured.signers, secured.recipients) == (("01" * 32, "02" * 32), ("03" * 32,))
    assert (secured.plain_name, secured.plain_octets, secured.choice) == ("invoice1", 5, "the newest that fits")
    assert ledger.transfers.to_secure() == []
    claimed = claim(ledger, partner, later)
    assert claimed is not None
    assert claimed.id == securing.id


@pytest.mark.parametrize("used", ["02" * 32, "03" * 32])
def test_what_is_queued_is_secured_anew_when_a_certificate_it_was_made_with_counts_no_more(
    ledger: Ledger, partner: Partner, files: Any, securing: Transfer, now: datetime, *, used: str
) -> None:
    other = ledger.transfers.queue(replace(files.outgoing(partner), security=2), now)
    ledger.transfers.secured(other.id, now, **{**DONE, "spool_name": "secured2", "signers": (), "recipients": ()})
    plain = ledger.transfers.queue(files.outgoing(partner), now)
    before = ledger.transfers.secured(securing.id, now, **DONE)

    assert ledger.transfers.secure_again([used, "09" * 32], now) == [before]

    again = ledger.transfers.get(securing.id)
    assert (again.state, again.spool_name, again.time) == (S.SECURING, "invoice1", securing.time)
    assert (again.signers, again.recipients, again.virtual_hash, again.choice) == ((), (), None, "")
    assert [ledger.transfers.get(each.id).state for each in (other, plain)] == [S.QUEUED, S.QUEUED]
    assert ledger.transfers.secure_again([used], now) == []
    assert ledger.transfers.secure_again([], now) == ()


def test_what_the_partner_may_have_is_not_secured_anew_and_what_it_has_begun_with_gets_a_new_stamp(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    ledger.transfers.secured(securing.id, now, **DONE)
    claimed = claim(ledger, partner, now)
    assert claimed is not None
    ledger.transfers.requeue(securing.id, now, None, "the line broke", reached=100)

    assert len(ledger.transfers.secure_again(DONE["recipients"], now)) == 1

    again = ledger.transfers.get(securing.id)
    assert (again.state, again.reached) == (S.SECURING, 0)
    assert again.time != securing.time
    ledger.transfers.secured(securing.id, now, **DONE)
    claim(ledger, partner, now)
    ledger.transfers.efid_going(securing.id, "session-1")
    ledger.transfers.requeue(securing.id, now, None, "the line broke")
    assert ledger.transfers.secure_again(DONE["recipients"], now) == []


def test_what_cannot_be_secured_fails_and_is_secured_when_it_is_retried(
    ledger: Ledger, securing: Transfer, now: datetime
) -> None:
    failed = ledger.transfers.unsecurable(securing.id, now, "no certificate of theirs; request it")
    assert (failed.state, failed.text, failed.ended_at) == (S.FAILED, "no certificate of theirs; request it", now)
    again = ledger.transfers.retry(securing.id, now)
    assert (again.state, again.text, again.time) == (S.SECURING, None, securing.time)


def test_what_is_being_secured_can_be_cancelled_and_its_end_comes_too_late(
    ledger: Ledger, securing: Transfer, now: datetime
) -> None:
    assert ledger.transfers.cancel(securing.id, now).state is S.CANCELLED
    assert ledger.transfers.secured(securing.id, now, **DONE).state is S.CANCELLED
    assert ledger.transfers.unsecurable(securing.id, now, "late").text is None
    assert ledger.transfers.get(securing.id).spool_name == "invoice1"
    assert ledger.transfers.retry(securing.id, now).state is S.SECURING


def test_a_secured_file_goes_again_as_it_is_while_it_keeps_its_stamp(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    secured = ledger.transfers.secured(securing.id, now, **DONE)
    claim(ledger, partner, now)
    ledger.transfers.failed(securing.id, now, "SFNA 02", "")
    again = ledger.transfers.retry(securing.id, now)
    assert (again.state, again.spool_name, again.virtual_hash) == (S.QUEUED, "secured1", b"hash")
    assert again.key == secured.key


def test_a_new_stamp_has_the_file_secured_anew(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    sent(ledger, partner, securing, now)
    again = ledger.transfers.retry(securing.id, now)
    assert (again.state, again.spool_name, again.octets) == (S.SECURING, "invoice1", 5)
    assert (again.sha256, again.virtual_hash) == (securing.sha256, None)
    assert (again.signers, again.recipients, again.choice) == ((), (), "")
    assert again.key != securing.key
    assert not again.efid_sent


PLAINLY = {"security": 0, "cipher": 0, "compression": 0, "envelope": 0, "signed_response": 0}
SIGNED = {"security": 2, "cipher": 8, "compression": 0, "envelope": 1, "signed_response": 1}


@pytest.mark.parametrize("wanted", [PLAINLY, SIGNED])
def test_a_file_is_made_anew_out_of_what_was_queued_when_something_else_is_to_be_done_to_it(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime, wanted: dict[str, int]
) -> None:
    ledger.transfers.secured(securing.id, now, **DONE)
    claim(ledger, partner, now)
    ledger.transfers.failed(securing.id, now, "SFNA 17", "")
    again = ledger.transfers.retry(securing.id, now, secured_as=wanted)
    assert {name: getattr(again, name) for name in wanted} == wanted
    assert (again.state, again.spool_name, again.octets, again.original_size) == (
        S.SECURING,
        "invoice1",
        5,
        wanted["envelope"] or None,
    )
    assert (again.virtual_hash, again.recipients) == (None, ())
    assert again.key != securing.key


def test_a_file_that_went_as_it_is_can_be_secured_when_it_goes_again(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    plain = ledger.transfers.queue(replace(files.outgoing(partner), format="V", octets=100, records=7), now)
    ledger.transfers.cancel(plain.id, now)
    again = ledger.transfers.retry(plain.id, now, secured_as=SIGNED)
    assert (again.state, again.spool_name, again.plain_name) == (S.SECURING, "invoice1", "invoice1")
    assert (again.octets, again.plain_octets) == (100, 114)


def test_a_file_that_is_not_secured_is_only_queued_again(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    transfer = ledger.transfers.queue(files.outgoing(partner), now)
    ledger.transfers.cancel(transfer.id, now)
    assert ledger.transfers.retry(transfer.id, now, new_stamp=True).state is S.QUEUED


def test_an_end_response_for_what_never_went_out_is_for_no_file_of_ours(
    ledger: Ledger, securing: Transfer, now: datetime
) -> None:
    assert ledger.transfers.acknowledged(securing.key, now) is None
    assert ledger.transfers.refused(securing.key, now, "NERP 34", "") is None
    assert ledger.transfers.get(securing.id) == securing


def test_what_is_being_secured_stays_so_over_a_crash(ledger: Ledger, securing: Transfer, now: datetime) -> None:
    assert ledger.transfers.recover(lambda _owner: False, now, rebooted=True) == []
    assert ledger.transfers.to_secure() == [securing]


def test_the_spool_keeps_the_file_as_it_was_until_it_is_acknowledged(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    assert ledger.transfers.spool_names() == {"invoice1"}
    sent(ledger, partner, securing, now)
    assert ledger.transfers.spool_names() == {"invoice1", "secured1"}
    ledger.transfers.acknowledged(securing.key, now)
    assert ledger.transfers.spool_names() == set()


def test_a_partner_with_a_file_being_secured_cannot_be_removed(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    with pytest.raises(Exception, match="1 unfinished"):
        ledger.partners.remove(partner.id, now)


def test_an_end_response_that_does_not_count_is_told_and_changes_nothing_else(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    before = sent(ledger, partner, securing, now)
    later = now + timedelta(seconds=1)
    ledger.transfers.not_accepted(securing.id, later, "its EERP is not signed")
    assert ledger.transfers.get(securing.id) == replace(before, text="its EERP is not signed", updated_at=later)
    ledger.transfers.acknowledged(securing.key, later, evidence=EVIDENCE)
    ledger.transfers.not_accepted(securing.id, later, "again")
    assert ledger.transfers.get(securing.id).text is None


def test_the_reason_of_an_earlier_try_is_forgotten_when_the_file_is_sent(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    transfer = ledger.transfers.queue(files.outgoing(partner), now)
    claim(ledger, partner, now)
    ledger.transfers.requeue(transfer.id, now, None, "the partner has no room")
    claim(ledger, partner, now)
    assert ledger.transfers.sent(transfer.id, now).text is None


@pytest.mark.parametrize("refused", [False, True])
def test_evidence_is_kept_with_the_end_response_it_came_with(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime, *, refused: bool
) -> None:
    sent(ledger, partner, securing, now)
    assert ledger.evidence.get(securing.id) is None
    new = replace(
        EVIDENCE,
        kind=ReceiptKind.NERP if refused else ReceiptKind.EERP,
        creator="O0055THEM",
        reason=34 if refused else None,
        text="no room",
        user="batch 7",
        signed_at=now,
    )
    if refused:
        ledger.transfers.refused(securing.key, now, "NERP 34", "no room", evidence=new)
    else:
        ledger.transfers.acknowledged(securing.key, now, evidence=new)
    kept = ledger.evidence.get(securing.id)
    assert kept == Evidence(
        transfer_id=securing.id,
        received_at=now,
        **{name: getattr(new, name) for name in NewEvidence.__dataclass_fields__},
    )
    # A repeated or contradictory one changes nothing.
    ledger.transfers.acknowledged(securing.key, now, evidence=replace(new, hash=b"other"))
    assert ledger.evidence.get(securing.id) == kept


def test_the_last_response_that_did_not_count_is_held_until_one_counts(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    sent(ledger, partner, securing, now)
    first = SignedResponse(kind=ReceiptKind.EERP, hash=b"hash", signature=b"first")
    last = SignedResponse(
        kind=ReceiptKind.NERP, creator="O0055THEM", reason=34, text="no room", hash=b"hash", signature=b"last"
    )
    for each in (first, last):
        ledger.transfers.not_accepted(securing.id, now, "no certificate", held=each)
    ledger.transfers.not_accepted(securing.id, now, "not signed")
    (held,) = ledger.evidence.held(partner.id)
    assert held == HeldResponse(**asdict(last), transfer_id=securing.id, received_at=now)
    assert ledger.evidence.held(partner.id + 1) == []
    again = ledger.transfers.retry(securing.id, now, new_stamp=True)
    assert ledger.evidence.held(partner.id) == []
    sent(ledger, partner, again, now)
    ledger.transfers.not_accepted(securing.id, now, "no certificate", held=first)
    ledger.transfers.acknowledged(again.key, now)
    ledger.transfers.not_accepted(securing.id, now, "no certificate", held=first)
    assert ledger.evidence.held(partner.id) == []


def test_evidence_is_of_one_stamp(ledger: Ledger, partner: Partner, securing: Transfer, now: datetime) -> None:
    sent(ledger, partner, securing, now)
    nerp = replace(EVIDENCE, kind=ReceiptKind.NERP, reason=31)
    ledger.transfers.refused(securing.key, now, "NERP 31", "", evidence=nerp)
    again = ledger.transfers.retry(securing.id, now)
    assert ledger.evidence.get(securing.id) is None
    sent(ledger, partner, again, now)
    ledger.transfers.acknowledged(again.key, now, evidence=EVIDENCE)
    kept = ledger.evidence.get(securing.id)
    assert kept is not None
    assert kept.kind is ReceiptKind.EERP


def test_evidence_that_cannot_be_kept_leaves_the_file_unanswered(
    ledger: Ledger, partner: Partner, securing: Transfer, now: datetime
) -> None:
    before = sent(ledger, partner, securing, now)
    broken: Any = None
    with pytest.raises(Exception, match="NOT NULL"):
        ledger.transfers.acknowledged(securing.key, now, evidence=replace(EVIDENCE, signature=broken))
    assert ledger.transfers.get(securing.id) == before


@pytest.fixture
def received(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> Transfer:
    new = replace(files.incoming(partner), security=3, cipher=4, envelope=1, signed_response=True)
    opened = ledger.transfers.open_incoming(new, now, "session-1", LEASE)
    assert isinstance(opened, Transfer)
    return ledger.transfers.received(opened.id, 900, "cd" * 32, opened.id, now)


OPENED: dict[str, Any] = {"virtual_hash": b"hash", "signers": ["01" * 32], "recipients": ["02" * 32], "choice": "why"}


def test_a_delivered_file_tells_how_it_was_opened(ledger: Ledger, received: Transfer, now: datetime) -> None:
    eerp = NewReceipt(kind=ReceiptKind.EERP)
    delivered = ledger.transfers.delivered(received.id, "inbox1", now, eerp, made=(703, "ef" * 32), **OPENED)
    assert delivered == ledger.transfers.get(received.id)
    assert (delivered.plain_octets, delivered.sha256) == (703, "ef" * 32)
    assert (delivered.virtual_hash, delivered.signers, delivered.recipients, delivered.choice) == (
        b"hash",
        ("01" * 32,),
        ("02" * 32,),
        "why",
    )


def test_a_file_delivered_at_once_may_have_been_hashed(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    new = replace(files.incoming(partner), cipher=4, signed_response=True)
    opened = ledger.transfers.open_incoming(new, now, "session-1", LEASE)
    assert isinstance(opened, Transfer)
    delivered = ledger.transfers.received_and_delivered(
        opened.id, 1, "", "inbox1", now, receipt=NewReceipt(kind=ReceiptKind.EERP), virtual_hash=b"hash"
    )
    assert delivered.virtual_hash == b"hash"


def test_a_refused_file_is_kept_as_it_came_until_it_is_forgotten(
    ledger: Ledger, received: Transfer, now: datetime
) -> None:
    nerp = NewReceipt(kind=ReceiptKind.NERP, reason=31)
    text = "the signature is not that of the content"
    refused = ledger.transfers.refuse(received.id, "NERP 31", text, now, nerp, raw_name=received.id, **OPENED)
    assert refused == ledger.transfers.get(received.id)
    assert (refused.state, refused.raw_name, refused.signers) == (S.REFUSED, received.id, ("01" * 32,))
    assert ledger.transfers.spool_names() == {received.id}
    assert ledger.transfers.raw_expired(now) == []
    assert ledger.transfers.raw_expired(now + timedelta(seconds=1)) == [refused]
    for _ in range(2):
        ledger.transfers.forget_raw(received.id)
    assert ledger.transfers.raw_expired(now + timedelta(seconds=1)) == []
    assert ledger.transfers.get(received.id).raw_name is None
    assert ledger.transfers.spool_names() == set()


def test_the_certificate_exchange_is_secured_as_files_are(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    new = replace(files.outgoing(partner, "ODETTE_CERTIFICATE_DELIVER", Kind.EXCHANGE), signed_response=True)
    transfer = ledger.transfers.queue(new, now)
    with pytest.raises(IllegalMoveError):
        ledger.transfers.sent(transfer.id, now)
    secured = ledger.transfers.secured(transfer.id, now, octets=5, spool_name=transfer.spool_name, virtual_hash=b"hash")
    assert (secured.state, secured.spool_name, secured.plain_name) == (S.QUEUED, *[transfer.spool_name] * 2)
