"""Messages of the certificate exchange, each beside the transfer that carries it (acx.md sections 3 and 4).

An outgoing message and its transfer are queued in one transaction, and the end response to it settles both. An
incoming one is concluded in one transaction too: certificate, predecessors, announcement, end response, answers to
a REQUEST and audit trail become true together or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from oftp2d.ledger.audit import write
from oftp2d.ledger.certificates import confirm, drop_oldest, fulfil, place, retire
from oftp2d.ledger.certified import (
    Conclusion,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    Holder,
    NewExchange,
    Reply,
    Unanswered,
)
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.moves import Move, fetch, insert_outgoing, insert_receipt
from oftp2d.ledger.records import NewAuditEntry, Transfer
from oftp2d.ledger.schema import certificates, confirmations, exchanges, partners, transfers
from oftp2d.ledger.states import Direction, TransferState

_WITHOUT_CONTENT: Final = tuple(column for column in exchanges.c if column is not exchanges.c.der)
MOST_REFUSED: Final = 20
"""Refused certificates of one partner that are kept, the newest: what it sends must not fill the ledger."""

_ANSWERED: Final = frozenset({ExchangeState.ACCEPTED, ExchangeState.REFUSED})
_DELIVERED = Move(Direction.IN, [TransferState.RECEIVED], TransferState.DELIVERED)
_CANCELLED = Move(Direction.OUT, [TransferState.QUEUED, TransferState.FAILED], TransferState.CANCELLED)
_REFUSED = Move(Direction.IN, [TransferState.RECEIVED], TransferState.REFUSED)


class Exchanges:
    """The certificate exchange in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(self, message: Reply, now: datetime) -> tuple[Transfer, ExchangeRecord]:
        """Queue a message of ours together with its record."""
        return self._database.insist(lambda connection: _queue(connection, message, now))

    def conclude(self, conclusion: Conclusion, now: datetime) -> ExchangeRecord:
        """Commit the outcome of a received message as a whole; its transfer is delivered or refused by it.

        Raises UnknownError and IllegalMoveError as ``Transfers.delivered`` does.
        """
        return self._database.insist(lambda connection: _conclude(connection, conclusion, now))

    def waiting(self) -> dict[tuple[int, ExchangeState], int]:
        """How many messages of each partner wait for an answer: ours for its, and those held for an operator's."""
        unanswered = (ExchangeState.QUEUED, ExchangeState.SENT, ExchangeState.HELD)
        counted = (
            sa.select(exchanges.c.partner_id, exchanges.c.state, sa.func.count().label("number"))
            .where(exchanges.c.state.in_(unanswered))
            .group_by(exchanges.c.partner_id, exchanges.c.state)
        )
        with self._database.reading() as connection:
            return {(row.partner_id, row.state): row.number for row in connection.execute(counted)}

    def hold(
        self,
        new: NewExchange,
        now: datetime,
        *,
        replies: Sequence[Reply] = (),
        audit: Sequence[NewAuditEntry] = (),
    ) -> ExchangeRecord:
        """Record a received message that waits for an operator, and queue what it is answered with all the same."""

        def kept(connection: Connection) -> ExchangeRecord:
            record = _insert(connection, new, now)
            for reply in replies:
                _queue(connection, reply, now)
            for entry in audit:
                write(connection, entry)
            return record

        return self._database.insist(kept)

    def held(self, partner_id: int | None = None) -> Sequence[ExchangeRecord]:
        """The messages that wait for an operator, of one partner or of all, oldest first, without their certificates."""
        found = sa.select(*_WITHOUT_CONTENT).where(exchanges.c.state == ExchangeState.HELD)
        if partner_id is not None:
            found = found.where(exchanges.c.partner_id == partner_id)
        with self._database.reading() as connection:
            return [_to_record(row) for row in connection.execute(found.order_by(exchanges.c.id))]

    def get(self, exchange_id: int) -> ExchangeRecord:
        """One message with its certificate. Raises UnknownError."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(exchanges).where(exchanges.c.id == exchange_id)).first()
        if row is None:
            raise UnknownError("message", str(exchange_id))
        return _to_record(row)

    def unanswered(self, partner_id: int | None = None) -> Sequence[Unanswered]:
        """The offers of ours, to one partner or all, that wait for an end response or are still to be sent, oldest first.

        Of one that was repeated only the last; none that was cancelled, or of a partner that was removed.
        """
        newer, carried, present = exchanges.alias(), transfers.alias(), partners.alias()
        repeated = sa.exists().where(
            newer.c.id > exchanges.c.id,
            newer.c.partner_id == exchanges.c.partner_id,
            newer.c.direction == Direction.OUT,
            newer.c.message == exchanges.c.message,
            newer.c.fingerprint == exchanges.c.fingerprint,
            carried.c.id == newer.c.transfer_id,
            carried.c.originator == transfers.c.originator,
            carried.c.destination == transfers.c.destination,
        )
        found = (
            sa.select(*_WITHOUT_CONTENT)
            .join(transfers, transfers.c.id == exchanges.c.transfer_id)
            .join(present, present.c.id == exchanges.c.partner_id)
            .where(
                exchanges.c.direction == Direction.OUT,
                exchanges.c.state.in_((ExchangeState.QUEUED, ExchangeState.SENT)),
                transfers.c.state != TransferState.CANCELLED,
                present.c.removed_at.is_(None),
                ~repeated,
            )
            .order_by(exchanges.c.id)
        )
        if partner_id is not None:
            found = found.where(exchanges.c.partner_id == partner_id)
        with self._database.reading() as connection:
            records = [_to_record(row) for row in connection.execute(found)]
            return [Unanswered(record=each, transfer=fetch(connection, each.transfer_id)) for each in records]

    def remind(self, exchange_id: int, repetition: Reply | None, now: datetime) -> ExchangeRecord | None:
        """A message of ours is repeated by a new one, or without one it is over with repeating; None if it was answered."""

        def again(connection: Connection) -> ExchangeRecord | None:
            marked = sa.update(exchanges).where(
                exchanges.c.id == exchange_id,
                exchanges.c.state == ExchangeState.SENT,
                exchanges.c.reminded_at.is_(None),
            )
            row = connection.execute(marked.values(reminded_at=now).returning(*_WITHOUT_CONTENT)).first()
            if row is None or repetition is None:
                return None if row is None else _to_record(row)
            _, record = _queue(connection, repetition, now, reminders=row.reminders + 1)
            return record

        return self._database.insist(again)

    def last_offers(self, partner_id: int, fingerprints: Collection[str]) -> dict[str, ExchangeRecord]:
        """The last offer to a partner of each of these certificates of ours, without their content, by fingerprint."""
        offered = sa.select(*_WITHOUT_CONTENT).where(
            exchanges.c.partner_id == partner_id, exchanges.c.direction == Direction.OUT
        )
        found = {}
        with self._database.reading() as connection:
            for fingerprint in fingerprints:
                of_it = offered.where(exchanges.c.fingerprint == fingerprint)
                row = connection.execute(of_it.order_by(exchanges.c.id.desc()).limit(1)).first()
                if row is not None:
                    found[fingerprint] = _to_record(row)
        return found

    def spared(self, transfer_id: str) -> Sequence[str]:
        """What is in the spool of repetitions that need not go any more, for this message of ours was answered."""
        answered = exchanges.alias()
        found = (
            sa.select(transfers.c.spool_name)
            .join(exchanges, exchanges.c.transfer_id == transfers.c.id)
            .join(answered, answered.c.partner_id == exchanges.c.partner_id)
            .where(
                answered.c.transfer_id == transfer_id,
                exchanges.c.direction == Direction.OUT,
                exchanges.c.fingerprint == answered.c.fingerprint,
                exchanges.c.answered_at == answered.c.answered_at,
                exchanges.c.id != answered.c.id,
                transfers.c.state == TransferState.CANCELLED,
            )
        )
        with self._database.reading() as connection:
            return connection.execute(found).scalars().all()

    def forget_refused(self, before: datetime) -> int:
        """Keep no certificate any longer that was refused before then; returns of how many messages."""
        forgotten = sa.update(exchanges).where(
            exchanges.c.state == ExchangeState.REFUSED, exchanges.c.der.is_not(None), exchanges.c.answered_at < before
        )
        with self._database.writing() as connection:
            return connection.execute(forgotten.values(der=None)).rowcount

    def by_transfer(self, transfer_id: str) -> ExchangeRecord | None:
        """The message a transfer carries."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(exchanges).where(exchanges.c.transfer_id == transfer_id)).first()
            return None if row is None else _to_record(row)

    def list(
        self, partner_id: int | None = None, limit: int = 100, *, before: int | None = None
    ) -> Sequence[ExchangeRecord]:
        """The youngest messages first, without their certificates; ``before`` is the last id of the page before."""
        found = sa.select(*_WITHOUT_CONTENT)
        if partner_id is not None:
            found = found.where(exchanges.c.partner_id == partner_id)
        if before is not None:
            found = found.where(exchanges.c.id < before)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(exchanges.c.id.desc()).limit(limit))
            return [_to_record(row) for row in rows]


