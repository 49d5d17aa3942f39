"""Renewals: one certificate of ours that is offered to every partner of a station, and who takes part in that.

What each partner has done so far is not kept here: it follows from its confirmations and exchanges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.ledger.certified import (
    Confirmation,
    ExchangeRecord,
    ExchangeState,
    NewRenewal,
    Renewal,
    RenewalPart,
    RenewalPartner,
    RenewalState,
)
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.partners import present
from oftp2d.ledger.schema import confirmations, exchanges, partners, renewal_partners, renewals, transfers
from oftp2d.ledger.states import Direction

_MESSAGE: Final = tuple(exchanges.c[each.name] for each in fields(ExchangeRecord) if each.name != "der")


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

    def runs(self, renewal_id: int) -> bool:
        """Whether it has not ended yet."""
        found = sa.select(renewals.c.state).where(renewals.c.id == renewal_id)
        with self._database.reading() as connection:
            return connection.execute(found).scalar_one_or_none() is RenewalState.RUNNING

    def pending(self) -> frozenset[str]:
        """Fingerprints of ours that not every partner is known to have: the last renewal of a station runs, or was cancelled."""
        later = renewals.alias()
        last = sa.select(sa.func.max(later.c.id)).where(
            later.c.fingerprint == renewals.c.fingerprint, later.c.station == renewals.c.station
        )
        found = sa.select(renewals.c.fingerprint).where(
            renewals.c.id == last.scalar_subquery(), renewals.c.state != RenewalState.FINISHED
        )
        with self._database.reading() as connection:
            return frozenset(connection.execute(found).scalars())

    def parts(self, renewal: Renewal) -> Sequence[RenewalPart]:
        """What each partner has done so far, by code; in four queries however many there are. Removed ones take no part."""
        with self._database.reading() as connection:
            confirmed, offered = _confirmations(connection, renewal), _offers(connection, renewal)
            return [
                RenewalPart(partner=each, confirmation=confirmed.get(each.id), **offered.get(each.id, {}))
                for each in present(connection, partners.c.id.in_(_taking_part(renewal)))
            ]

    def outstanding(self, renewal: Renewal) -> int:
        """How many partners that count, active ones, have not confirmed the certificate yet."""
        confirmed = sa.select(confirmations.c.partner_id).where(confirmations.c.fingerprint == renewal.fingerprint)
        counted = sa.select(sa.func.count()).where(
            partners.c.id.in_(_taking_part(renewal)),
            partners.c.id.not_in(confirmed),
            partners.c.active,
            partners.c.removed_at.is_(None),
        )
        with self._database.reading() as connection:
            return connection.execute(counted).scalar_one()

    def join(self, renewal_id: int, partner: RenewalPartner) -> None:
        """One more takes part: it became a partner when the renewal had begun."""
        with self._database.writing() as connection:
            connection.execute(sa.insert(renewal_partners), {**asdict(partner), "renewal_id": renewal_id})

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


def _taking_part(renewal: Renewal) -> sa.Select[tuple[int]]:
    return sa.select(renewal_partners.c.partner_id).where(renewal_partners.c.renewal_id == renewal.id)


def _confirmations(connection: Connection, renewal: Renewal) -> dict[int, Confirmation]:
    found = sa.select(confirmations).where(confirmations.c.fingerprint == renewal.fingerprint)
    return {row.partner_id: Confirmation(**row._asdict()) for row in connection.execute(found)}


def _offers(connection: Connection, renewal: Renewal) -> dict[int, dict[str, Any]]:
    """The last message that brings a partner the certificate; one refused before the renewal began does not count."""
    last = sa.select(sa.func.max(exchanges.c.id)).where(
        exchanges.c.direction == Direction.OUT,
        exchanges.c.fingerprint == renewal.fingerprint,
        sa.or_(
            exchanges.c.created_at >= renewal.started_at,
            exchanges.c.state.in_([ExchangeState.QUEUED, ExchangeState.SENT]),
        ),
    )
    found = (
        sa.select(*_MESSAGE, transfers.c.state.label("file"), transfers.c.text.label("trouble"), transfers.c.sent_at)
        .join(transfers, transfers.c.id == exchanges.c.transfer_id)
        .where(exchanges.c.id.in_(last.group_by(exchanges.c.partner_id)))
    )
    offered = {}
    for row in connection.execute(found):
        values = row._asdict()
        transfer, trouble, sent_at = (values.pop(name) for name in ("file", "trouble", "sent_at"))
        message = ExchangeRecord(**values)
        offered[message.partner_id] = {
            "message": message,
            "transfer": transfer,
            "trouble": trouble,
            "sent_at": sent_at,
        }
    return offered
