"""The credential sets as they are defined, and one at a time in hand: nobody else works on that one, in no process.

Within the station a lock for each set keeps others waiting; among processes it is claimed in the ledger, with a lease.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import ClaimLostError
from oftp2d.renewal.cases import Cases
from oftp2d.renewal.course import LEASE, Course, Rest
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.informing import Informing
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.sets import Definitions, Folder


class Hands:
    """Takes credential sets in hand, as their definitions say."""

    log = Logger(namespace="renewal")

    def __init__(self, context: Context, folder: Folder, keeping: Keeping, cases: Cases, informing: Informing) -> None:
        self.definitions = Definitions()
        """The credential sets as they are defined, and what is wrong in the files."""
        self.rests: dict[int, Rest] = {}
        """Candidates that do not go on for a while, by their ids."""
        self._context = context
        self._folder = folder
        self._keeping = keeping
        self._cases = cases
        self._informing = informing
        self._locks: dict[str, DeferredLock] = {}
        self._in_hand: set[Course] = set()
        self._emptied: list[Deferred[None]] = []
        self._closed = False

    # --- definitions --------------------------------------------------------------------------------------------

    async def changed(self) -> bool:
        """Whether the files are others than those that were read."""
        return await self._context.workers.disk(self._folder.changed)

    async def reload(self) -> Definitions:
        """Read the definitions again, whether they have changed or not."""
        before, self.definitions = self.definitions, await self._context.workers.disk(self._folder.read)
        known = set(before.faults)
        for fault in self.definitions.faults:
            if fault not in known:
                self.log.error("{fault}", fault=str(fault))
        for name in sorted(before.sets.keys() - self.definitions.sets.keys()):
            self._cases.forget(name)
            self.log.warn(
                "credential set {set}: it is defined no more, and nobody looks after it; what is kept of it stays",
                set=name,
            )
        for name in sorted(self.definitions.sets.keys() - before.sets.keys()):
            self.log.info("credential set {set}: it is looked after", set=name)
        return self.definitions

    def definition(self, name: str) -> CredentialSet:
        """How a set is defined. Raises OperatorError where it is not, or has faults."""
        found = self.definitions.sets.get(name)
        if found is None:
            faults = [str(fault) for fault in self.definitions.faults if fault.name == name]
            what = f"there is no credential set {name!r}" if not faults else f"credential set {name} has faults"
            raise OperatorError(what, "; ".join(faults) or "see 'oftp2d renew status' for those there are")
        return found

    # --- one in hand --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def taken(self, name: str) -> AsyncIterator[Course]:
        """A set in hand: nobody else works on it, neither here nor in another process."""
        lock = self._locks.setdefault(name, DeferredLock())
        await lock.acquire()
        try:
            async with self._claimed(name) as course:
                self._in_hand.add(course)
                try:
                    yield course
                finally:
                    self._in_hand.discard(course)
        finally:
            lock.release()
            if not lock.locked:
                self._locks.pop(name, None)
            if not self._in_hand:
                emptied, self._emptied = self._emptied, []
                for each in emptied:
                    each.callback(None)

    @asynccontextmanager
    async def _claimed(self, name: str) -> AsyncIterator[Course]:
        definition = self.definition(name)
        if self._closed:
            raise OperatorError("the station stops", "ask again when it runs")
        context, sets = self._context, self._context.ledger.credential_sets
        now = context.now()
        if not await context.workers.database(sets.claim, name, context.owner, now + LEASE, now):
            raise OperatorError("another process works on it", "ask again in a few minutes")
        try:
            yield Course(
                context,
                definition,
                keeping=self._keeping,
                cases=self._cases,
                informing=self._informing,
                rests=self.rests,
                goes_on=lambda: not self._closed and name in self.definitions.sets,
            )
        except ClaimLostError:
            raise OperatorError(
                f"another process has taken up credential set {name}", f"see 'oftp2d renew status {name}'"
            ) from None
        finally:
            await context.workers.database(sets.release, name, context.owner)

    def close(self) -> None:
        """Take nothing more in hand; what is in hand ends with its step."""
        self._closed = True

    def give_up(self) -> None:
        """Do not wait for the steps in hand any more; they end like those that took too long."""
        for course in self._in_hand:
            course.asked.cancel()

    async def empty(self) -> None:
        """Wait until nothing is in hand."""
        if self._in_hand:
            emptied: Deferred[None] = Deferred()
            self._emptied.append(emptied)
            await emptied