def set_going(connection: Connection, transfer: Transfer) -> None:
    """The partner has the file of a message of ours; its answer is to come."""
    sent = sa.update(exchanges).where(exchanges.c.transfer_id == transfer.id, exchanges.c.state == ExchangeState.QUEUED)
    connection.execute(sent.values(state=ExchangeState.SENT))


def reopen(connection: Connection, transfer: Transfer) -> None:
    """A message of ours goes out once more; what was answered to the first is no longer the answer."""
    again = sa.update(exchanges).where(exchanges.c.transfer_id == transfer.id)
    connection.execute(again.values(state=ExchangeState.QUEUED, text="", answered_at=None))


def settle(connection: Connection, transfer: Transfer, state: ExchangeState, text: str, now: datetime) -> None:
    """The end response to a message of ours: an EERP confirms the certificate it carried (acx.md 3.8).

    That for a REPLACE also says that the partner has none of those before it any more.
    """
    row = connection.execute(sa.select(exchanges).where(exchanges.c.transfer_id == transfer.id)).one_or_none()
    if row is None:
        return
    answered = sa.update(exchanges).where(exchanges.c.id == row.id, exchanges.c.answered_at.is_(None))
    connection.execute(answered.values(state=state, text=text, answered_at=now))
    if state is ExchangeState.ACCEPTED and row.fingerprint is not None:
        _settle_repetitions(connection, transfer, row, now)
        confirm(connection, transfer.partner_id, row.fingerprint, now, "EERP")
        if row.message is ExchangeMessage.REPLACE:
            _withdraw(connection, transfer, row)


