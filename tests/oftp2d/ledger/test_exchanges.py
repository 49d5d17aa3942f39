"""The certificate exchange and the audit trail in the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from oftp2.certs.usages import Usage
from oftp2d.ledger import (
    Conclusion,
    Direction,
    ExchangeMessage,
    ExchangeState,
    Holder,
    IllegalMoveError,
    Kind,
    Ledger,
    NewAnnouncement,
    NewAuditEntry,
    NewReceipt,
    Partner,
    ReceiptKind,
    Reply,
    Retirement,
    Slot,
    Transfer,
    TransferState,
    UnknownError,
)
from oftp2d.ledger.exchanges import MOST_REFUSED

LEASE = timedelta(seconds=60)
MINUTE = timedelta(minutes=1)
DELIVER = "ODETTE_CERTIFICATE_DELIVER"
FINGERPRINT = "02" * 32


@pytest.fixture
def reply(partner: Partner, files: Any) -> Reply:
    file = files.outgoing(partner, DELIVER, Kind.EXCHANGE)
    return Reply(file=file, message=ExchangeMessage.DELIVER, fingerprint="aa" * 32)


@pytest.fixture
def received(ledger: Ledger, partner: Partner, files: Any, now: datetime) -> Transfer:
    offer = files.incoming(partner, "ODETTE_CERTIFICATE_REQUEST", Kind.EXCHANGE)
    transfer = ledger.transfers.open_incoming(offer, now, "session-1", LEASE)
    assert isinstance(transfer, Transfer)
    return ledger.transfers.received(transfer.id, 900, "", transfer.id, now)


def test_an_eerp_confirms_the_certificate_it_answers(
    ledger: Ledger, partner: Partner, reply: Reply, now: datetime
) -> None:
    transfer, record = ledger.exchanges.queue(reply, now)
    assert (record.state, record.direction, record.transfer_id) == (
        ExchangeState.QUEUED,
        Direction.OUT,
        transfer.id,
    )
    ledger.transfers.claim_next(partner.id, "session-1", now, LEASE)
    ledger.transfers.sent(transfer.id, now)
    assert ledger.exchanges.list(partner.id)[0].state is ExchangeState.SENT
    for _ in range(2):
        ledger.transfers.acknowledged(transfer.key, now)
    answered = ledger.exchanges.by_transfer(transfer.id)
    assert answered is not None
    assert (answered.state, answered.answered_at) == (ExchangeState.ACCEPTED, now)
    assert ledger.certificates.confirmed(partner.id) == {"aa" * 32}


def test_a_nerp_changes_nothing_but_the_record(ledger: Ledger, partner: Partner, reply: Reply, now: datetime) -> None:
    transfer, _ = ledger.exchanges.queue(reply, now)
    ledger.transfers.refused(transfer.key, now, "NERP 99", "expired on 2026-01-01")
    record = ledger.exchanges.by_transfer(transfer.id)
    assert record is not None
    assert (record.state, record.text) == (ExchangeState.REFUSED, "expired on 2026-01-01")
    assert ledger.certificates.confirmed(partner.id) == set()


class Recall:
    """Certificates of ours that a partner knows, and messages with them that it accepts."""

    def __init__(self, ledger: Ledger, partner: Partner, files: Any) -> None:
        self._ledger = ledger
        self._partner = partner
        self._files = files

    def hold(self, mark: str, *usages: Usage, now: datetime, station: str | None = "O0055US") -> None:
        made = self._files.certificate(mark, station=station, usages=frozenset(usages))
        self._ledger.certificates.add(made, now)
        self._ledger.certificates.confirm(self._partner.id, made.fingerprint, now, "EERP")

    def queue(self, mark: str, message: ExchangeMessage, now: datetime) -> Transfer:
        file = self._files.outgoing(self._partner, f"ODETTE_CERTIFICATE_{message}", Kind.EXCHANGE)
        return self._ledger.exchanges.queue(Reply(file=file, message=message, fingerprint=mark * 32), now)[0]

    def accept(self, transfer: Transfer, now: datetime) -> None:
        self._ledger.transfers.acknowledged(transfer.key, now)

    @property
    def known(self) -> set[str]:
        return {fingerprint[:2] for fingerprint in self._ledger.certificates.confirmed(self._partner.id)}


@pytest.fixture
def recall(ledger: Ledger, partner: Partner, files: Any) -> Recall:
    return Recall(ledger, partner, files)


def test_an_accepted_replacement_withdraws_what_the_partner_had_for_its_usages(
    ledger: Ledger, recall: Recall, other: Partner, now: datetime
) -> None:
    recall.hold("01", Usage.SIGNATURE, Usage.ENCRYPTION, now=now)
    recall.hold("02", Usage.TLS_SERVER, now=now)
    recall.hold("03", Usage.SIGNATURE, now=now, station="O0055SECOND")
    recall.hold("04", Usage.SIGNATURE, now=now, station=None)
    ledger.certificates.confirm(other.id, "01" * 32, now, "EERP")
    recall.hold("05", Usage.SIGNATURE, now=now)
    transfer = recall.queue("05", ExchangeMessage.REPLACE, now + MINUTE)
    assert recall.known == {"01", "02", "03", "04", "05"}
    recall.accept(transfer, now + MINUTE)
    assert recall.known == {"02", "03", "05"}
    assert ledger.certificates.confirmed(other.id) == {"01" * 32}


def test_a_delivered_certificate_withdraws_none(recall: Recall, now: datetime) -> None:
    recall.hold("01", Usage.SIGNATURE, now=now)
    recall.hold("02", Usage.SIGNATURE, now=now)
    recall.accept(recall.queue("02", ExchangeMessage.DELIVER, now), now)
    assert recall.known == {"01", "02"}


def test_a_refused_replacement_withdraws_none(ledger: Ledger, recall: Recall, now: datetime) -> None:
    recall.hold("01", Usage.SIGNATURE, now=now)
    recall.hold("02", Usage.SIGNATURE, now=now)
    transfer = recall.queue("02", ExchangeMessage.REPLACE, now)
    ledger.transfers.refused(transfer.key, now, "NERP 99", "no")
    assert recall.known == {"01", "02"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_certificates_of_one_recall_do_not_withdraw_each_other(
    recall: Recall, now: datetime, order: tuple[int, ...]
) -> None:
    recall.hold("01", Usage.SIGNATURE, Usage.AUTHENTICATION, now=now)
    recall.hold("02", Usage.SIGNATURE, Usage.ENCRYPTION, now=now)
    recall.hold("03", Usage.SIGNATURE, Usage.AUTHENTICATION, now=now)
    queued = [recall.queue(mark, ExchangeMessage.REPLACE, now + MINUTE) for mark in ("02", "03")]
    for number in order:
        recall.accept(queued[number], now + 2 * MINUTE)
    assert recall.known == {"02", "03"}


def test_a_recall_withdraws_what_a_former_recall_brought_but_nothing_sent_later(recall: Recall, now: datetime) -> None:
    for mark in ("01", "02", "03"):
        recall.hold(mark, Usage.SIGNATURE, now=now)
    recall.accept(recall.queue("01", ExchangeMessage.REPLACE, now), now)
    assert recall.known == {"01"}
    second = recall.queue("02", ExchangeMessage.REPLACE, now + MINUTE)
    recall.accept(recall.queue("03", ExchangeMessage.DELIVER, now + 2 * MINUTE), now + 2 * MINUTE)
    recall.accept(second, now + 3 * MINUTE)
    assert recall.known == {"02", "03"}


def test_a_message_that_is_sent_again_is_answered_again(
    ledger: Ledger, partner: Partner, reply: Reply, now: datetime
) -> None:
    transfer, _ = ledger.exchanges.queue(reply, now)
    ledger.transfers.refused(transfer.key, now, "NERP 99", "not announced")
    again = ledger.transfers.retry(transfer.id, now)
    assert ledger.exchanges.list()[0].state is ExchangeState.QUEUED
    ledger.transfers.acknowledged(again.key, now)
    assert ledger.exchanges.list()[0].state is ExchangeState.ACCEPTED
    assert ledger.certificates.confirmed(partner.id) == {"aa" * 32}


def test_an_eerp_for_a_message_without_a_record_is_only_an_eerp(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    transfer = ledger.transfers.queue(files.outgoing(partner, DELIVER, Kind.EXCHANGE), now)
    ledger.transfers.acknowledged(transfer.key, now)
    assert ledger.exchanges.by_transfer(transfer.id) is None
    assert ledger.certificates.confirmed(partner.id) == set()


def test_answers_of_one_second_have_stamps_of_their_own(ledger: Ledger, reply: Reply, now: datetime) -> None:
    stamps = {ledger.exchanges.queue(reply, now)[0].time for _ in range(3)}
    assert len(stamps) == 3


def test_an_accepted_request_becomes_true_as_a_whole(
    ledger: Ledger, partner: Partner, files: Any, reply: Reply, received: Transfer
) -> None:
    now = received.updated_at
    old = ledger.certificates.add(files.certificate("01", holder=Holder.PARTNER, partner_id=partner.id), now)
    announced = ledger.certificates.announce(
        NewAnnouncement(partner_id=partner.id, usages=old.usages, common_name="them"), now
    )
    record = ledger.exchanges.conclude(
        Conclusion(
            transfer_id=received.id,
            message=ExchangeMessage.REQUEST,
            state=ExchangeState.ACCEPTED,
            receipt=NewReceipt(kind=ReceiptKind.EERP),
            fingerprint=FINGERPRINT,
            certificate=files.certificate("02", holder=Holder.PARTNER, partner_id=partner.id),
            retire=(Retirement(certificate_id=old.id, slot=Slot.PREVIOUS),),
            announcement_id=announced.id,
            replies=(reply,),
            audit=(NewAuditEntry(at=now, partner_code=partner.code, event="accepted"),),
        ),
        now,
    )
    assert (record.state, record.direction, record.answered_at) == (ExchangeState.ACCEPTED, Direction.IN, now)
    assert ledger.transfers.get(received.id).state is TransferState.DELIVERED
    assert [receipt.kind for receipt in ledger.receipts.owed(partner.id)] == [ReceiptKind.EERP]
    assert [(entry.alias, entry.slot) for entry in ledger.certificates.list()] == [
        ("01", Slot.PREVIOUS),
        ("02", Slot.CURRENT),
    ]
    assert ledger.certificates.announcements()[0].fulfilled_by == FINGERPRINT
    assert ledger.transfers.list(direction=Direction.OUT)[0].dataset == DELIVER
    assert [entry.event for entry in ledger.audit.list(partner.code)] == ["accepted"]


def test_a_refused_message_owes_its_reason_as_text(
    ledger: Ledger, partner: Partner, received: Transfer, now: datetime
) -> None:
    nerp = NewReceipt(kind=ReceiptKind.NERP, reason=99, text="issuer unknown")
    refused = Conclusion(
        transfer_id=received.id,
        message=ExchangeMessage.REQUEST,
        state=ExchangeState.REFUSED,
        receipt=nerp,
        text="issuer unknown",
    )
    ledger.exchanges.conclude(refused, now)
    transfer = ledger.transfers.get(received.id)
    assert (transfer.state, transfer.reason, transfer.text) == (
        TransferState.REFUSED,
        "NERP 99",
        "issuer unknown",
    )
    assert [receipt.text for receipt in ledger.receipts.owed(partner.id)] == ["issuer unknown"]
    with pytest.raises(IllegalMoveError):
        ledger.exchanges.conclude(refused, now)


def test_of_refused_certificates_the_newest_of_each_partner_are_kept_and_those_for_their_time_only(
    ledger: Ledger, partner: Partner, files: Any, now: datetime
) -> None:
    def conclude(minute: int, state: ExchangeState) -> int:
        at = now + minute * MINUTE
        offer = replace(files.incoming(partner, DELIVER, Kind.EXCHANGE), time=f"{minute:010}")
        transfer = ledger.transfers.open_incoming(offer, at, "session-1", LEASE)
        assert isinstance(transfer, Transfer)
        ledger.transfers.received(transfer.id, 900, "", transfer.id, at)
        kind = ReceiptKind.EERP if state is ExchangeState.ACCEPTED else ReceiptKind.NERP
        conclusion = Conclusion(
            transfer_id=transfer.id,
            message=ExchangeMessage.DELIVER,
            state=state,
            receipt=NewReceipt(kind=kind, reason=None if kind is ReceiptKind.EERP else 99),
            der=b"certificate",
        )
        return ledger.exchanges.conclude(conclusion, at).id

    def kept(*numbers: int) -> list[bool]:
        return [ledger.exchanges.get(number).der is not None for number in numbers]

    accepted = conclude(0, ExchangeState.ACCEPTED)
    refused = [conclude(minute, ExchangeState.REFUSED) for minute in range(1, MOST_REFUSED + 3)]
    assert kept(accepted, *refused) == [True, False, False, *[True] * MOST_REFUSED]

    assert ledger.exchanges.forget_refused(now + 4 * MINUTE) == 1
    assert kept(accepted, *refused[:4]) == [True, False, False, False, True]
    assert ledger.exchanges.get(refused[0]).state is ExchangeState.REFUSED


def test_a_conclusion_that_fails_in_its_last_step_leaves_nothing_behind(
    ledger: Ledger, partner: Partner, files: Any, received: Transfer, reply: Reply
) -> None:
    now = received.updated_at
    broken = Conclusion(
        transfer_id=received.id,
        message=ExchangeMessage.REQUEST,
        state=ExchangeState.ACCEPTED,
        receipt=NewReceipt(kind=ReceiptKind.EERP),
        fingerprint=FINGERPRINT,
        certificate=files.certificate("02"),
        announcement_id=99,
        replies=(reply,),
    )
    with pytest.raises(UnknownError):
        ledger.exchanges.conclude(broken, now)
    assert ledger.transfers.undelivered() == [received]
    assert ledger.certificates.list() == ledger.exchanges.list() == ledger.receipts.owed(partner.id) == []


def test_the_messages_come_in_pages_youngest_first(ledger: Ledger, reply: Reply, now: datetime) -> None:
    made = [ledger.exchanges.queue(reply, now)[1].id for _ in range(3)]
    page = ledger.exchanges.list(limit=2)
    assert [record.id for record in page] == made[:0:-1]
    assert [record.id for record in ledger.exchanges.list(limit=2, before=page[-1].id)] == made[:1]


def test_the_last_offer_of_each_certificate_is_found(
    ledger: Ledger, partner: Partner, recall: Recall, now: datetime
) -> None:
    for mark in ("aa", "bb", "aa"):
        recall.queue(mark, ExchangeMessage.DELIVER, now)
    found = ledger.exchanges.last_offers(partner.id, {"aa" * 32, "bb" * 32, "cc" * 32})
    assert {fingerprint[:2]: record.id for fingerprint, record in found.items()} == {"aa": 3, "bb": 2}
    assert ledger.exchanges.last_offers(partner.id + 1, {"aa" * 32}) == {}


def test_the_audit_trail_is_read_backwards_in_pages(ledger: Ledger, now: datetime) -> None:
    for number in range(5):
        ledger.audit.record(now, "A" if number % 2 else None, f"event {number}", {"n": number, "ok": True})
    page = ledger.audit.list(limit=2)
    assert [entry.detail["n"] for entry in page] == [4, 3]
    assert [entry.detail["n"] for entry in ledger.audit.list(before=page[-1].id)] == [2, 1, 0]
    assert [entry.event for entry in ledger.audit.list("A")] == ["event 3", "event 1"]
    assert [entry.at for entry in ledger.audit.list(event="event 0")] == [now]
