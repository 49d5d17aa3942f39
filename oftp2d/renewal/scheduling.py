"""Which credential set is looked after next: few at once, the most pressing first, none forgotten, none twice.

When a set is due follows from what is on disk alone: its definition, the end of its credential, and what the ledger knows of
the last attempt. A station that stood still finds all that became due meanwhile, and spreads it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oftp2d.renewal.reactions import attempts_a_day
from oftp2d.renewal.timetable import DAY, Phase, Terms, first_attempt, phase

CONCURRENT: Final = 2
"""Credential sets that are worked on at once: an opened credential is in memory only for so many."""


def attempt_at(
    name: str, ends: datetime | None, terms: Terms, now: datetime, *, noted: datetime | None, today: int
) -> datetime:
    """When the source is asked next.

    ``noted`` is what the ledger has from the last attempt, ``today`` the number of attempts of this day: beyond those of the
    phase there is none before the next day.
    """
    planned = noted or first_attempt(name, ends, terms, now)
    if today >= attempts_a_day(phase(ends, terms, now), terms):
        return max(planned, _midnight_after(now))
    return planned


def to_note(ends: datetime | None, terms: Terms, now: datetime, *, noted: datetime | None) -> bool:
    """Whether the time of the next attempt has to be noted, lest each restart put it off again."""
    return noted is None and phase(ends, terms, now) is not Phase.VALID


def _midnight_after(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + DAY


class Rounds:
    """Work on things by their names: each once at a time, in the order they were added, at most ``at_once`` together."""

    log = Logger(namespace="renewal")

    def __init__(self, work: Callable[[str], Coroutine[Any, Any, object]], at_once: int = CONCURRENT) -> None:
        self._work = work
        self._at_once = at_once
        self._waiting: dict[str, None] = {}
        self._running: set[str] = set()
        self._workers = 0
        self._idle: list[Deferred[None]] = []

    def add(self, names: Iterable[str]) -> None:
        """Have these worked on, unless they wait already or are worked on. Never blocks."""
        for name in names:
            if name not in self._running:
                self._waiting.setdefault(name)
        while self._workers < min(self._at_once, self._workers + len(self._waiting)):
            self._workers += 1
            Deferred.fromCoroutine(self._serve())

    def forget(self) -> None:
        """Begin nothing more of what waits."""
        self._waiting.clear()

    @property
    def waiting(self) -> int:
        """How many wait or are worked on."""
        return len(self._waiting) + len(self._running)

    async def idle(self) -> None:
        """Wait until nothing is worked on, and nothing waits."""
        if self._workers:
            done: Deferred[None] = Deferred()
            self._idle.append(done)
            await done

    async def _serve(self) -> None:
        while self._waiting:
            name = next(iter(self._waiting))
            del self._waiting[name]
            self._running.add(name)
            try:
                await self._work(name)
            except Exception:  # noqa: BLE001 - one must not keep the others from their turn
                self.log.failure("credential set {set} cannot be looked after", set=name)
            finally:
                self._running.discard(name)
        self._workers -= 1
        if not self._workers:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)
