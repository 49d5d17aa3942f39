"""Which NERP reason is that of a file that could not be forwarded, and that the ledger passes back one answer only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2d.errors import OperatorError
from oftp2d.ledger import Direction, Ledger, NewReceipt, Partner, ReceiptKind, Transfer, TransferState
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
