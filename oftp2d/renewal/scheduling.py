"""Which credential set is looked after next: few at once, the most pressing first, none forgotten, none twice.

When a set is due follows from what is on disk alone: its definition, the end of its credential, and what the ledger knows of
the last attempt. A station that stood still finds all that became due meanwhile, and spreads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable
from datetime import datetime
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from oftp2d.ledger import CandidateState
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.kept import STUCK, Kept
from oftp2d.renewal.telling import SOURCE, tellable
from oftp2d.renewal.timetable import (
    DAY,
    Blocked,
    Due,
    NotDue,
    Overdue,
    Phase,
    Plan,
    Terms,
    attempts_a_day,
    believed,
    first_attempt,
    midnight_after,
    pause,
    phase,
    place,
)

CONCURRENT: Final = 2
"""Credential sets that are worked on at once: an opened credential is in memory only for so many."""

LONGEST_REST: Final = 2 * DAY
"""Nothing that is tried again waits longer."""
_LONGEST_PLAN: Final = 31 * DAY
"""An attempt is planned for so long ahead at most: ``spread_hours`` has thirty days."""


def upcoming(
    definition: CredentialSet,
    known: Kept,
    plan: Plan,
    now: datetime,
    *,
    consumers: Collection[str],
    rest: datetime | None,
    tends: bool,
) -> datetime | None:
    """When something is to be done with a set next; in the past or now where it is due, None where nothing is.

    ``consumers`` are those whom its definition names, ``rest`` is until when its candidate waits, and ``tends`` is whether its
    plugin has something to do once a day.
    """
    times = [*_unfinished(known, now, consumers), attempt_at(definition, known, plan, now)]
    if known.candidate is not None:
        times.append(believed(rest or now, now, LONGEST_REST))
    if tends:
        times.append(tend_at(definition.name, known, now))
    return _earliest(times)


def awaited(
    definition: CredentialSet,
    known: Kept,
    plan: Plan,
    now: datetime,
    *,
    consumers: Collection[str],
    rest: datetime | None,
) -> datetime | None:
    """The next step that people wait for: the source is asked, or a change goes on; None where nothing does by itself.

    What is looked at each day anyway is none: a password that may end, or a candidate that waits for somebody's word.
    """
    times = [*_unfinished(known, now, consumers), attempt_at(definition, known, plan, now)]
    candidate = known.candidate
    waits = candidate is not None and candidate.state is CandidateState.PROBED and waits_for_operator(definition, known)
    if candidate is not None and candidate.state not in STUCK and not waits:
        times.append(believed(rest or now, now, LONGEST_REST))
    return _earliest(times)


def waits_for_operator(definition: CredentialSet, known: Kept) -> bool:
    """Whether a new credential in which nothing is wrong is left to an operator; the first one of a set never is."""
    return not definition.auto_activate and known.current is not None


def _unfinished(known: Kept, now: datetime, consumers: Collection[str]) -> list[datetime | None]:
    """When what has begun goes on: an attempt of which nobody knows the end, consumers that are to be told."""
    times: list[datetime | None] = [
        believed(each.next_at, now, LONGEST_REST) for each in tellable(known.tellings) if each.next_at
    ]
    if known.record.is_unanswered:
        times.append(now)
    if known.current is not None and ({each.consumer for each in known.tellings} ^ set(consumers)) - {SOURCE}:
        times.append(now)
    return times


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((each for each in times if each is not None), default=None)


def attempt_at(definition: CredentialSet, known: Kept, plan: Plan, now: datetime) -> datetime | None:
    """When the source is asked next by itself; None where it is not."""
    if not definition.auto_renew or known.record.blocked:
        return None
    if known.candidate is not None and known.candidate.state not in STUCK:
        return None
    match plan:
        case NotDue(next=at):
            return at
        case Blocked():
            return None
    terms, ends = definition.terms, _ends(known)
    planned = noted(known, terms, now) or _first(definition.name, ends, terms, now)
    if known.record.attempts_on(now) >= attempts_a_day(phase(ends, terms, now), terms):
        planned = max(planned, midnight_after(now))
    held = pause(known.record.attempted_at, known.record.attempts_on(now), terms, now)
    return planned if held is None else max(planned, held.until)


def to_note(definition: CredentialSet, known: Kept, plan: Plan, now: datetime) -> datetime | None:
    """The time of the first attempt, where the ledger is to keep it: else each restart would put it off again."""
    at = attempt_at(definition, known, plan, now)
    missing = noted(known, definition.terms, now) is None and isinstance(plan, Due | Overdue)
    return at if missing else None


def noted(known: Kept, terms: Terms, now: datetime) -> datetime | None:
    """What the last attempt left as the time of the next one; nothing of the time before the credential in use is renewed."""
    ends, at = _ends(known), known.record.next_at
    if at is not None and believed(at, now, _LONGEST_PLAN) is not at:
        return None
    if at is None or ends is None or at >= ends - terms.lead_days * DAY:
        return at
    return None


def tend_at(name: str, known: Kept, now: datetime) -> datetime | None:
    """When the source is asked what else it wants: once a day, each set at its own hour; None where it is not."""
    current = known.current
    if current is None or current.activated_at is None or known.record.blocked:
        return None
    last = known.record.tended_at
    at = last + DAY if last else current.activated_at + DAY * place(name, _ends(known))
    return believed(at, now, LONGEST_REST)


def _ends(known: Kept) -> datetime | None:
    return None if known.current is None else known.current.valid_until


def _first(name: str, ends: datetime | None, terms: Terms, now: datetime) -> datetime:
    # A plugin may say that it is time before the terms do.
    return now if phase(ends, terms, now) is Phase.VALID else first_attempt(name, ends, terms, now)


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
