"""When a credential is renewed: pure functions over its end and the time.

Before ``lead_days`` nothing is due. From then on it is asked once a day, in the alarm and the critical phase more often. Sets
whose credentials end at once are spread: each has a place of its own within ``spread_hours``, always the same for one end, so
that a restart moves nobody. What is late is spread again, over a shorter while.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final, TypeAlias

DAY: Final = timedelta(days=1)
LATE_SPREAD: Final = timedelta(hours=1)
"""Over how long those are spread that should have been asked for before, such as after the station stood still."""


class Phase(StrEnum):
    """How close the end of a credential is."""

    NONE = "none"
    """There is no credential yet."""
    VALID = "valid"
    DUE = "due"
    ALARM = "alarm"
    CRITICAL = "critical"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The numbers of a renewal; days before the end of the credential."""

    lead_days: int = 60
    """The source has a successor from here on."""
    alarm_days: int = 30
    """There should be a successor by now: it is said louder, and asked more often."""
    critical_days: int = 7
    store_days: int = 60
    """So long a source keeps a successor for us, counted from ``lead_days``."""
    valid_days: int = 730
    """How long a new credential is usually valid."""
    spread_hours: int = 24
    alarm_attempts: int = 2
    """Attempts a day in the alarm phase; before it there is one."""
    critical_attempts: int = 6
    least_minutes: int = 0
    """Between the beginnings of two attempts, also those of operators: a bound of the source, which no set can lower."""
    most_attempts: int | None = None
    """Attempts of one UTC day, also those of operators: a bound as well; None for none."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The source may not be asked before ``until``, whoever wants it; ``why`` is half a sentence."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class NotDue:
    """Nothing to do before ``next``."""

    next: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """It is time, since the beginning of this phase."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Overdue:
    """It has ended; where the source takes it no more, a plugin says Blocked instead."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing is tried before a person has done something."""

    reason: str
    advice: str


Plan: TypeAlias = NotDue | Due | Overdue | Blocked


def phase(ends: datetime | None, terms: Terms, now: datetime) -> Phase:
    """How close the end is."""
    if ends is None:
        return Phase.NONE
    left = ends - now
    if left <= timedelta():
        return Phase.EXPIRED
    for within, days in (
        (Phase.CRITICAL, terms.critical_days),
        (Phase.ALARM, terms.alarm_days),
        (Phase.DUE, terms.lead_days),
    ):
        if left <= days * DAY:
            return within
    return Phase.VALID


def plan(name: str, ends: datetime | None, terms: Terms, now: datetime) -> Plan:
    """Whether it is time to renew a credential that ends then; one that was never there is due."""
    found = phase(ends, terms, now)
    if ends is not None and found is Phase.VALID:
        return NotDue(_planned(name, ends, terms))
    return Overdue() if found is Phase.EXPIRED else Due(found)


def first_attempt(name: str, ends: datetime | None, terms: Terms, now: datetime) -> datetime:
    """When it is asked for the first time: never before now, and while it is valid never behind its end.

    Before its time that is always the same moment. For one that is late it counts from ``now``: to be asked once, and noted.
    """
    if ends is not None and (planned := _planned(name, ends, terms)) >= now:
        return planned
    spread = min(terms.spread_hours * timedelta(hours=1), LATE_SPREAD)
    if ends is not None and ends > now:
        spread = min(spread, (ends - now) / 2)
    return now + spread * place(name, ends)


def next_attempt(last: datetime, found: Phase, terms: Terms, after: timedelta | None = None) -> datetime:
    """When it is asked again behind an attempt at ``last`` that brought nothing; ``after`` is what the source demands."""
    least = timedelta(minutes=terms.least_minutes)
    return last + max(DAY / attempts_a_day(found, terms), least, after or timedelta())


def attempts_a_day(found: Phase, terms: Terms) -> int:
    """How often a source is asked by itself within one day."""
    wanted = {
        Phase.ALARM: terms.alarm_attempts,
        Phase.CRITICAL: terms.critical_attempts,
        Phase.EXPIRED: terms.critical_attempts,
    }.get(found, 1)
    return wanted if terms.most_attempts is None else min(wanted, terms.most_attempts)


def pause(last: datetime | None, attempts_today: int, terms: Terms, now: datetime) -> Pause | None:
    """What keeps the source from being asked now, by its bounds; ``last`` is when the last attempt began."""
    if terms.most_attempts is not None and attempts_today >= terms.most_attempts:
        often = "once" if attempts_today == 1 else f"{attempts_today} times"
        return Pause(midnight_after(now), f"it was asked {often} today (UTC), and may be asked no more often in a day")
    if last is not None and last <= now < (until := last + timedelta(minutes=terms.least_minutes)):
        why = f"it was asked at {last:%H:%M} UTC, and {terms.least_minutes} minutes must lie between two attempts"
        return Pause(until, why)
    return None


def midnight_after(now: datetime) -> datetime:
    """When the next UTC day begins, by which attempts are counted."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def offered_until(ends: datetime, terms: Terms) -> datetime:
    """So long the source keeps a successor of a credential that ends then."""
    return ends - terms.lead_days * DAY + terms.store_days * DAY


def _planned(name: str, ends: datetime, terms: Terms) -> datetime:
    # The place lies inside of the lead time, however short that is.
    room = min(terms.spread_hours * timedelta(hours=1), terms.lead_days * DAY / 2)
    return ends - terms.lead_days * DAY + room * place(name, ends)


def believed(at: datetime, now: datetime, longest: timedelta) -> datetime:
    """A moment that was noted for at most ``longest`` ahead: if it is further, the clock was wrong then, and it is now."""
    return now if at - now > longest else at


def place(name: str, ends: datetime | None) -> float:
    """Where a set stands among others: a number from 0 to 1 that looks like chance, the same for one set and one end."""
    seed = f"{name} {ends.timestamp() if ends else ''}".encode()
    return int.from_bytes(sha256(seed).digest()[:8], "big") / 2**64
