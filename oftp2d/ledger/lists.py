"""Our copies of the lists that others publish: trust lists and revocation lists, each under its URL (acx.md 10.2, 10.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from oftp2d.ledger.certified import RevocationListRecord, TrustListRecord
from oftp2d.ledger.database import Database
from oftp2d.ledger.schema import revocation_lists, trust_lists

R = TypeVar("R", TrustListRecord, RevocationListRecord)


class _Lists(Generic[R]):
    """Records under their URLs."""

    _table: sa.Table
    _record: type[R]

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, url: str) -> R | None:
        """The list of a URL with its content."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(self._table).where(self._table.c.url == url)).one_or_none()
            return None if row is None else self._record(**row._asdict())

    def list(self) -> Sequence[R]:
        """All of them, without their contents."""
        columns = [column for column in self._table.c if column.name != "content"]
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(*columns).order_by(self._table.c.url))
            return [self._record(**row._asdict()) for row in rows]

    def save(self, record: R) -> None:
        """Keep a list in the place of the one that was there."""
        values: dict[str, Any] = asdict(record)

        def step(connection: sa.Connection) -> None:
            changed = sa.update(self._table).where(self._table.c.url == record.url).values(values)
            if connection.execute(changed).rowcount == 0:
                connection.execute(sa.insert(self._table), values)

        self._database.insist(step)

    def failed(self, url: str, error: str, now: datetime) -> None:
        """It could not be read; what is there of it stays."""
        values: dict[str, Any] = {"error": error, "tried_at": now}

        def step(connection: sa.Connection) -> None:
            changed = sa.update(self._table).where(self._table.c.url == url).values(values)
            if connection.execute(changed).rowcount == 0:
                connection.execute(sa.insert(self._table), asdict(self._record(url=url)) | values)

        self._database.insist(step)

    def remove(self, url: str) -> None:
        """Forget a list, where it is there."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(self._table).where(self._table.c.url == url))


class TrustLists(_Lists[TrustListRecord]):
    """The trust lists of the ledger."""

    _table = trust_lists
    _record = TrustListRecord


class RevocationLists(_Lists[RevocationListRecord]):
    """The revocation lists of the ledger."""

    _table = revocation_lists
    _record = RevocationListRecord
