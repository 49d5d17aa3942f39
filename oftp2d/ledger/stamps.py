"""Stamps for outgoing Virtual Files: SFIDDATE and SFIDTIME (RFC 5024 section 5.3.3).

A partner tells a new file from a repeated one by originator, destination, dataset name, date and time
with its counter of 0001 to 9999. So the counter runs within one second and one name, and a second that is
used up sends the file on to the next one. Release levels 1 and 2 carry no counter (RFC 2204 section 5.3.3):
for a partner of such a level each second serves one file, and the counter is 0000.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2.values import Level
from oftp2d.ledger.schema import partners, transfers
from oftp2d.ledger.states import Direction

NO_COUNTER: Final = "0000"
"""The counter of a stamp whose second serves one file."""

_LAST_COUNTER: Final = 9999

_OF_THE_NAME = (
    transfers.c.direction == Direction.OUT,
    transfers.c.originator == sa.bindparam("by"),
    transfers.c.destination == sa.bindparam("to"),
    transfers.c.dataset == sa.bindparam("name"),
)
_LATEST = sa.select(sa.func.max(transfers.c.time)).where(
    *_OF_THE_NAME,
    transfers.c.date == sa.bindparam("day"),
    transfers.c.time.between(sa.bindparam("low"), sa.bindparam("high")),
)
# Stamps that we only forward are not ours, and may be no time at all.
_LATEST_OF_ALL = (
    sa.select(transfers.c.date, transfers.c.time)
    .where(*_OF_THE_NAME, transfers.c.forwarded_from.is_(None))
    .order_by(transfers.c.date.desc(), transfers.c.time.desc())
    .limit(1)
)
_LEVEL = sa.select(partners.c.level).where(partners.c.id == sa.bindparam("partner"))


def allot(
    connection: Connection,
    *,
    partner_id: int,
    originator: str,
    destination: str,
    dataset: str,
    now: datetime,
    uncounted: bool = False,
) -> tuple[str, str]:
    """The next free (CCYYMMDD, HHMMSScccc) for this name at or after now, in UTC.

    ``uncounted``: a second that serves this file alone, whatever the partner's level.
    """
    name = {"by": originator, "to": destination, "name": dataset}
    second = now.astimezone(UTC).replace(microsecond=0)
    level = connection.execute(_LEVEL, {"partner": partner_id}).scalar()
    if uncounted or (level is not None and level <= Level.REVISION_1_3):
        return _whole_second(connection, name, second)
    while True:
        day, clock = second.strftime("%Y%m%d"), second.strftime("%H%M%S")
        bounds = {"day": day, "low": f"{clock}0001", "high": f"{clock}{_LAST_COUNTER}"}
        latest = connection.execute(_LATEST, name | bounds).scalar_one()
        counter = 1 if latest is None else int(latest[6:]) + 1
        if counter <= _LAST_COUNTER:
            return day, f"{clock}{counter:04}"
        second += timedelta(seconds=1)


def _whole_second(connection: Connection, name: dict[str, str], second: datetime) -> tuple[str, str]:
    """This second, or the one behind the last that this name has used."""
    last = connection.execute(_LATEST_OF_ALL, name).one_or_none()
    if last is not None:
        used = datetime.strptime(last.date + last.time[:6], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        second = max(second, used + timedelta(seconds=1))
    return second.strftime("%Y%m%d"), second.strftime("%H%M%S") + NO_COUNTER