def _settle_repetitions(connection: Connection, transfer: Transfer, answered: Row[Any], now: datetime) -> None:
    """The EERP for one of several offers of the same certificate is that for all; what was not sent yet stays here."""
    others = (
        sa.select(exchanges.c.id, exchanges.c.transfer_id)
        .join(transfers, transfers.c.id == exchanges.c.transfer_id)
        .where(
            exchanges.c.partner_id == transfer.partner_id,
            exchanges.c.direction == Direction.OUT,
            exchanges.c.message == answered.message,
            exchanges.c.fingerprint == answered.fingerprint,
            exchanges.c.answered_at.is_(None),
            transfers.c.originator == transfer.originator,
            transfers.c.destination == transfer.destination,
        )
    )
    for row in connection.execute(others).all():
        values = {
            "state": ExchangeState.ACCEPTED,
            "text": f"by the answer to message {answered.id}",
            "answered_at": now,
        }
        connection.execute(sa.update(exchanges).where(exchanges.c.id == row.id).values(values))
        if fetch(connection, row.transfer_id).state in {TransferState.QUEUED, TransferState.FAILED}:
            _CANCELLED.apply(connection, row.transfer_id, now, ended_at=now)


def _withdraw(connection: Connection, transfer: Transfer, replacement: Row[Any]) -> None:
    """The partner has taken a certificate of ours for those before it: it has none of them now (acx.md 3.8 and 6).

    Gone are those of the same station that share a usage with it, but not what the same recall or a later message
    brought.
    """
    ours = sa.select(certificates.c.fingerprint, certificates.c.usages).where(
        certificates.c.holder == Holder.OWN,
        sa.or_(certificates.c.station == transfer.originator, certificates.c.station.is_(None)),
    )
    entries = connection.execute(ours).all()
    usages = frozenset().union(*(entry.usages for entry in entries if entry.fingerprint == replacement.fingerprint))
    former = {entry.fingerprint for entry in entries if entry.usages & usages} - {replacement.fingerprint}
    spared = sa.select(exchanges.c.fingerprint).where(
        exchanges.c.partner_id == transfer.partner_id,
        exchanges.c.direction == Direction.OUT,
        exchanges.c.state != ExchangeState.REFUSED,
        exchanges.c.created_at >= replacement.created_at,
    )
    withdrawn = former - set(connection.execute(spared).scalars())
    connection.execute(
        sa.delete(confirmations).where(
            confirmations.c.partner_id == transfer.partner_id, confirmations.c.fingerprint.in_(withdrawn)
        )
    )


