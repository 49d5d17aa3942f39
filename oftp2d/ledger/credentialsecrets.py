"""Secrets of credential sets that the ledger keeps, sealed by the vault: the value that counts, and one that is proposed.

A source that is told of a new password may have taken it even where its answer is lost. So the new one is here before the
source hears of it, beside the one that counts, and stays until somebody knows which of them the source has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.ledger.audit import write
from oftp2d.ledger.candidates import SetSecret
from oftp2d.ledger.credentialsets import touch
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.records import NewAuditEntry
from oftp2d.ledger.schema import credential_secrets


class CredentialSecrets:
    """The secrets of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, set_name: str, name: str) -> SetSecret | None:
        """A secret of a set; None where the ledger keeps none of that name."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(credential_secrets).where(*_key(set_name, name))).first()
            return None if row is None else SetSecret(**row._asdict())

    def list(self, set_name: str) -> Sequence[SetSecret]:
        """The secrets of a set, by name."""
        found = sa.select(credential_secrets).where(credential_secrets.c.set_name == set_name)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(credential_secrets.c.name))
            return [SetSecret(**row._asdict()) for row in rows]

    def put(self, set_name: str, name: str, value: bytes, now: datetime) -> None:
        """This value counts from now on; one that was proposed is forgotten."""

        def put(connection: Connection) -> None:
            touch(connection, set_name)
            values = {"value": value, "proposed": None, "changed_at": now, "proposed_at": None}
            if _change(connection, set_name, name, **values) == 0:
                connection.execute(sa.insert(credential_secrets), {"set_name": set_name, "name": name, **values})
            _audit(connection, set_name, name, "changed", now)

        self._database.insist(put)

    def propose(self, set_name: str, name: str, value: bytes, now: datetime) -> None:
        """Keep a new value beside the one that counts. Raises UnknownError where there is none that counts."""
        with self._database.writing() as connection:
            if _change(connection, set_name, name, proposed=value, proposed_at=now) == 0:
                raise UnknownError("secret", f"{name} of credential set {set_name}")
            _audit(connection, set_name, name, "proposed", now)

    def settle(self, set_name: str, name: str, now: datetime, *, accepted: bool) -> None:
        """The proposed value counts from now on, or is forgotten; without one nothing happens."""
        proposed = credential_secrets.c.proposed.is_not(None)
        taken: dict[str, Any] = {"value": credential_secrets.c.proposed, "changed_at": now} if accepted else {}
        with self._database.writing() as connection:
            if _change(connection, set_name, name, proposed, proposed=None, proposed_at=None, **taken):
                _audit(connection, set_name, name, "changed" if accepted else "kept", now)

    def remove(self, set_name: str, name: str, now: datetime) -> None:
        """Forget a secret."""
        with self._database.writing() as connection:
            if connection.execute(sa.delete(credential_secrets).where(*_key(set_name, name))).rowcount:
                _audit(connection, set_name, name, "removed", now)


def _key(set_name: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return credential_secrets.c.set_name == set_name, credential_secrets.c.name == name


def _change(connection: Connection, set_name: str, name: str, *more: sa.ColumnElement[bool], **values: Any) -> int:
    changed = sa.update(credential_secrets).where(*_key(set_name, name), *more)
    return connection.execute(changed.values(values)).rowcount


def _audit(connection: Connection, set_name: str, name: str, event: str, now: datetime) -> None:
    detail = {"set": set_name, "secret": name}
    write(connection, NewAuditEntry(at=now, partner_code=None, event=f"credential secret {event}", detail=detail))
