"""The end responses owed by us: each is owed from the commit that delivered or refused its file until the RTR.

A receipt whose RTR never came is simply sent again; the partner knows the file by its key. So a loss of power may
take back who has claimed a receipt, and even that it was sent: these transactions are not brought to disk at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Row

from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.moves import release_receipts
from oftp2d.ledger.records import Receipt, ReceiptState
from oftp2d.ledger.schema import partners, receipts


def _waiting(state: ReceiptState) -> sa.Select[tuple[int]]:
    """The receipts of a partner in this state, where need be those whose claim has run out, oldest first."""
    due = [receipts.c.partner_id == sa.bindparam("partner"), receipts.c.state == state]
    if state is ReceiptState.SENDING:
        due.append(receipts.c.claim_until < sa.bindparam("due"))
    return (
        sa.select(receipts.c.id)
        .where(*due)
        .order_by(receipts.c.id)
        .limit(sa.bindparam("at_most"))
        .with_for_update(skip_locked=True)
    )


_WAITING: Final = tuple(_waiting(state) for state in (ReceiptState.OWED, ReceiptState.SENDING))
_CHOSEN = receipts.c.id.in_(sa.bindparam("chosen", expanding=True))
_CLAIM = sa.update(receipts).where(_CHOSEN).returning(*receipts.c)
_SENT = sa.update(receipts).where(_CHOSEN, receipts.c.state != ReceiptState.SENT)
_KNOWN = sa.select(receipts.c.id).where(_CHOSEN)
_RENEW_ALL = sa.update(receipts).where(
    receipts.c.claim_owner == sa.bindparam("by"), receipts.c.state == ReceiptState.SENDING
)


class Receipts:
    """The end responses of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owed(self, partner_id: int, limit: int = 100) -> Sequence[Receipt]:
        """What is owed to a partner and not claimed by a session, oldest first."""
        found = (
            sa.select(receipts)
            .where(receipts.c.partner_id == partner_id, receipts.c.state == ReceiptState.OWED)
            .order_by(receipts.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_to_receipt(row) for row in connection.execute(found)]

    def claim(self, partner_id: int, owner: str, now: datetime, lease: timedelta, *, at_most: int = 1) -> list[Receipt]:
        """Claim the oldest receipts owed to a partner, so that no other session sends them too; oldest first."""
        claim = {"state": ReceiptState.SENDING, "claim_owner": owner, "claim_until": now + lease}
        with self._database.writing(durable=False) as connection:
            for waiting in _WAITING:
                values = {"partner": partner_id, "due": now, "at_most": at_most}
                chosen = connection.execute(waiting, values).scalars().all()
                if chosen:
                    claimed = connection.execute(_CLAIM, {"chosen": chosen, **claim})
                    return sorted(map(_to_receipt, claimed), key=lambda receipt: receipt.id)
        return []

    def renew_all(self, owner: str, now: datetime, lease: timedelta) -> None:
        """Prolong every claim that this owner still has."""
        with self._database.writing(durable=False) as connection:
            connection.execute(_RENEW_ALL, {"by": owner, "claim_until": now + lease})

    def release(self, owner: str) -> None:
        """Owe again what this owner had claimed and got no RTR for."""
        with self._database.writing() as connection:
            release_receipts(connection, owner)

    def sent(self, receipt_ids: Collection[int], now: datetime) -> None:
        """The partner's RTR is here, for each of them. Without effect the second time. Raises UnknownError."""
        chosen = {"chosen": list(receipt_ids)}
        values = {"state": ReceiptState.SENT, "sent_at": now, "claim_owner": None, "claim_until": None}
        with self._database.writing(durable=False) as connection:
            if connection.execute(_SENT, {**chosen, **values}).rowcount == len(receipt_ids):
                return
            strangers = set(receipt_ids) - set(connection.execute(_KNOWN, chosen).scalars())
            for receipt_id in sorted(strangers):
                raise UnknownError("end response", receipt_id)

    def withdraw(self, receipt_id: int) -> None:
        """Owe it no longer: the partner's release level has no words for it. Without effect the second time."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(receipts).where(receipts.c.id == receipt_id))

    def get(self, transfer_id: str) -> Receipt | None:
        """The end response for an incoming transfer, if one is owed or was sent."""
        with self._database.reading() as connection:
            found = sa.select(receipts).where(receipts.c.transfer_id == transfer_id)
            row = connection.execute(found).one_or_none()
            return None if row is None else _to_receipt(row)

    def count_owed(self) -> int:
        """How many end responses still wait for their RTR."""
        counted = sa.select(sa.func.count()).where(receipts.c.state.in_([ReceiptState.OWED, ReceiptState.SENDING]))
        with self._database.reading() as connection:
            return connection.execute(counted).scalar_one()

    def partners_owed(self, now: datetime | None = None) -> set[int]:
        """The partners to which something is owed; with ``now``, also where a claim on it has run out."""
        open_ = receipts.c.state == ReceiptState.OWED
        if now is not None:
            lapsed = sa.and_(receipts.c.state == ReceiptState.SENDING, receipts.c.claim_until < now)
            open_ = sa.or_(open_, lapsed)
        owed = sa.exists().where(receipts.c.partner_id == partners.c.id, open_)
        with self._database.reading() as connection:
            return set(connection.execute(sa.select(partners.c.id).where(owed)).scalars())


def _to_receipt(row: Row[Any]) -> Receipt:
    return Receipt(**row._asdict())