def _queue(
    connection: Connection, message: Reply, now: datetime, *, reminders: int = 0
) -> tuple[Transfer, ExchangeRecord]:
    transfer = insert_outgoing(connection, message.file, now)
    new = NewExchange(
        partner_id=transfer.partner_id,
        direction=Direction.OUT,
        message=message.message,
        transfer_id=transfer.id,
        fingerprint=message.fingerprint,
        renewal_id=message.renewal_id,
    )
    return transfer, _insert(connection, new, now, reminders=reminders)


def _conclude(connection: Connection, conclusion: Conclusion, now: datetime) -> ExchangeRecord:
    accepted = conclusion.state is ExchangeState.ACCEPTED
    values: dict[str, Any] = {
        "ended_at": now,
        "spool_name": "",
        "text": conclusion.text or None,
        "raw_name": conclusion.raw_name,
    }
    if conclusion.receipt.reason is not None:
        values["reason"] = f"{conclusion.receipt.kind} {conclusion.receipt.reason:02}"
    move = _DELIVERED if accepted else _REFUSED
    transfer = move.apply(connection, conclusion.transfer_id, now, **values)
    insert_receipt(connection, transfer, conclusion.receipt, now)
    if accepted:
        _take_over(connection, conclusion, now)
    for reply in conclusion.replies:
        _queue(connection, reply, now)
    for entry in conclusion.audit:
        write(connection, entry)
    decided: dict[str, Any] = {
        "state": conclusion.state,
        "text": conclusion.text,
        "rule": conclusion.rule,
        "der": conclusion.der,
    }
    held = sa.update(exchanges).where(exchanges.c.transfer_id == transfer.id).values(**decided, answered_at=now)
    row = connection.execute(held.returning(exchanges)).first()
    if row is not None:
        record = _to_record(row)
    else:
        new = NewExchange(
            partner_id=transfer.partner_id,
            direction=Direction.IN,
            message=conclusion.message,
            transfer_id=transfer.id,
            fingerprint=conclusion.fingerprint,
            **decided,
        )
        record = _insert(connection, new, now)
    if not accepted:
        _forget_older(connection, transfer.partner_id)
    return record


def _forget_older(connection: Connection, partner_id: int) -> None:
    """Of the certificates of a partner that were refused, only the newest are kept."""
    kept = (
        sa.select(exchanges.c.id)
        .where(
            exchanges.c.state == ExchangeState.REFUSED,
            exchanges.c.partner_id == partner_id,
            exchanges.c.der.is_not(None),
        )
        .order_by(exchanges.c.answered_at.desc(), exchanges.c.id.desc())
    )
    older = connection.execute(kept.offset(MOST_REFUSED)).scalars().all()
    if older:
        connection.execute(sa.update(exchanges).where(exchanges.c.id.in_(older)).values(der=None))


def _take_over(connection: Connection, conclusion: Conclusion, now: datetime) -> None:
    """The certificate store as an accepted message leaves it."""
    for retirement in conclusion.retire:
        retire(connection, retirement, now)
    if conclusion.certificate is not None:
        place(connection, conclusion.certificate, now)
        drop_oldest(connection, conclusion.certificate, now)
    if conclusion.announcement_id is not None and conclusion.fingerprint is not None:
        fulfil(connection, conclusion.announcement_id, conclusion.fingerprint)


def _insert(connection: Connection, new: NewExchange, now: datetime, *, reminders: int = 0) -> ExchangeRecord:
    answered_at = now if new.state in _ANSWERED else None
    values = {**asdict(new), "created_at": now, "answered_at": answered_at, "reminders": reminders}
    row = connection.execute(sa.insert(exchanges).values(values).returning(exchanges)).one()
    return _to_record(row)


def _to_record(row: Row[Any]) -> ExchangeRecord:
    return ExchangeRecord(**row._asdict())
