"""Partners: who may connect, how each is reached, and how the calls to it went.

A partner that is removed stays behind its history as a bare code and name; its passwords, its certificates and its
claim on the code are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.errors import OperatorError
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.records import Authentication, NewPartner, Partner, PartnerChange, ReceiptState
from oftp2d.ledger.schema import (
    announcements,
    certificates,
    confirmations,
    partner_stations,
    partners,
    receipts,
    stations,
    transfers,
)
from oftp2d.ledger.states import UNFINISHED

_PRESENT = partners.c.removed_at.is_(None)
_COLUMNS = tuple(column for column in partners.c if column.name != "removed_at")


class Partners:
    """The partners of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: NewPartner, now: datetime) -> Partner:
        """Add a partner. Raises OperatorError for a code in use or a station that is not ours."""
        values = asdict(new)
        sub_stations: tuple[str, ...] = values.pop("sub_stations")
        with self._database.writing() as connection:
            _check_station(connection, new.station)
            _check_codes(connection, {new.code, *sub_stations}, None)
            values.update(created_at=now, call_failures=0)
            partner_id = connection.execute(sa.insert(partners).values(values).returning(partners.c.id)).scalar_one()
            _set_sub_stations(connection, partner_id, sub_stations)
            return _fetch(connection, partner_id)

    def get(self, partner_id: int) -> Partner:
        """One partner, also one removed since. Raises UnknownError."""
        with self._database.reading() as connection:
            return _fetch(connection, partner_id)

    def by_code(self, code: str) -> Partner | None:
        """The partner that calls itself by this code in SSID."""
        with self._database.reading() as connection:
            return _first(connection, partners.c.code == code)

    def by_station(self, code: str) -> Partner | None:
        """The partner behind a code in SFID: its own or one of its sub-stations'."""
        owner = sa.select(partner_stations.c.partner_id).where(partner_stations.c.code == code)
        with self._database.reading() as connection:
            found = _first(connection, partners.c.code == code)
            return found or _first(connection, partners.c.id == owner.scalar_subquery())

    def list(self, *, limit: int = 1000, after: str = "") -> Sequence[Partner]:
        """The partners by code, beginning after one."""
        with self._database.reading() as connection:
            return _select(connection, partners.c.code > after, limit=limit)

    def codes(self) -> dict[int, str]:
        """The codes of all partners by their ids."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(partners.c.id, partners.c.code).where(_PRESENT))
            return {row.id: row.code for row in rows}

    def due(self, now: datetime, *, limit: int = 1000) -> Sequence[Partner]:
        """The active partners whose next call has been set and is due."""
        with self._database.reading() as connection:
            return _select(connection, partners.c.active, partners.c.next_call_at <= now, limit=limit)

    def change(self, partner_id: int, **fields: Unpack[PartnerChange]) -> Partner:
        """Set the fields given. Raises UnknownError, and OperatorError as ``add``."""
        values: dict[str, Any] = dict(fields)
        with self._database.writing() as connection:
            present = _fetch(connection, partner_id)
            sub_stations = values.pop("sub_stations", present.sub_stations)
            if "station" in values:
                _check_station(connection, values["station"])
            _check_codes(connection, {values.get("code", present.code), *sub_stations}, partner_id)
            if values:
                connection.execute(sa.update(partners).where(partners.c.id == partner_id).values(values))
            if sub_stations != present.sub_stations:
                _set_sub_stations(connection, partner_id, sub_stations)
            return _fetch(connection, partner_id)

    def remove(self, partner_id: int, now: datetime) -> None:
        """Forget a partner but for its history. Raises OperatorError while something with it is unfinished."""
        with self._database.writing() as connection:
            partner = _fetch(connection, partner_id)
            open_ = _count_unfinished(connection, partner_id)
            if open_:
                raise OperatorError(
                    f"partner {partner.code} has {open_} unfinished transfers or end responses",
                    "wait for them or cancel them, and remove the partner then",
                )
            for table in (partner_stations, announcements, confirmations, certificates):
                connection.execute(sa.delete(table).where(table.c.partner_id == partner_id))
            emptied = {"password_ours": b"", "password_theirs": b"", "active": False, "removed_at": now}
            connection.execute(sa.update(partners).where(partners.c.id == partner_id).values(emptied))

    def latch(self, partner_id: int, now: datetime) -> bool:  # noqa: ARG002 (the caller's audit entry has it)
        """Session authentication goes from prepared to on; true only when it moved (acx.md 5.2)."""
        latched = (
            sa.update(partners)
            .where(partners.c.id == partner_id, partners.c.authentication == Authentication.PREPARED)
            .values(authentication=Authentication.ON)
        )
        with self._database.writing() as connection:
            return connection.execute(latched).rowcount == 1

    def call_made(self, partner_id: int, now: datetime) -> None:
        """A call succeeded; the next one made only to fetch is due ``call_every`` seconds from now."""
        with self._database.writing() as connection:
            every = _fetch(connection, partner_id).call_every
            values = {
                "last_call_at": now,
                "last_error": None,
                "last_reason": None,
                "call_failures": 0,
                "next_call_at": None if every is None else now + timedelta(seconds=every),
            }
            connection.execute(sa.update(partners).where(partners.c.id == partner_id).values(values))

    def call_failed(
        self, partner_id: int, now: datetime, why: str, next_call_at: datetime | None, reason: str | None = None
    ) -> None:
        """A call failed; it is to be tried again at ``next_call_at``. ``reason`` is the partner's own, if it gave one."""
        values = {
            "last_call_at": now,
            "last_error": why,
            "last_reason": reason,
            "call_failures": partners.c.call_failures + 1,
            "next_call_at": next_call_at,
        }
        with self._database.writing() as connection:
            connection.execute(sa.update(partners).where(partners.c.id == partner_id).values(values))


