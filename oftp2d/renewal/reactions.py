"""What follows from how an attempt ended (nmvs.md section 4): a table of the verdicts, and pure functions over it.

Three things may follow: when the source is asked again, whether nothing is asked before a person has done something, and how
loud it is said. What came with a credential is not of here: it goes on with that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from twisted.logger import LogLevel

from oftp2d.ledger import Block
from oftp2d.renewal.interface import Refusal, Verdict
from oftp2d.renewal.timetable import DAY, Phase, Terms, next_attempt

FIRST_WAIT: Final = timedelta(minutes=15)
"""Behind the first of several failures in a row; each wait is twice that before it, up to ``LONGEST_WAIT``."""
LONGEST_WAIT: Final = DAY
LONGEST_DEMAND: Final = 7 * DAY
"""A source that demands to be left in peace for longer is asked again after so long all the same."""

LATE: Final = frozenset({Phase.ALARM, Phase.CRITICAL, Phase.EXPIRED})
"""Phases in which there should be a successor: that there is none is a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What a verdict brings with it."""

    level: LogLevel
    advice: str = ""
    """What a person does next, where the refusal itself has no advice."""
    blocks: bool = False
    """Nothing is asked any more before a person has done something."""
    freed_by_secret: bool = False
    """Where it blocks: another secret is enough."""
    grows: bool = False
    """Asked again with growing waits."""
    next_day: bool = False
    """Asked again the next day at the earliest, whatever the phase."""


REACTIONS: Final[Mapping[Verdict, Reaction]] = {
    Verdict.NOT_YET: Reaction(level=LogLevel.info),
    Verdict.ALREADY: Reaction(
        level=LogLevel.error,
        advice="look for it where it may have been installed, and bring it with 'oftp2d renew import'; otherwise ask the source"
        " for another one",
        next_day=True,
    ),
    Verdict.AUTH_FAILED: Reaction(
        level=LogLevel.error,
        advice="correct the login data, such as with 'oftp2d renew secret'; nothing is asked before, lest the account be locked",
        blocks=True,
        freed_by_secret=True,
    ),
    Verdict.LOCKED: Reaction(
        level=LogLevel.error,
        advice="have the source's help desk free the account, then 'oftp2d renew unblock'",
        blocks=True,
    ),
    Verdict.RETRY: Reaction(level=LogLevel.warn, grows=True),
    Verdict.FATAL: Reaction(
        level=LogLevel.error,
        advice="compare the definition of the set with what the source demands, and ask its help desk with the transaction",
        next_day=True,
    ),
}
"""Of every verdict but FETCHED."""


def again(refusal: Refusal, last: datetime, found: Phase, terms: Terms, failures: int) -> datetime | None:
    """When the source is asked again after an attempt that began at ``last``; None where a person must do something first.

    ``failures`` counts those in a row, this one included.
    """
    reaction = REACTIONS[refusal.verdict]
    if reaction.blocks:
        return None
    after = min(max(refusal.after or timedelta(), timedelta()), LONGEST_DEMAND)
    if reaction.next_day:
        after = max(after, DAY)
    elif reaction.grows:
        after = max(after, grown(failures))
    return next_attempt(last, found, terms, after)


def blocking(refusal: Refusal, advice_: str, digest: str) -> Block | None:
    """The block that follows, where one does; ``digest`` is that of the secrets that were used."""
    reaction = REACTIONS[refusal.verdict]
    if not reaction.blocks:
        return None
    secret = digest if reaction.freed_by_secret else ""
    return Block(reason=refusal.verdict.value, advice=advice_, secret_digest=secret)


def grown(failures: int) -> timedelta:
    """How long is waited behind so many failures in a row."""
    return min(FIRST_WAIT * (1 << min(max(failures - 1, 0), 16)), LONGEST_WAIT)


def level(refusal: Refusal, found: Phase) -> LogLevel:
    """How loud it is said: what is usual before the alarm phase is a warning from then on."""
    usual = REACTIONS[refusal.verdict].level
    return LogLevel.warn if found in LATE and usual is LogLevel.info else usual


def advice(refusal: Refusal, found: Phase) -> str:
    """What a person does next; empty where nothing is to be done."""
    if refusal.advice:
        return refusal.advice
    if refusal.verdict is Verdict.NOT_YET and found in LATE:
        return "ask the source why it has no successor yet"
    return REACTIONS[refusal.verdict].advice
