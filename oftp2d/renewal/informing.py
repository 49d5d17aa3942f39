"""Telling the consumers of a set, and its source, that another credential is in use: until each of them knows.

Who is to be told is written in one transaction with the change. Whoever fails is tried again with growing waits, and keeps
nobody else waiting but those that use what it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import Telling, TellingEvent, TellingState
from oftp2d.renewal.asking import Asked
from oftp2d.renewal.cases import Cases
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import Plugin, SourceRefusedError
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.material import Material
from oftp2d.renewal.reactions import advice, blocking, grown
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.scheduling import LONGEST_REST
from oftp2d.renewal.telling import SOURCE, Activation, tellable
from oftp2d.renewal.timetable import Phase, believed

LIMIT: Final = timedelta(hours=1) + timedelta(minutes=5)
"""For telling one consumer: a program has an hour."""


class Consumers(Protocol):
    """Whoever is told, by the names that definitions give them."""

    async def problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:
        """Why consumers of this set could not use a new credential."""

    async def tell(self, consumer: str, telling: Activation) -> str:
        """Tell one of them. Raises OperatorError where it must be told again."""


def to_tell(definition: CredentialSet, plugin: Plugin) -> tuple[str, ...]:
    """Who is told of a change, in this order; the source only where its plugin does something then."""
    kind = type(plugin)
    wants = kind.activate is not Plugin.activate or kind.rollback is not Plugin.rollback
    return (*definition.consumers, *((SOURCE,) if wants else ()))


class Informing:
    """Tells what is due of one set."""

    log = Logger(namespace="renewal")

    def __init__(self, context: Context, keeping: Keeping, cases: Cases, consumers: Consumers) -> None:
        self._context = context
        self._keeping = keeping
        self._cases = cases
        self._consumers = consumers
        self._under_way: set[Deferred[str]] = set()

    def give_up(self) -> None:
        """Whoever is being told just now is told again later, such as a program that is running: it is killed."""
        for telling in list(self._under_way):
            telling.cancel()

    async def problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:
        """Why those who are to be told could not use a new credential."""
        return await self._consumers.problems(definition, new)

    async def tell(self, definition: CredentialSet, asked: Asked, *, at_once: bool = False) -> None:
        """Tell whoever is due; ``at_once``: also those that wait for another try."""
        await self._as_defined(definition)
        order = to_tell(definition, self._cases.plugin(definition))
        for consumer in order:
            told = await self._context.workers.database(self._context.ledger.tellings.list, definition.name)
            for each in tellable(told):
                now = self._context.now()
                due = at_once or (each.next_at is not None and believed(each.next_at, now, LONGEST_REST) <= now)
                if each.consumer == consumer and due and not self._context.stopping:
                    await self._tell(definition, asked, each)

    async def _as_defined(self, definition: CredentialSet) -> None:
        """Consumers that were added to a definition are told of the credential in use, and others no more."""
        wanted = set(to_tell(definition, self._cases.plugin(definition)))
        await self._context.workers.database(self._arrange, definition.name, wanted)

    def _arrange(self, name: str, wanted: set[str]) -> None:
        """In the database worker."""
        ledger, now = self._context.ledger, self._context.now()
        known = {each.consumer for each in ledger.tellings.list(name)}
        if gone := known - wanted:
            ledger.tellings.forget(name, gone)
        # A source is told of what it gave when that happens, and not because its plugin is another now.
        if (fresh := wanted - known - {SOURCE}) and ledger.credential_sets.active(name) is not None:
            ledger.tellings.tell_again(name, fresh, now)

    async def _tell(self, definition: CredentialSet, asked: Asked, telling: Telling) -> None:
        try:
            activation = await self._activation(definition, telling)
            text = await self._told(asked, activation, telling.consumer)
        except OperatorError as error:
            await self._failed(definition, telling, error)
            return
        database, tellings, now = self._context.workers.database, self._context.ledger.tellings, self._context.now()
        if await database(tellings.told, telling, TellingState.DONE, text, now):
            self.log.info(
                "credential set {set}: {consumer} knows of the credential in use{text}",
                set=definition.name,
                consumer=telling.consumer,
                text=f": {text}" if text else "",
            )

    async def _failed(self, definition: CredentialSet, telling: Telling, error: OperatorError) -> None:
        now = self._context.now()
        again = now + grown(telling.attempts + 1)
        text = f"{error.what}; {error.advice}"[:500]
        database, tellings = self._context.workers.database, self._context.ledger.tellings
        if await database(tellings.told, telling, TellingState.FAILED, text, now, again):
            tell = self.log.info if telling.text == text else self.log.warn
            tell(
                "credential set {set}: {consumer} could not be told of the credential in use, and is told again: {what};"
                " {advice}",
                set=definition.name,
                consumer=telling.consumer,
                what=error.what,
                advice=error.advice,
            )

    async def _activation(self, definition: CredentialSet, telling: Telling) -> Activation:
        sets, database = self._context.ledger.credential_sets, self._context.workers.database
        current = await database(sets.candidate, telling.candidate_id)
        former = None if telling.former_id is None else await database(sets.candidate, telling.former_id)
        return Activation(
            definition=definition,
            event=telling.event,
            current=await self._keeping.material(current),
            former=former.fingerprint if former else "",
        )

    async def _told(self, asked: Asked, activation: Activation, consumer: str) -> str:
        if consumer != SOURCE:
            return await self._limited(activation, consumer)
        definition, now = activation.definition, self._context.now()
        database, sets = self._context.workers.database, self._context.ledger.credential_sets
        record = await database(sets.get, definition.name)
        if record.blocked:
            # It may want the very login that was refused.
            raise OperatorError(
                f"nothing is asked of it while the set is blocked ({record.blocked})", record.blocked_advice
            )
        case = await self._cases.case(definition, await database(sets.active, definition.name))
        digest = await self._cases.digest(definition)
        try:
            if activation.event is TellingEvent.ACTIVATED:
                return await asked.activate(case, activation.current, now)
            await asked.rollback(case, activation.current, now)
        except SourceRefusedError as error:
            if (block := blocking(error.refusal, advice(error.refusal, Phase.VALID), digest)) is not None:
                await database(sets.block, definition.name, block, self._context.now())
            raise
        return ""

    async def _limited(self, activation: Activation, consumer: str) -> str:
        telling = Deferred.fromCoroutine(self._consumers.tell(consumer, activation))
        telling.addTimeout(LIMIT.total_seconds(), self._context.reactor)
        self._under_way.add(telling)
        try:
            return await telling
        except OperatorError:
            raise
        except (TimeoutError, CancelledError):
            raise OperatorError(f"{consumer} took too long", "see what keeps it waiting") from None
        except Exception as error:  # noqa: BLE001 - one consumer must not keep the others from being told
            self.log.error("{consumer} failed: {kind}", consumer=consumer, kind=type(error).__name__)
            raise OperatorError(f"{consumer} failed ({type(error).__name__})", "see the log at level debug") from None
        finally:
            self._under_way.discard(telling)
