"""Our own stations. The first becomes the main one, and there is always exactly one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa

from oftp2d.errors import OperatorError
from oftp2d.ledger.database import Database
from oftp2d.ledger.records import Station
from oftp2d.ledger.schema import stations


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
