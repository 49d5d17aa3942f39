"""What an administrator should look after, gathered from whoever has something to say: for the log and the status.

Each source is asked in the database worker. What is said is logged once, and again when its key changes, such as with a step
of days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from twisted.logger import Logger

from oftp2d.ledger import Ledger
from oftp2d.metrics import Gauge
from oftp2d.planning import Concern, concerns
from oftp2d.workers import Workers

Source = Callable[[datetime], Iterable[Concern]]
"""Blocks, and is called in the database worker."""


class Outlook:
    """The concerns of the whole station."""

    log = Logger(namespace="outlook")

    def __init__(self, workers: Workers, now: Callable[[], datetime]) -> None:
        self._workers = workers
        self._now = now
        self._sources: list[Source] = []
        self._told: list[Callable[[], Iterable[str]]] = []
        self._concerns: tuple[Concern, ...] = ()

    def add(self, source: Source) -> None:
        """Ask this source, too."""
        self._sources.append(source)

    def tell(self, told: Callable[[], Iterable[str]]) -> None:
        """Tell these lines, too, of a room that looks and logs by itself."""
        self._told.append(told)

    async def look(self) -> None:
        """Ask all sources, and log what is new."""
        before = {concern.key for concern in self._concerns}
        self._concerns = await self._workers.database(self._ask)
        for concern in self._concerns:
            if concern.key not in before:
                self.log.warn("look after: {what}; {advice}", what=concern.text, advice=concern.advice)

    def _ask(self) -> tuple[Concern, ...]:
        now = self._now()
        return tuple(concern for source in self._sources for concern in source(now))

    @property
    def lines(self) -> tuple[str, ...]:
        """What was found the last time, for people."""
        return (*(concern.line for concern in self._concerns), *(line for told in self._told for line in told()))

    def gauges(self, _now: datetime) -> Iterable[Gauge]:
        """How many there are, for monitoring."""
        text = "What an administrator should look after, as 'oftp2d status' tells it"
        yield Gauge(name="oftp2d_warnings", help=text, values={(): len(self.lines)})


def of_certificates(ledger: Ledger, now: datetime) -> Iterable[Concern]:
    """What is to come for the certificates in the ledger; blocks."""
    running = ledger.renewals.running()
    renewing = {renewal.fingerprint for renewal in running} | {renewal.previous or "" for renewal in running}
    entries = ledger.certificates.every()
    return concerns(entries, ledger.partners.codes(), now, renewing=frozenset(renewing))
