"""Which NERP reason is that of a file that could not be forwarded, and that the ledger passes back one answer only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    Direction,
    IllegalMoveError,
    Ledger,
    NewReceipt,
    Partner,
    ReceiptKind,
    Traffic,
    Transfer,
    TransferState,
)
from oftp2d.ledger.forwarding import negative_reason

LEASE = timedelta(minutes=1)
EERP = NewReceipt(kind=ReceiptKind.EERP)

BEYOND_TEN = {21: 31, 22: 33, 23: 32, 99: 99}
"""EFNA reasons whose NERP reason is not ten more: RFC 5024 section 5.3.14 has them in another order."""


@pytest.mark.parametrize("command", ["SFNA", "EFNA"])
@pytest.mark.parametrize("reason", AnswerReason)
def test_a_refusal_of_the_next_location_has_its_own_reason(command: str, reason: AnswerReason) -> None:
    wanted = BEYOND_TEN.get(reason, reason + 10)
    assert negative_reason(f"{command} {reason:02}", sent=True) == NegativeResponseReason(wanted)  # type: ignore[call-arg]


@pytest.mark.parametrize("reason", EndSessionReason)
def test_a_session_that_the_next_location_ended_is_03_04_or_09(reason: EndSessionReason) -> None:
    wanted = {3: 3, 4: 4}.get(reason, 9)
    assert negative_reason(f"ESID {reason:02}", sent=False) == wanted


def test_without_an_answer_it_was_not_delivered_or_not_acknowledged() -> None:
    assert negative_reason(None, sent=False) is NegativeResponseReason.NOT_DELIVERED
    assert negative_reason(None, sent=True) is NegativeResponseReason.NOT_ACKNOWLEDGED


@pytest.fixture
def legs(ledger: Ledger, partner: Partner, other: Partner, files: Any, now: datetime) -> tuple[Transfer, Transfer]:
    """A file of one partner for the other, received and queued."""
    ledger.partners.change(partner.id, may_forward=True)
    opened = ledger.transfers.open_incoming(files.incoming(partner), now, "session-1", LEASE)
    assert isinstance(opened, Transfer)
    incoming = ledger.transfers.received_and_forwarded(
        opened.id, 10, "00" * 32, opened.spool_name, now, partner_id=other.id, owner="session-1"
    )
    (outgoing,) = ledger.transfers.list(direction=Direction.OUT)
    return incoming, outgoing


def test_both_legs_are_one_file_in_one_place_and_neither_is_swept(
    ledger: Ledger, legs: tuple[Transfer, Transfer], other: Partner, now: datetime
) -> None:
    incoming, outgoing = legs
    assert (incoming.state, outgoing.state) == (TransferState.RECEIVED, TransferState.QUEUED)
    assert incoming.key == outgoing.key
    assert ledger.transfers.spool_names() == {incoming.spool_name} == {outgoing.spool_name}
    assert ledger.transfers.undelivered() == [], "nobody but the other partner is to look at it"
    assert ledger.transfers.partners_waiting(now) == {other.id}
    found = ledger.forwardings.of([incoming.id])
    assert found == dict.fromkeys((incoming.id, outgoing.id), found[incoming.id])
    assert ledger.forwardings.of([outgoing.id]) == found
    assert ledger.forwardings.of(["0"]) == {}


@pytest.mark.parametrize("end", ["failed", "give_up", "cancel"])
def test_the_end_of_one_leg_is_the_end_of_the_other_in_one_step(
    ledger: Ledger, legs: tuple[Transfer, Transfer], end: str, now: datetime
) -> None:
    incoming, outgoing = legs
    if end == "cancel":
        ledger.transfers.cancel(outgoing.id, now)
    else:
        getattr(ledger.transfers, end)(outgoing.id, now, "SFNA 02", "who is that")
    receipt = ledger.receipts.get(incoming.id)
    assert receipt is not None
    assert (receipt.kind, receipt.reason) == (ReceiptKind.NERP, 50 if end == "cancel" else 12)
    assert (receipt.creator, receipt.partner_id) == ("O0055US", incoming.partner_id)
    assert ledger.transfers.get(incoming.id).state is TransferState.REFUSED
    assert ledger.transfers.spool_names() == set()
    with pytest.raises(OperatorError, match="that we only forward"):
        ledger.transfers.retry(outgoing.id, now)


def test_the_first_answer_stands(
    ledger: Ledger, legs: tuple[Transfer, Transfer], other: Partner, now: datetime
) -> None:
    incoming, outgoing = legs
    ledger.transfers.failed(outgoing.id, now, "EFNA 12", "disk full")
    answered = ledger.transfers.acknowledged(outgoing.key, now, partner_id=other.id, answer=EERP)
    assert answered is not None
    assert answered.transfer.state is TransferState.ACKNOWLEDGED
    receipt = ledger.receipts.get(incoming.id)
    assert receipt is not None
    assert receipt.reason == 22


def test_an_answer_for_a_file_of_ours_goes_nowhere(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    ours = ledger.transfers.queue(files.outgoing(partner), now)
    assert ledger.transfers.acknowledged(ours.key, now, answer=EERP) is not None
    assert ledger.receipts.count_owed() == 0


@pytest.mark.parametrize("end", ["failed", "give_up"])
def test_what_is_noted_for_our_administrators_does_not_travel(
    ledger: Ledger, legs: tuple[Transfer, Transfer], end: str, now: datetime
) -> None:
    incoming, outgoing = legs
    getattr(ledger.transfers, end)(outgoing.id, now, None, "10.0.0.7:6619 cannot be reached")
    receipt = ledger.receipts.get(incoming.id)
    assert receipt is not None
    assert (receipt.reason, receipt.text) == (35, "not delivered to recipient")
    assert ledger.transfers.get(outgoing.id).text == "10.0.0.7:6619 cannot be reached"


def test_what_the_next_location_said_itself_travels(
    ledger: Ledger, legs: tuple[Transfer, Transfer], now: datetime
) -> None:
    incoming, outgoing = legs
    ledger.transfers.failed(outgoing.id, now, "SFNA 12", "given up after it was refused once", said="disk full")
    receipt = ledger.receipts.get(incoming.id)
    assert receipt is not None
    assert (receipt.reason, receipt.text) == (22, "access method failure: disk full")


def test_a_text_that_travels_fits_into_a_nerp(
    ledger: Ledger, legs: tuple[Transfer, Transfer], other: Partner, now: datetime
) -> None:
    incoming, outgoing = legs
    nerp = NewReceipt(kind=ReceiptKind.NERP, reason=34, text="\N{REPLACEMENT CHARACTER}" * 999)
    assert ledger.transfers.refused(outgoing.key, now, "NERP 34", "", partner_id=other.id, answer=nerp) is not None
    receipt = ledger.receipts.get(incoming.id)
    assert receipt is not None
    assert receipt.text == "\N{REPLACEMENT CHARACTER}" * 333


def test_only_forwarded_files_are_overdue_at_a_partner_that_is_not_called(
    ledger: Ledger, legs: tuple[Transfer, Transfer], other: Partner, files: Any, now: datetime
) -> None:
    _, outgoing = legs
    ours = ledger.transfers.queue(files.outgoing(other), now)
    for change in ({"host": None}, {"host": "there", "wait_for_calls": True}, {"active": False}):
        ledger.partners.change(other.id, **change)  # type: ignore[arg-type]
        assert [each.id for each in ledger.transfers.overdue(now)] == [outgoing.id]
        assert ledger.transfers.overdue(now - timedelta(seconds=1)) == []
    assert ledger.transfers.get(ours.id).state is TransferState.QUEUED


def test_only_a_forwarded_file_is_given_up_or_cancelled_once_it_was_sent(
    ledger: Ledger, legs: tuple[Transfer, Transfer], other: Partner, files: Any, now: datetime
) -> None:
    incoming, outgoing = legs
    ours = ledger.transfers.queue(files.outgoing(other), now)
    for each in (outgoing, ours):
        claimed = ledger.transfers.claim_next(other.id, "session-2", now, LEASE)
        assert claimed is not None
        assert claimed.id == each.id
        ledger.transfers.efid_going(each.id)
        ledger.transfers.sent(each.id, now)
    with pytest.raises(IllegalMoveError):
        ledger.transfers.cancel(ours.id, now)
    assert [each.id for each in ledger.transfers.overdue(now)] == [outgoing.id]
    with pytest.raises(IllegalMoveError):
        ledger.transfers.give_up(outgoing.id, now, None, "it was queued when it was found")
    ledger.transfers.give_up(outgoing.id, now, None, "no answer", state=TransferState.SENT)
    receipt = ledger.receipts.get(incoming.id)
    assert receipt is not None
    assert receipt.reason == NegativeResponseReason.NOT_ACKNOWLEDGED


@pytest.mark.parametrize(
    "change", [{"active": False}, {"mode": Traffic.RECEIVE}, None], ids=["off", "sends only", "gone"]
)
def test_a_file_that_came_for_a_partner_who_takes_none_any_more_is_refused_in_the_same_step(
    ledger: Ledger, partner: Partner, other: Partner, files: Any, *, now: datetime, change: Any
) -> None:
    opened = ledger.transfers.open_incoming(files.incoming(partner), now, "session-1", LEASE)
    assert isinstance(opened, Transfer)
    if change is None:
        ledger.partners.remove(other.id, now)
    else:
        ledger.partners.change(other.id, **change)
    refused = ledger.transfers.received_and_forwarded(
        opened.id, 10, "00" * 32, opened.spool_name, now, partner_id=other.id, owner="session-1"
    )
    assert (refused.state, refused.reason) == (TransferState.REFUSED, "NERP 35")
    assert ledger.transfers.list() == [ledger.transfers.get(refused.id)]
    assert ledger.transfers.spool_names() == set()
    receipt = ledger.receipts.get(refused.id)
    assert receipt is not None
    assert (receipt.reason, receipt.creator, receipt.partner_id) == (35, "O0055US", partner.id)
