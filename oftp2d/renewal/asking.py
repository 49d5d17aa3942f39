"""What is asked of a plugin, which is code of others: within a time limit, and whatever it does ends in words of the contract.

A step that raises, hangs, or returns what is none of its words harms neither another credential set nor the station. Nothing
of an unexpected exception is told but its kind: its text may hold a secret.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import (
    Answer,
    Case,
    Fetched,
    Notification,
    Plugin,
    Refusal,
    SourceRefusedError,
    Trial,
    Verdict,
)
from oftp2d.renewal.material import Container, Material
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.timetable import Blocked, Due, NotDue, Overdue, Plan
from oftp2d.vault import Secret

T = TypeVar("T")

LIMIT: Final = timedelta(minutes=10)
"""For any step of a plugin."""
PLAN_LIMIT: Final = timedelta(seconds=30)
"""For saying whether it is time, which asks nobody: the sets are planned one behind the other."""
LONGEST_TEXT: Final = 500
LONGEST_CODE: Final = 64
MOST_NOTIFICATIONS: Final = 20
MOST_DAYS: Final = 3650
"""Ahead of a notification."""
MOST_WORDS: Final = 50
"""Of what a plugin tells of a set besides."""

UNKNOWN: Final = Refusal(verdict=Verdict.RETRY, text="it is not known how the attempt ended")
"""What is made of an attempt that nobody came back from."""


class PluginError(OperatorError):
    """A plugin did what it must not: it raised something unexpected, took too long, or returned something else."""


class Asked:
    """The steps of one plugin, each as in :class:`~oftp2d.renewal.interface.Plugin`; all raise OperatorError alone."""

    log = Logger(namespace="renewal")

    def __init__(self, plugin: Plugin, name: str, reactor: IReactorTime) -> None:
        self._plugin = plugin
        self._name = name
        self._reactor = reactor
        self._running: Deferred[Any] | None = None

    async def plan(self, case: Case, now: datetime) -> Plan:
        """Whether it is time."""
        found = await self._call("plan", lambda: self._plugin.plan(case, now), limit=PLAN_LIMIT)
        if not isinstance(found, NotDue | Due | Overdue | Blocked):
            raise self._wrong("plan")
        if isinstance(found, Blocked):
            return Blocked(_line(found.reason), _line(found.advice))
        return found

    async def fetch(
        self, case: Case, now: datetime, tan: Secret[str] | None, late: Callable[[Answer], None]
    ) -> Answer | Refusal:
        """Ask the source once. ``late`` is called with an answer that came when nobody waited for it any more."""

        def came(found: object) -> None:
            if isinstance(found, Answer):
                late(found)

        try:
            found = await self._call("fetch", lambda: self._plugin.fetch(case, now, tan), late=came)
        except PluginError as error:
            return replace(UNKNOWN, text=f"{UNKNOWN.text}: {error.what}", advice=error.advice)
        except OperatorError as error:
            return Refusal(verdict=Verdict.FATAL, text=_line(error.what), advice=_line(error.advice))
        if isinstance(found, Answer):
            return replace(found, transaction=_line(found.transaction, LONGEST_CODE))
        return _cleaned(found) if isinstance(found, Refusal) else _no_word("fetch")

    async def read(self, case: Case, answer: Answer, now: datetime) -> Fetched | Refusal:
        """What an answer holds. Raises OperatorError where it cannot be read."""
        found = await self._call("read", lambda: self._plugin.read(case, answer, now))
        if isinstance(found, Fetched) and isinstance(found.container, Container):
            return replace(
                found,
                code=_line(found.code, LONGEST_CODE),
                transaction=_line(found.transaction, LONGEST_CODE),
                notifications=_notifications(found.notifications),
            )
        if isinstance(found, Refusal):
            return _cleaned(found)
        raise self._wrong("read")

    async def stage(self, case: Case, new: Material, now: datetime) -> None:
        """It is kept and opens."""
        await self._call("stage", lambda: self._plugin.stage(case, new, now))

    async def validate(self, case: Case, new: Material, now: datetime) -> Sequence[Problem]:
        """What is wrong with it."""
        found = await self._call("validate", lambda: self._plugin.validate(case, new, now))
        if not isinstance(found, Sequence) or not all(isinstance(each, Problem) for each in found):
            raise self._wrong("validate")
        return [replace(each, key=_line(each.key, LONGEST_CODE), text=_line(each.text)) for each in found]

    async def probe(self, case: Case, new: Material, now: datetime) -> Trial:
        """Try it."""
        found = await self._call("probe", lambda: self._plugin.probe(case, new, now))
        if not isinstance(found, Trial):
            raise self._wrong("probe")
        return replace(found, text=_line(found.text), advice=_line(found.advice))

    async def activate(self, case: Case, new: Material, now: datetime) -> str:
        """It is in use."""
        return _line(await self._call("activate", lambda: self._plugin.activate(case, new, now)))

    async def rollback(self, case: Case, former: Material, now: datetime) -> None:
        """The former one is in use again."""
        await self._call("rollback", lambda: self._plugin.rollback(case, former, now))

    async def tend(self, case: Case, now: datetime) -> Refusal | None:
        """What the source wants besides."""
        found = await self._call("tend", lambda: self._plugin.tend(case, now))
        return _cleaned(found) if isinstance(found, Refusal) else None

    async def status(self, case: Case, now: datetime) -> Mapping[str, str]:
        """What else there is to know."""
        found = await self._call("status", lambda: self._plugin.status(case, now))
        if not isinstance(found, Mapping):
            raise self._wrong("status")
        return {_line(key, LONGEST_CODE): _line(value) for key, value in islice(found.items(), MOST_WORDS)}

    def cancel(self) -> None:
        """Give up the step in hand; it ends like one that took too long."""
        if self._running is not None:
            self._running.cancel()

    async def _call(
        self,
        step: str,
        begin: Callable[[], Coroutine[Any, Any, T]],
        late: Callable[[object], None] | None = None,
        limit: timedelta = LIMIT,
    ) -> T:
        """A step of the plugin, and what it returns. Raises OperatorError as the plugin does, and PluginError."""

        def done(result: T | Failure) -> None:
            if not outer.called:
                outer.callback(result)
            elif late is not None:
                late(result)

        # A plugin may take a cancellation as it likes: who waits is told of it in any case.
        outer: Deferred[T] = Deferred(lambda _: inner.cancel())
        inner: Deferred[T] = Deferred.fromCoroutine(_begun(begin))
        timer = self._reactor.callLater(limit.total_seconds(), outer.cancel)
        inner.addBoth(done)
        self._running = outer
        try:
            return await outer
        except CancelledError:
            raise PluginError(
                f"the plugin {self._name} did not end its step '{step}'", "see whether its source can be reached"
            ) from None
        except _BrokenError as error:
            self.log.warn(
                "the plugin {plugin} failed in its step '{step}': {kind} in {where}",
                plugin=self._name,
                step=step,
                kind=error.kind,
                where=error.where,
            )
            raise PluginError(
                f"the plugin {self._name} failed in its step '{step}' ({error.kind})",
                f"tell its maker: {error.kind} in {error.where}",
            ) from None
        except SourceRefusedError as error:
            raise SourceRefusedError(_cleaned(error.refusal)) from None
        except OperatorError as error:
            raise OperatorError(_line(error.what), _line(error.advice)) from None
        finally:
            self._running = None
            if timer.active():
                timer.cancel()

    def _wrong(self, step: str) -> PluginError:
        return PluginError(
            f"the plugin {self._name} returned in its step '{step}' what is no outcome of that", "tell its maker"
        )


class _BrokenError(Exception):
    """What a plugin must not raise, without its text."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.kind = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        self.where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


