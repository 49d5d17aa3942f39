"""Renewals: one certificate of ours that is offered to every partner of a station, and who takes part in that.

What each partner has done so far is not kept here: it follows from its confirmations and exchanges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.ledger.certified import NewRenewal, Renewal, RenewalPartner, RenewalState
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.schema import renewal_partners, renewals


class Renewals:
    """The renewals of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, new: NewRenewal, partners: Sequence[RenewalPartner], now: datetime) -> Renewal:
        """A renewal begins for these partners."""
        values = {**asdict(new), "state": RenewalState.RUNNING, "started_at": now}
        with self._database.writing() as connection:
            begun = sa.insert(renewals).values(values).returning(renewals.c.id)
            renewal_id = connection.execute(begun).scalar_one()
            if partners:
                rows = [{**asdict(partner), "renewal_id": renewal_id} for partner in partners]
                connection.execute(sa.insert(renewal_partners), rows)
            return _fetch(connection, renewal_id)

    def get(self, renewal_id: int) -> Renewal:
        """One renewal with its partners. Raises UnknownError."""
        with self._database.reading() as connection:
            return _fetch(connection, renewal_id)

    def list(self, limit: int = 100, *, before: int | None = None) -> Sequence[Renewal]:
        """The youngest first; ``before`` is the last id of the page before."""
        with self._database.reading() as connection:
            earlier = () if before is None else (renewals.c.id < before,)
            return _select(connection, *earlier, limit=limit)

    def running(self) -> Sequence[Renewal]:
        """All that have not ended, youngest first."""
        with self._database.reading() as connection:
            return _select(connection, renewals.c.state == RenewalState.RUNNING)

    def attach(self, renewal_id: int, partner_id: int, exchange_id: int) -> None:
        """The message that offers a partner the certificate. Raises UnknownError for who does not take part."""
        offered = sa.update(renewal_partners).where(
            renewal_partners.c.renewal_id == renewal_id, renewal_partners.c.partner_id == partner_id
        )
        with self._database.writing() as connection:
            if connection.execute(offered.values(exchange_id=exchange_id)).rowcount == 0:
                raise UnknownError("partner of the renewal", partner_id)

    def end(self, renewal_id: int, state: RenewalState, text: str, now: datetime) -> Renewal:
        """A running renewal ends; one that has ended stays as it is. Raises UnknownError."""
        ended = sa.update(renewals).where(renewals.c.id == renewal_id, renewals.c.state == RenewalState.RUNNING)
        with self._database.writing() as connection:
            connection.execute(ended.values(state=state, text=text, ended_at=now))
            return _fetch(connection, renewal_id)


def _fetch(connection: Connection, renewal_id: int) -> Renewal:
    found = _select(connection, renewals.c.id == renewal_id)
    if not found:
        raise UnknownError("renewal", renewal_id)
    return found[0]


def _select(connection: Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> Sequence[Renewal]:
    """Renewals with their partners, in two queries however many there are."""
    chosen = sa.select(renewals).where(*conditions).order_by(renewals.c.id.desc()).limit(limit)
    rows = connection.execute(chosen).all()
    partners: dict[int, list[RenewalPartner]] = {row.id: [] for row in rows}
    taking_part = sa.select(renewal_partners).where(renewal_partners.c.renewal_id.in_(partners))
    for row in connection.execute(taking_part.order_by(renewal_partners.c.partner_id)):
        values: dict[str, Any] = row._asdict()
        partners[values.pop("renewal_id")].append(RenewalPartner(**values))
    return [Renewal(**row._asdict(), partners=tuple(partners[row.id])) for row in rows]
