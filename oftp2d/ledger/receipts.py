"""The end responses owed by us: each is owed from the commit that delivered or refused its file until the RTR.

A receipt whose RTR never came is simply sent again; the partner knows the file by its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Row

from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.moves import release_receipts
from oftp2d.ledger.records import Receipt, ReceiptState
from oftp2d.ledger.schema import partners, receipts


def _claiming(state: ReceiptState) -> sa.sql.dml.ReturningUpdate[Any]:
    """Claim the oldest receipt of a partner in this state, where need be one whose claim has run out."""
    waiters = receipts.alias()
    due = [waiters.c.partner_id == sa.bindparam("partner"), waiters.c.state == state]
    if state is ReceiptState.SENDING:
        due.append(waiters.c.claim_until < sa.bindparam("due"))
    oldest = (
        sa.select(waiters.c.id)
        .where(*due)
        .order_by(waiters.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return sa.update(receipts).where(receipts.c.id == oldest).returning(*receipts.c)


_CLAIMS: Final = tuple(_claiming(state) for state in (ReceiptState.OWED, ReceiptState.SENDING))


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

    def claim_next(self, partner_id: int, owner: str, now: datetime, lease: timedelta) -> Receipt | None:
        """Claim the oldest receipt owed to a partner, so that no other session sends it too; None when none is."""
        values = {
            "partner": partner_id,
            "due": now,
            "state": ReceiptState.SENDING,
            "claim_owner": owner,
            "claim_until": now + lease,
        }
        with self._database.writing() as connection:
            for claim in _CLAIMS:
                row = connection.execute(claim, values).one_or_none()
                if row is not None:
                    return _to_receipt(row)
        return None

    def release(self, owner: str) -> None:
        """Owe again what this owner had claimed and got no RTR for."""
        with self._database.writing() as connection:
            release_receipts(connection, owner)

    def sent(self, receipt_id: int, now: datetime) -> None:
        """The partner's RTR is here. Without effect the second time. Raises UnknownError."""
        moved = sa.update(receipts).where(receipts.c.id == sa.bindparam("key"), receipts.c.state != ReceiptState.SENT)
        values = {"state": ReceiptState.SENT, "sent_at": now, "claim_owner": None, "claim_until": None}
        with self._database.writing() as connection:
            if connection.execute(moved, {"key": receipt_id, **values}).rowcount:
                return
            if connection.execute(sa.select(receipts.c.id).where(receipts.c.id == receipt_id)).first() is None:
                raise UnknownError("end response", receipt_id)

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