def _select(
    connection: Connection, *conditions: sa.ColumnElement[bool], limit: int | None, removed: bool = False
) -> Sequence[Partner]:
    """Partners with their sub-stations, in two queries however many there are."""
    chosen = sa.select(*_COLUMNS).where(*conditions).order_by(partners.c.code).limit(limit)
    rows = connection.execute(chosen if removed else chosen.where(_PRESENT)).all()
    codes: dict[int, list[str]] = {row.id: [] for row in rows}
    subordinate = sa.select(partner_stations).where(partner_stations.c.partner_id.in_(codes))
    for row in connection.execute(subordinate.order_by(partner_stations.c.code)):
        codes[row.partner_id].append(row.code)
    return [Partner(**row._asdict(), sub_stations=tuple(codes[row.id])) for row in rows]


def present(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Sequence[Partner]:
    """All partners, however many, that these are true of and that are not removed."""
    return _select(connection, *conditions, limit=None)


def _first(connection: Connection, condition: sa.ColumnElement[bool]) -> Partner | None:
    found = _select(connection, condition, limit=1)
    return found[0] if found else None


def _fetch(connection: Connection, partner_id: int) -> Partner:
    found = _select(connection, partners.c.id == partner_id, limit=1, removed=True)
    if not found:
        raise UnknownError("partner", partner_id)
    return found[0]


def _check_station(connection: Connection, code: str) -> None:
    if connection.execute(sa.select(stations.c.code).where(stations.c.code == code)).first() is None:
        raise OperatorError(f"{code} is none of our stations", "add the station first, or name one of ours")


def _check_codes(connection: Connection, codes: Collection[str], partner_id: int | None) -> None:
    """One code leads to one partner, whichever way it is used."""
    theirs = sa.select(partners.c.code).where(_PRESENT, partners.c.code.in_(codes))
    subordinate = sa.select(partner_stations.c.code).where(partner_stations.c.code.in_(codes))
    if partner_id is not None:
        theirs = theirs.where(partners.c.id != partner_id)
        subordinate = subordinate.where(partner_stations.c.partner_id != partner_id)
    taken = connection.execute(sa.union(theirs, subordinate)).scalars().first()
    if taken is not None:
        raise OperatorError(f"the code {taken} belongs to a partner already", "choose another code")


def _set_sub_stations(connection: Connection, partner_id: int, codes: Sequence[str]) -> None:
    connection.execute(sa.delete(partner_stations).where(partner_stations.c.partner_id == partner_id))
    if codes:
        rows = [{"code": code, "partner_id": partner_id} for code in sorted(set(codes))]
        connection.execute(sa.insert(partner_stations), rows)


def _count_unfinished(connection: Connection, partner_id: int) -> int:
    moving = sa.select(sa.func.count()).where(transfers.c.partner_id == partner_id, transfers.c.state.in_(UNFINISHED))
    owed = sa.select(sa.func.count()).where(
        receipts.c.partner_id == partner_id, receipts.c.state.in_([ReceiptState.OWED, ReceiptState.SENDING])
    )
    return connection.execute(moving).scalar_one() + connection.execute(owed).scalar_one()