async def _begun(begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return await begin()
    except (OperatorError, CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - not even an exit of a plugin ends the station
        raise _BrokenError(error) from None


def _cleaned(refusal: Refusal) -> Refusal:
    """A refusal whose texts are each one line, and whose verdict is one of a refusal."""
    if refusal.verdict is Verdict.FETCHED or not isinstance(refusal.verdict, Verdict):
        return _no_word("fetch")
    return replace(
        refusal,
        code=_line(refusal.code, LONGEST_CODE),
        text=_line(refusal.text),
        advice=_line(refusal.advice),
        after=refusal.after if isinstance(refusal.after, timedelta) else None,
        transaction=_line(refusal.transaction, LONGEST_CODE),
        notifications=_notifications(refusal.notifications),
    )


def _no_word(step: str) -> Refusal:
    return Refusal(
        verdict=Verdict.FATAL,
        text=f"the plugin returned in its step '{step}' what is no outcome",
        advice="tell its maker",
    )


def _notifications(given: Iterable[Notification]) -> tuple[Notification, ...]:
    return tuple(
        Notification(code=_line(each.code, LONGEST_CODE), text=_line(each.text), days=_days(each.days))
        for each in islice(given, MOST_NOTIFICATIONS)
        if isinstance(each, Notification)
    )


def _days(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_DAYS else None


def _line(value: object, longest: int = LONGEST_TEXT) -> str:
    """A text from outside as one printable line."""
    text = value if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text[:longest])
