"""Transfers on their way in, and the end responses owed for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from oftp2d.ledger import (
    Busy,
    ClaimLostError,
    Direction,
    Duplicate,
    IllegalMoveError,
    Ledger,
    NewIncoming,
    NewReceipt,
    Partner,
    ReceiptKind,
    ReceiptState,
    Transfer,
    TransferState,
    UnknownError,
)

EERP = NewReceipt(kind=ReceiptKind.EERP)
NERP = NewReceipt(kind=ReceiptKind.NERP, reason=34, text="cannot be opened")
SHA = "ab" * 32

LEASE = timedelta(seconds=60)


@pytest.fixture
def offer(partner: Partner, files: Any) -> NewIncoming:
    return files.incoming(partner)  # type: ignore[no-any-return]


@pytest.fixture
def open_(ledger: Ledger, offer: NewIncoming, now: datetime) -> Transfer:
    transfer = ledger.transfers.open_incoming(offer, now, "session-1", LEASE)
    assert isinstance(transfer, Transfer)
    return transfer


def test_a_new_file_is_received_under_a_name_of_ours(ledger: Ledger, open_: Transfer) -> None:
    assert (open_.state, open_.spool_name, open_.end_response) == (TransferState.RECEIVING, open_.id, None)
    assert ledger.transfers.get(open_.id) == open_


def test_received_then_delivered_owes_an_eerp(ledger: Ledger, open_: Transfer, now: datetime) -> None:
    received = ledger.transfers.received(open_.id, 1000, SHA, open_.id, now, owner="session-1")
    assert (received.state, received.octets, received.claim_owner) == (TransferState.RECEIVED, 1000, None)
    assert ledger.transfers.undelivered() == [received]
    delivered = ledger.transfers.delivered(open_.id, f"{open_.id}-order", now, EERP)
    assert (delivered.state, delivered.end_response) == (TransferState.DELIVERED, "owed")
    assert ledger.transfers.get(open_.id) == delivered
    assert ledger.transfers.undelivered() == []


def test_an_end_response_goes_back_the_way_the_file_came(
    ledger: Ledger, open_: Transfer, now: datetime, partner: Partner
) -> None:
    ledger.transfers.received_and_delivered(open_.id, 5, SHA, "inbox1", now, receipt=EERP)
    (owed,) = ledger.receipts.owed(partner.id)
    assert (owed.destination, owed.originator, owed.creator) == (open_.originator, "O0055US", "O0055US")
    assert (owed.dataset, owed.date, owed.time) == (open_.dataset, open_.date, open_.time)
    assert ledger.receipts.get(open_.id) == owed


def test_a_receipt_is_owed_until_the_rtr(ledger: Ledger, open_: Transfer, now: datetime, partner: Partner) -> None:
    ledger.transfers.received_and_delivered(open_.id, 5, SHA, "inbox1", now, receipt=EERP)
    assert ledger.receipts.partners_owed() == {partner.id}
    assert ledger.receipts.count_owed() == 1
    (owed,) = ledger.receipts.owed(partner.id)
    for _ in range(2):
        ledger.receipts.sent([owed.id], now)
    assert ledger.receipts.owed(partner.id) == []
    assert ledger.receipts.partners_owed() == set()
    assert ledger.transfers.get(open_.id).end_response == "sent"
    with pytest.raises(UnknownError, match="there is no end response 99"):
        ledger.receipts.sent([99], now)


def test_two_sessions_do_not_send_the_same_receipt(
    ledger: Ledger, open_: Transfer, now: datetime, partner: Partner
) -> None:
    ledger.transfers.received_and_delivered(open_.id, 5, SHA, "inbox1", now, receipt=EERP)
    (claimed,) = ledger.receipts.claim(partner.id, "session-1", now, LEASE)
    assert claimed.state is ReceiptState.SENDING
    assert ledger.receipts.claim(partner.id, "session-2", now, LEASE) == []
    assert ledger.receipts.partners_owed(now) == set()
    assert ledger.transfers.get(open_.id).end_response == "owed"
    later = now + 2 * LEASE
    assert ledger.receipts.partners_owed(later) == {partner.id}
    (taken,) = ledger.receipts.claim(partner.id, "session-2", later, LEASE)
    assert taken.claim_owner == "session-2"
    ledger.receipts.release("session-1")
    assert ledger.receipts.owed(partner.id) == []
    ledger.receipts.release("session-2")
    assert [receipt.id for receipt in ledger.receipts.owed(partner.id)] == [claimed.id]


def test_a_file_that_cannot_be_delivered_owes_a_nerp(
    ledger: Ledger, open_: Transfer, now: datetime, partner: Partner
) -> None:
    ledger.transfers.received(open_.id, 5, SHA, open_.id, now)
    refused = ledger.transfers.refuse(open_.id, "NERP 34", "cannot be opened", now, NERP)
    assert (refused.state, refused.reason) == (TransferState.REFUSED, "NERP 34")
    (owed,) = ledger.receipts.owed(partner.id)
    assert (owed.kind, owed.reason, owed.text) == (ReceiptKind.NERP, 34, "cannot be opened")


@pytest.mark.parametrize("end", ["received", "delivered", "refused"])
def test_what_is_here_already_is_a_duplicate(
    ledger: Ledger, offer: NewIncoming, open_: Transfer, now: datetime, end: str
) -> None:
    ledger.transfers.received(open_.id, 5, SHA, open_.id, now)
    if end == "delivered":
        ledger.transfers.delivered(open_.id, "inbox1", now, EERP)
    elif end == "refused":
        ledger.transfers.refuse(open_.id, "NERP 34", "", now, NERP)
    again = ledger.transfers.open_incoming(offer, now, "session-2", LEASE)
    assert isinstance(again, Duplicate)
    assert again.transfer.id == open_.id


def test_an_interrupted_file_goes_on_in_its_own_row(
    ledger: Ledger, offer: NewIncoming, open_: Transfer, now: datetime
) -> None:
    ledger.transfers.interrupted(open_.id, now, owner="session-1")
    again = ledger.transfers.open_incoming(replace(offer, octets=2048), now, "session-2", LEASE)
    assert isinstance(again, Transfer)
    assert (again.id, again.spool_name, again.attempts, again.octets) == (open_.id, open_.id, 2, 2048)
    assert again.claim_owner == "session-2"


def test_a_cancelled_file_may_be_offered_again(
    ledger: Ledger, offer: NewIncoming, open_: Transfer, now: datetime
) -> None:
    ledger.transfers.interrupted(open_.id, now)
    ledger.transfers.cancel(open_.id, now)
    again = ledger.transfers.open_incoming(offer, now, "session-2", LEASE)
    assert isinstance(again, Transfer)
    assert (again.state, again.ended_at) == (TransferState.RECEIVING, None)


def test_a_file_another_session_is_receiving_is_busy_until_its_lease_runs_out(
    ledger: Ledger, offer: NewIncoming, open_: Transfer, now: datetime
) -> None:
    assert isinstance(ledger.transfers.open_incoming(offer, now, "session-2", LEASE), Busy)
    assert isinstance(ledger.transfers.open_incoming(offer, now, "session-1", LEASE), Transfer)
    taken = ledger.transfers.open_incoming(offer, now + 2 * LEASE, "session-2", LEASE)
    assert isinstance(taken, Transfer)
    assert taken.id == open_.id
    with pytest.raises(ClaimLostError, match="taken over"):
        ledger.transfers.received(open_.id, 5, SHA, open_.id, now, owner="session-1")


def test_nobody_appends_to_a_file_another_partner_has_begun(
    ledger: Ledger, offer: NewIncoming, open_: Transfer, now: datetime, other: Partner
) -> None:
    ledger.transfers.interrupted(open_.id, now)
    stolen = ledger.transfers.open_incoming(replace(offer, partner_id=other.id), now, "session-2", LEASE)
    assert isinstance(stolen, Duplicate)


def test_a_file_is_delivered_once_only(ledger: Ledger, open_: Transfer, now: datetime) -> None:
    ledger.transfers.received_and_delivered(open_.id, 5, SHA, "inbox1", now, receipt=None)
    with pytest.raises(IllegalMoveError):
        ledger.transfers.delivered(open_.id, "inbox1", now, EERP)
    assert ledger.receipts.get(open_.id) is None


def test_a_copy_that_comes_from_ourselves_is_another_file(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    sent = ledger.transfers.queue(files.outgoing(partner), now)
    echo = NewIncoming(
        kind=sent.kind,
        partner_id=partner.id,
        dataset=sent.dataset,
        date=sent.date,
        time=sent.time,
        originator=sent.originator,
        destination=sent.destination,
    )
    assert isinstance(ledger.transfers.open_incoming(echo, now, "session-1", LEASE), Transfer)
    assert ledger.transfers.find(Direction.OUT, echo.key) == sent


def test_recover_gives_back_what_dead_owners_held(
    ledger: Ledger, partner: Partner, open_: Transfer, files: Any, now: datetime
) -> None:
    done = ledger.transfers.open_incoming(files.incoming(partner, "DONE"), now, "session-1", LEASE)
    assert isinstance(done, Transfer)
    ledger.transfers.received_and_delivered(done.id, 5, SHA, "inbox1", now, receipt=EERP)
    ledger.receipts.claim(partner.id, "session-1", now, LEASE)
    for owner in ("session-1", "session-2"):
        ledger.transfers.queue(files.outgoing(partner, owner), now)
        ledger.transfers.claim_next(partner.id, owner, now, LEASE)
    moved = ledger.transfers.recover(lambda owner: owner == "session-2", now)
    assert [(transfer.dataset, transfer.state) for transfer in moved] == [
        ("ORDER", TransferState.INTERRUPTED),
        ("session-1", TransferState.QUEUED),
    ]
    assert len(ledger.receipts.owed(partner.id)) == 1
    assert ledger.transfers.counts()[TransferState.SENDING] == 1


def test_a_reception_is_released_with_its_session(ledger: Ledger, open_: Transfer, now: datetime) -> None:
    assert ledger.transfers.release("session-2", now) == []
    (released,) = ledger.transfers.release("session-1", now)
    assert (released.id, released.state, released.attempts) == (open_.id, TransferState.INTERRUPTED, 1)
    assert ledger.transfers.release("session-1", now) == []


def test_the_spool_keeps_what_may_still_be_needed(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    queued, done, refused = (
        ledger.transfers.queue(files.outgoing(partner, name), now) for name in ("QUEUED", "DONE", "REFUSED")
    )
    ledger.transfers.acknowledged(done.key, now)
    ledger.transfers.refused(refused.key, now, "NERP 34", "")
    kept = {queued.spool_name, refused.spool_name}
    cancelled = ledger.transfers.queue(files.outgoing(partner, "CANCELLED"), now)
    ledger.transfers.cancel(cancelled.id, now)
    kept.add(cancelled.spool_name)
    for name in ("OPEN", "RECEIVED", "DELIVERED", "BAD", "BROKENOFF", "GIVENUP"):
        transfer = ledger.transfers.open_incoming(files.incoming(partner, name), now, "session-1", LEASE)
        assert isinstance(transfer, Transfer)
        if name in {"BROKENOFF", "GIVENUP"}:
            ledger.transfers.interrupted(transfer.id, now)
            if name == "GIVENUP":
                ledger.transfers.cancel(transfer.id, now)
            else:
                kept.add(transfer.spool_name)
            continue
        if name != "OPEN":
            ledger.transfers.received(transfer.id, 5, SHA, transfer.id, now)
        if name == "DELIVERED":
            ledger.transfers.delivered(transfer.id, "inbox1", now, EERP)
        elif name == "BAD":
            ledger.transfers.refuse(transfer.id, "NERP 34", "", now, NERP)
        else:
            kept.add(transfer.spool_name)
    assert ledger.transfers.spool_names() == kept


def test_a_file_that_broke_off_goes_on_behind_what_is_there(
    ledger: Ledger, partner: Partner, files: Any, open_: Transfer, now: datetime
) -> None:
    assert open_.reached == 0
    for end, reached in (
        (lambda: ledger.transfers.interrupted(open_.id, now), None),
        (lambda: ledger.transfers.interrupted(open_.id, now, kept=False), 0),
        (lambda: ledger.transfers.recover(lambda _owner: False, now), None),
        (lambda: ledger.transfers.release("session-2", now), 0),
        (lambda: ledger.transfers.recover(lambda _owner: False, now, rebooted=True), 0),
    ):
        end()
        assert ledger.transfers.get(open_.id).reached == reached
        again = ledger.transfers.open_incoming(files.incoming(partner), now, "session-2", LEASE)
        assert isinstance(again, Transfer)
        assert again.reached == reached


def test_what_was_kept_goes_on_after_a_boot_too(
    ledger: Ledger, partner: Partner, files: Any, open_: Transfer, now: datetime
) -> None:
    ledger.transfers.interrupted(open_.id, now)
    assert ledger.transfers.recover(lambda _owner: False, now, rebooted=True) == []
    again = ledger.transfers.open_incoming(files.incoming(partner), now, "session-2", LEASE)
    assert isinstance(again, Transfer)
    assert again.reached is None


def test_that_a_file_goes_on_is_on_disk_before_it_grows_and_that_it_was_kept_too(
    ledger: Ledger, offer: NewIncoming, now: datetime
) -> None:
    """Else a loss of power would make what came since look kept."""
    steps: list[tuple[str, str]] = []
    engine = ledger.transfers._database._engine

    @sa.event.listens_for(engine, "commit")
    def committed(connection: sa.Connection) -> None:
        steps.append((step, connection.info["synchronous"]))

    step = "new"
    opened = ledger.transfers.open_incoming(offer, now, "session-1", LEASE)
    assert isinstance(opened, Transfer)
    step = "kept"
    ledger.transfers.interrupted(opened.id, now)
    step = "goes on"
    ledger.transfers.open_incoming(offer, now, "session-2", LEASE)
    step = "not kept"
    ledger.transfers.interrupted(opened.id, now, kept=False)
    assert steps == [("new", "NORMAL"), ("kept", "FULL"), ("goes on", "FULL"), ("not kept", "NORMAL")]


def test_another_file_under_the_same_name_and_stamp_comes_from_its_beginning(
    ledger: Ledger, partner: Partner, files: Any, open_: Transfer, now: datetime
) -> None:
    changes: list[dict[str, Any]] = [{"octets": 2048}, {"format": "T"}, {"record_length": 80}, {"description": "other"}]
    for change in changes:
        for reached in (0, None):
            # The second time what is there is the beginning of that one.
            ledger.transfers.interrupted(open_.id, now)
            again = ledger.transfers.open_incoming(replace(files.incoming(partner), **change), now, "session-2", LEASE)
            assert isinstance(again, Transfer)
            assert again.reached == reached
            assert all(getattr(again, name) == value for name, value in change.items())


def test_what_a_session_left_behind_that_may_still_live_comes_from_its_beginning(
    ledger: Ledger, partner: Partner, files: Any, open_: Transfer, now: datetime
) -> None:
    taken = ledger.transfers.open_incoming(files.incoming(partner), now + 2 * LEASE, "session-2", LEASE)
    assert isinstance(taken, Transfer)
    assert (taken.id, taken.reached) == (open_.id, 0)


def test_what_broke_off_long_ago_is_given_up(
    ledger: Ledger, partner: Partner, files: Any, open_: Transfer, now: datetime
) -> None:
    ledger.transfers.interrupted(open_.id, now)
    young = ledger.transfers.open_incoming(files.incoming(partner, "YOUNG"), now, "session-1", LEASE)
    assert isinstance(young, Transfer)
    ledger.transfers.interrupted(young.id, now + LEASE)
    assert ledger.transfers.expire(now, now) == []
    (expired,) = ledger.transfers.expire(now + LEASE, now + LEASE)
    assert (expired.id, expired.state, expired.ended_at) == (open_.id, TransferState.CANCELLED, now + LEASE)
    assert ledger.transfers.get(young.id).state is TransferState.INTERRUPTED
    assert ledger.transfers.spool_names() == {young.spool_name}


def test_the_records_of_a_file_are_kept(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> None:
    offers = [replace(files.incoming(partner, name), format="V", record_length=80) for name in ("A", "B")]
    first, second = (ledger.transfers.open_incoming(offer, now, "session-1", LEASE) for offer in offers)
    assert isinstance(first, Transfer)
    assert isinstance(second, Transfer)
    assert (first.format, first.record_length, first.records) == ("V", 80, 0)
    ledger.transfers.received(first.id, 500, SHA, first.id, now, records=7)
    ledger.transfers.received_and_delivered(second.id, 500, SHA, "inbox2", now, receipt=EERP, records=8)
    assert [ledger.transfers.get(each.id).records for each in (first, second)] == [7, 8]
    # Delivered in another form it has another digest.
    delivered = ledger.transfers.delivered(first.id, "inbox1", now, EERP, made=(5, "0" * 64))
    assert delivered.sha256 == "0" * 64
