"""Our own stations. The first becomes the main one, and there is always exactly one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.errors import OperatorError
from oftp2d.ledger.certified import Holder
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.records import ReceiptState, Station
from oftp2d.ledger.schema import certificates, partners, pending_keys, receipts, stations, transfers
from oftp2d.ledger.states import UNFINISHED, Direction

_OURS = sa.case((transfers.c.direction == Direction.OUT, transfers.c.originator), else_=transfers.c.destination)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """Something that may need a station: how it is told of, and in which rows it is found."""

    told: str
    name: sa.ColumnElement[str]
    station: sa.ColumnElement[str]
    counts: sa.ColumnElement[bool]

    def of(self, connection: Connection, code: str) -> str | None:
        """The first that needs the station, and how many more; None when nothing does."""
        needing = sa.select(self.name).where(self.station == code, self.counts).order_by(self.name)
        found = connection.execute(needing).scalars().all()
        if not found:
            return None
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return self.told.format(found[0]) + more


_USES: Final = (
    _Use(
        told="it is our code towards {}",
        name=partners.c.code,
        station=partners.c.station,
        counts=partners.c.removed_at.is_(None),
    ),
    _Use(
        told="certificate {}",
        name=certificates.c.alias,
        station=certificates.c.station,
        counts=certificates.c.holder == Holder.OWN,
    ),
    _Use(
        told="the request for certificate {}",
        name=pending_keys.c.alias,
        station=pending_keys.c.station,
        counts=sa.true(),
    ),
    _Use(
        told="unfinished transfer {}",
        name=transfers.c.id,
        station=_OURS,
        counts=transfers.c.state.in_(UNFINISHED),
    ),
    _Use(
        told="the end response that is owed for transfer {}",
        name=receipts.c.transfer_id,
        station=receipts.c.originator,
        counts=receipts.c.state != ReceiptState.SENT,
    ),
)


class Stations:
    """The stations of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, station: Station) -> Station:
        """Add a station. A new main one takes the place of the old, the first is main in any case.

        Raises OperatorError for a code that is there already.
        """
        with self._database.writing() as connection:
            present = {row.code: row.main for row in connection.execute(sa.select(stations))}
            if station.code in present:
                raise OperatorError(f"there is a station {station.code} already", "choose another code")
            if station.main:
                connection.execute(sa.update(stations).values(main=False))
            elif not present:
                station = replace(station, main=True)
            connection.execute(sa.insert(stations), asdict(station))
        return station

    def set_main(self, code: str) -> Station:
        """Make one of our stations the main one. Raises UnknownError."""
        with self._database.writing() as connection:
            station = _fetch(connection, code)
            connection.execute(sa.update(stations).values(main=False))
            connection.execute(sa.update(stations).where(stations.c.code == code).values(main=True))
            return replace(station, main=True)

    def remove(self, code: str) -> Station:
        """Forget a station that nothing uses any more; its history keeps the bare code.

        Raises UnknownError, and OperatorError for the main station and one that is in use, saying by what.
        """
        with self._database.writing() as connection:
            station = _fetch(connection, code)
            if station.main:
                raise OperatorError(
                    f"{code} is the main station", "make another one the main station first: 'oftp2d station main CODE'"
                )
            uses = [use for each in _USES if (use := each.of(connection, code))]
            if uses:
                raise OperatorError(
                    f"{code} is in use: {'; '.join(uses)}", "end that first, and remove the station then"
                )
            # A partner that was removed stays behind its history, and must have some station.
            main = sa.select(stations.c.code).where(stations.c.main).scalar_subquery()
            connection.execute(sa.update(partners).where(partners.c.station == code).values(station=main))
            connection.execute(sa.delete(stations).where(stations.c.code == code))
            return station

    def list(self) -> Sequence[Station]:
        """All stations, the main one first, the others by code."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(stations).order_by(stations.c.main.desc(), stations.c.code))
            return [Station(**row._asdict()) for row in rows]

    def get(self, code: str) -> Station | None:
        """The station with this code, if it is one of ours."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(stations).where(stations.c.code == code)).one_or_none()
            return None if row is None else Station(**row._asdict())

    def main(self) -> Station | None:
        """The main station; None before the first was added."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(stations).where(stations.c.main)).one_or_none()
            return None if row is None else Station(**row._asdict())


def _fetch(connection: Connection, code: str) -> Station:
    row = connection.execute(sa.select(stations).where(stations.c.code == code)).one_or_none()
    if row is None:
        raise UnknownError("station", code)
    return Station(**row._asdict())
