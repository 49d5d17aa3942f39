"""Stamps for outgoing Virtual Files: SFIDDATE and SFIDTIME (RFC 5024 section 5.3.3).

A partner tells a new file from a repeated one by originator, destination, dataset name, date and time
with its counter of 0001 to 9999. So the counter runs within one second and one name, and a second that is
used up sends the file on to the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.ledger.schema import transfers
from oftp2d.ledger.states import Direction

_LAST_COUNTER: Final = 9999

_LATEST = sa.select(sa.func.max(transfers.c.time)).where(
    transfers.c.direction == Direction.OUT,
    transfers.c.originator == sa.bindparam("by"),
    transfers.c.destination == sa.bindparam("to"),
    transfers.c.dataset == sa.bindparam("name"),
    transfers.c.date == sa.bindparam("day"),
    transfers.c.time.between(sa.bindparam("low"), sa.bindparam("high")),
)


def allot(connection: Connection, *, originator: str, destination: str, dataset: str, now: datetime) -> tuple[str, str]:
    """The next free (CCYYMMDD, HHMMSScccc) for this name at or after now, in UTC."""
    second = now.astimezone(UTC).replace(microsecond=0)
    while True:
        day, clock = second.strftime("%Y%m%d"), second.strftime("%H%M%S")
        bounds = {"day": day, "low": f"{clock}0001", "high": f"{clock}{_LAST_COUNTER}"}
        latest = connection.execute(
            _LATEST, {"by": originator, "to": destination, "name": dataset, **bounds}
        ).scalar_one()
        counter = 1 if latest is None else int(latest[6:]) + 1
        if counter <= _LAST_COUNTER:
            return day, f"{clock}{counter:04}"
        second += timedelta(seconds=1)
