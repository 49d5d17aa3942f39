"""The audit trail: what happened to partners and certificates, when, and why. It is only ever added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.ledger.database import Database
from oftp2d.ledger.records import AuditEntry, Detail, NewAuditEntry
from oftp2d.ledger.schema import audit


class Audit:
    """The audit trail of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, at: datetime, partner_code: str | None, event: str, detail: Mapping[str, Detail] | None = None
    ) -> None:
        """Add a line. The detail never holds a secret."""
        with self._database.writing() as connection:
            write(connection, NewAuditEntry(at=at, partner_code=partner_code, event=event, detail=detail or {}))

    def list(
        self,
        partner: str | None = None,
        event: str | None = None,
        *,
        fingerprint: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> Sequence[AuditEntry]:
        """The youngest lines first; ``before`` is the last id of the page before.

        With a fingerprint: the history of that certificate.
        """
        found = sa.select(audit)
        if partner is not None:
            found = found.where(audit.c.partner_code == partner)
        if event is not None:
            found = found.where(audit.c.event == event)
        if fingerprint is not None:
            found = found.where(audit.c.fingerprint == fingerprint)
        if before is not None:
            found = found.where(audit.c.id < before)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(audit.c.id.desc()).limit(limit))
            return [AuditEntry(**row._asdict()) for row in rows]


def write(connection: Connection, entry: NewAuditEntry) -> None:
    """Add a line inside a larger transaction."""
    fingerprint = entry.detail.get("fingerprint")
    connection.execute(sa.insert(audit), {**asdict(entry), "fingerprint": fingerprint})
