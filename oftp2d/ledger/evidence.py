"""What the partner's signed end responses prove: kept with the certificate that verified them, for as long as the transfer is.

It is written in the transaction that notes the end response (``Transfers.acknowledged`` and ``refused``), so that there is no
answer that counts for its signature without that signature. Evidence belongs to the stamp it names: a file that gets a new
one begins without.

What a partner has signed and nobody could verify is held beside it, the last one for a file, until an answer counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.ledger.database import Database
from oftp2d.ledger.records import Evidence, HeldResponse, NewEvidence, SignedResponse
from oftp2d.ledger.schema import evidence, held_responses, transfers


class Evidences:
    """The evidence in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, transfer_id: str) -> Evidence | None:
        """The evidence for an outgoing transfer, if its end response was signed."""
        with self._database.reading() as connection:
            found = sa.select(evidence).where(evidence.c.transfer_id == transfer_id)
            row = connection.execute(found).one_or_none()
            return None if row is None else Evidence(**row._asdict())

    def held(
        self, partner_id: int, *, since: datetime | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[HeldResponse]:
        """What a partner has signed and nobody could verify, for files that are not answered, oldest file first.

        ``since``: only what came then or later. ``after``: only for files behind the one with this identifier.
        """
        found = (
            sa.select(held_responses)
            .join(transfers, transfers.c.id == held_responses.c.transfer_id)
            .where(transfers.c.partner_id == partner_id, held_responses.c.transfer_id > after)
            .order_by(held_responses.c.transfer_id)
        )
        if since is not None:
            found = found.where(held_responses.c.received_at >= since)
        with self._database.reading() as connection:
            return [HeldResponse(**row._asdict()) for row in connection.execute(found.limit(limit))]

    def holders(self) -> Sequence[int]:
        """The partners of which something is held."""
        found = sa.select(transfers.c.partner_id).join(held_responses, transfers.c.id == held_responses.c.transfer_id)
        with self._database.reading() as connection:
            return connection.execute(found.distinct().order_by(transfers.c.partner_id)).scalars().all()


def keep(connection: Connection, transfer_id: str, new: NewEvidence, now: datetime) -> None:
    """Keep what came for a transfer that has none."""
    values = {**asdict(new), "transfer_id": transfer_id, "received_at": now}
    connection.execute(sa.insert(evidence).values(values))


def hold(connection: Connection, transfer_id: str, response: SignedResponse, now: datetime) -> None:
    """Hold the last one that came for a transfer and did not count."""
    release(connection, transfer_id)
    values = {**asdict(response), "transfer_id": transfer_id, "received_at": now}
    connection.execute(sa.insert(held_responses).values(values))


def release(connection: Connection, transfer_id: str) -> None:
    """Hold nothing any more: an answer counts, or is for another stamp."""
    connection.execute(sa.delete(held_responses).where(held_responses.c.transfer_id == transfer_id))


def drop(connection: Connection, transfer_id: str) -> None:
    """Forget what came for the stamp that a transfer had."""
    connection.execute(sa.delete(evidence).where(evidence.c.transfer_id == transfer_id))
    release(connection, transfer_id)
