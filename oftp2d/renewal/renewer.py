"""The renewal of all credential sets: what the daemon starts and stops, and what operators ask for.

Nobody else touches a credential set. Whatever is done with one is done under its lock, which other processes with the same
ledger respect too; what an operator asks for waits for what is under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from oftp2d.context import Context, owner_alive
from oftp2d.errors import OperatorError
from oftp2d.ledger import Candidate, CandidateState, CredentialSetRecord
from oftp2d.metrics import Gauge
from oftp2d.planning import Concern
from oftp2d.renewal.cases import Cases
from oftp2d.renewal.course import Course, kept_problems
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.hands import Hands
from oftp2d.renewal.informing import Consumers, Informing, to_tell
from oftp2d.renewal.interface import Answer, House, Trial
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.kept import STUCK, Kept, all_kept, kept, open_one
from oftp2d.renewal.material import Container, opened_at_first
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.scheduling import Rounds, attempt_at, awaited, to_note, upcoming
from oftp2d.renewal.sets import Definitions, Folder
from oftp2d.renewal.standing import Standing, concerns, gauges
from oftp2d.renewal.timetable import Blocked, Due, Overdue, Plan, pause
from oftp2d.vault import Secret

LOOK: Final = timedelta(minutes=1)
"""How often it is looked at least for what is due, and for changed definitions."""
PATIENCE: Final = timedelta(seconds=30)
"""So long the end of the station waits for a step in hand; then it is given up like one that took too long."""
_ERASED_AT_ONCE: Final = 100


class Renewer:
    """Looks after all credential sets of a station.

    Everything that names a set raises OperatorError where there is none of that name, where another process works on it, and
    while the station stops.
    """

    log = Logger(namespace="renewal")

    def __init__(self, context: Context, consumers: Consumers, *, registry: Registry | None = None) -> None:
        self._context = context
        house = House(reactor=context.reactor, workers=context.workers, home=context.config.home)
        self.registry = registry or Registry(house)
        """The plugins that are installed; asking it blocks."""
        self._keeping = Keeping(ledger=context.ledger, vault=context.vault, workers=context.workers)
        self._cases = Cases(context, self._keeping, self.registry)
        self._informing = Informing(context, self._keeping, self._cases, consumers)
        self._rounds = Rounds(self._visit)
        self._hands = Hands(
            context, Folder(context.config.home, self.registry), self._keeping, self._cases, self._informing
        )
        self._looking = DeferredLock()
        self._timer: IDelayedCall | None = None
        self._stopping = False

    # --- from the start to the end --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the definitions, free what a run before has left claimed, and look from now on."""
        for name in await self._context.workers.database(self._context.ledger.credential_sets.recover, owner_alive):
            self.log.info("credential set {set}: goes on where the run before was", set=name)
        await self.reload()
        self.look()

    async def stop(self) -> None:
        """Begin nothing more, and wait for the steps in hand; what takes longer than ``PATIENCE`` is given up."""
        self._stopping = True
        self._hands.close()
        self._rounds.forget()
        self._disarm()
        hurry = self._context.reactor.callLater(PATIENCE.total_seconds(), self._give_up)
        await self._looking.acquire()
        self._looking.release()
        self._rounds.forget()
        self._disarm()
        await self._rounds.idle()
        await self._hands.empty()
        if hurry.active():
            hurry.cancel()

    def _give_up(self) -> None:
        self._hands.give_up()
        self._cases.give_up()
        self._informing.give_up()

    @property
    def definitions(self) -> Definitions:
        """The credential sets as they are defined, and what is wrong in the files."""
        return self._hands.definitions

    async def reload(self) -> Definitions:
        """Read the definitions again, whether they have changed or not."""
        return await self._hands.reload()

    def look(self) -> None:
        """See which sets are due, and begin with them. Never blocks."""
        if not self._looking.locked:
            Deferred.fromCoroutine(self._looked()).addErrback(
                lambda failure: self.log.failure("the credential sets cannot be looked after", failure)
            )

    def reread(self) -> None:
        """The same, with definitions that are read again first. Never blocks."""
        Deferred.fromCoroutine(self._looked(afresh=True)).addErrback(
            lambda failure: self.log.failure("the credential sets cannot be looked after", failure)
        )

    async def _looked(self, *, afresh: bool = False) -> Sequence[str]:
        """The names of the sets that are due; they are worked on from now on."""
        await self._looking.acquire()
        try:
            self._disarm()
            if self._stopping:
                return ()
            if afresh or await self._hands.changed():
                await self.reload()
            await self._erase_ended()
            due = await self._due()
            if not self._stopping:
                self._rounds.add(due)
            return due
        finally:
            self._looking.release()
            if not self._stopping:
                self._arm(LOOK)

    async def _due(self) -> Sequence[str]:
        """Those to be looked after now, the most pressing first."""
        now = self._context.now()
        everything = await self._context.workers.database(all_kept, self._context.ledger, now)
        self._forget_rests(everything.values())
        due: list[tuple[bool, timedelta, str]] = []
        for name, definition in list(self.definitions.sets.items()):
            if self._stopping:
                break
            known = await self._freed(definition, everything.get(name, _nothing(name)))
            plan = await self._cases.plan(definition, known.current, now)
            if (at := to_note(definition, known, plan, now)) is not None:
                record = await self._context.workers.database(self._context.ledger.credential_sets.plan, name, at)
                known = replace(known, record=record)
            at = self._next(definition, known, plan, now)
            if at is not None and at <= now:
                ends = known.current.valid_until if known.current else None
                due.append((ends is None, ends - now if ends else timedelta(), name))
        return [name for _, _, name in sorted(due)]

    def _next(self, definition: CredentialSet, known: Kept, plan: Plan, now: datetime) -> datetime | None:
        """When something is to be done next."""
        try:
            plugin = self._cases.plugin(definition)
            tends = self._cases.tends(definition)
        except OperatorError:
            return None
        rest = self._hands.rests.get(known.candidate.id) if known.candidate else None
        return upcoming(
            definition,
            known,
            plan,
            now,
            consumers=to_tell(definition, plugin),
            rest=rest.until if rest else None,
            tends=tends,
        )

    def _awaited(self, definition: CredentialSet, known: Kept, plan: Plan, now: datetime) -> datetime | None:
        """When the next step is taken that people wait for."""
        try:
            consumers = to_tell(definition, self._cases.plugin(definition))
        except OperatorError:
            return None
        rest = self._hands.rests.get(known.candidate.id) if known.candidate else None
        return awaited(definition, known, plan, now, consumers=consumers, rest=rest.until if rest else None)

    def _forget_rests(self, everything: Iterable[Kept]) -> None:
        """Of candidates that are gone."""
        there = {each.candidate.id for each in everything if each.candidate is not None}
        for candidate_id in self._hands.rests.keys() - there:
            del self._hands.rests[candidate_id]

    async def _freed(self, definition: CredentialSet, known: Kept) -> Kept:
        """A set that another secret frees is free when there is one; the source is not asked for that."""
        record = known.record
        if not record.blocked or not record.secret_digest:
            return known
        try:
            if not await self._cases.has_another(definition, record.secret_digest):
                return known
        except OperatorError:
            return known
        now = self._context.now()
        unblock = self._context.ledger.credential_sets.unblock
        record = await self._context.workers.database(unblock, definition.name, "there is another secret", now, now)
        self.log.info(
            "credential set {set}: there is another secret, the source may be asked again", set=definition.name
        )
        return replace(known, record=record)

    async def _erase_ended(self) -> None:
        sets, now = self._context.ledger.credential_sets, self._context.now()
        while not self._stopping:
            ended = await self._context.workers.database(sets.erase_ended, now, _ERASED_AT_ONCE)
            for each in ended:
                self.log.info(
                    "credential set {set}: the one of fingerprint {fingerprint} has ended, and its content is erased",
                    set=each.set_name,
                    fingerprint=each.fingerprint,
                )
            if len(ended) < _ERASED_AT_ONCE:
                return

    def _arm(self, after: timedelta) -> None:
        self._disarm()
        self._timer = self._context.reactor.callLater(after.total_seconds(), self.look)

    def _disarm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    async def _visit(self, name: str) -> None:
        """Look after one set that is due."""

        async def due(known: Kept) -> bool:
            now = self._context.now()
            plan = await self._cases.plan(course.definition, known.current, now)
            at = attempt_at(course.definition, known, plan, now)
            return isinstance(plan, Due | Overdue) and at is not None and at <= now

        try:
            async with self._hands.taken(name) as course:
                await course.visit(due=due)
        except OperatorError as error:
            self.log.info("credential set {set}: {what}; {advice}", set=name, what=error.what, advice=error.advice)

    # --- what is shown ------------------------------------------------------------------------------------------

    async def standings(self) -> Sequence[Standing]:
        """How all sets stand, by name; those with faults that never could be read are among them."""
        now = self._context.now()
        everything = await self._context.workers.database(all_kept, self._context.ledger, now)
        for name, definition in list(self.definitions.sets.items()):
            await self._cases.plan(definition, everything.get(name, _nothing(name)).current, now)
        return list(self._standings(everything, now))

    async def standing(self, name: str) -> Standing:
        """How one set stands, with what its plugin knows besides."""
        definition, now = self._hands.definition(name), self._context.now()
        known = await self._context.workers.database(kept, self._context.ledger, name, now)
        await self._cases.plan(definition, known.current, now)
        try:
            case = await self._cases.case(definition, known.current)
            extra = await self._cases.asked(definition).status(case, now)
        except OperatorError as error:
            extra = {"fault": f"{error.what}; {error.advice}"}
        return replace(self._standing(name, known, now), extra=extra)

    async def candidates(self, name: str) -> Sequence[Candidate]:
        """The credentials of a set, those before too, the youngest first."""
        return await self._context.workers.database(self._context.ledger.credential_sets.candidates, name)

    def concerns(self, now: datetime) -> Iterator[Concern]:
        """What an administrator should look after; in the database worker."""
        for standing in self._standings(all_kept(self._context.ledger, now), now):
            yield from concerns(standing)

    def gauges(self, now: datetime) -> Iterable[Gauge]:
        """The numbers of all sets; in the database worker."""
        if not self.definitions.sets:
            return ()
        return gauges(list(self._standings(all_kept(self._context.ledger, now), now)))

    def _standings(self, everything: Mapping[str, Kept], now: datetime) -> Iterator[Standing]:
        definitions = self.definitions
        faulty = {fault.name for fault in definitions.faults if fault.name}
        for name in sorted(definitions.sets.keys() | faulty):
            yield self._standing(name, everything.get(name, _nothing(name)), now)

    def _standing(self, name: str, known: Kept, now: datetime) -> Standing:
        definitions = self.definitions
        definition = definitions.sets.get(name)
        plan = None if definition is None else self._cases.known_plan(definition, known.current, now)
        rest = self._hands.rests.get(known.candidate.id) if known.candidate else None
        return Standing(
            name=name,
            now=now,
            definition=definition,
            faults=tuple(
                str(fault)
                for fault in (definitions.faults_of(name) if definition else definitions.faults)
                if fault.name == name
            ),
            plan=plan,
            record=known.record,
            current=known.current,
            candidate=known.candidate,
            former=known.former,
            taken_back=known.taken_back,
            tellings=known.tellings,
            next_at=self._awaited(definition, known, plan, now) if definition and plan else None,
            asked_at=attempt_at(definition, known, plan, now) if definition and plan else None,
            stalled=rest.why if rest else "",
        )

    # --- what an operator asks for ------------------------------------------------------------------------------

    async def run(self, name: str, *, tan: Secret[str] | None = None) -> Standing:
        """Ask the source now, whatever the hour, and go on with what comes; a new credential that is here already comes first.

        ``tan`` is a one-time number of the source. Never against a block: raises OperatorError then, and where the plugin says
        that nothing can be had before a person has done something (other than giving a TAN); nor more often than the source
        may be asked.
        """
        async with self._hands.taken(name) as course:
            before = (await course.kept()).current
            await course.go_on(forced=True)
            known = await self._freed(course.definition, await course.kept())
            goes_on = known.candidate is not None and known.candidate.state not in STUCK
            if goes_on or known.current != before:
                await course.tell(at_once=True)
                return await self._standing_of(course)
            if known.record.blocked:
                advice = known.record.blocked_advice or f"see to it, then 'oftp2d renew unblock {name}'"
                raise OperatorError(f"credential set {name} is blocked ({known.record.blocked})", advice)
            plan = await self._cases.plan(course.definition, known.current, self._context.now())
            if isinstance(plan, Blocked) and tan is None:
                raise OperatorError(f"credential set {name}: {plan.reason}", plan.advice)
            self._must_not_pause(course.definition, known)
            await course.attempt(tan)
            return await self._standing_of(course)

    def _must_not_pause(self, definition: CredentialSet, known: Kept) -> None:
        now = self._context.now()
        held = pause(known.record.attempted_at, known.record.attempts_on(now), definition.terms, now)
        if held is not None:
            raise OperatorError(
                f"the source of credential set {definition.name} may not be asked now: {held.why}",
                f"ask at {held.until:%Y-%m-%d %H:%M} UTC or later",
            )

    async def run_due(self) -> Sequence[Standing]:
        """Look after every set that is due now, and wait until that is done; returns how those stand."""
        due = await self._looked()
        await self._rounds.idle()
        standings = {each.name: each for each in await self.standings()} if due else {}
        return [standings[name] for name in due if name in standings]

    async def probe(self, name: str) -> Trial:
        """Try the new credential, or the one in use where there is no new one."""
        async with self._hands.taken(name) as course:
            known = await course.kept()
            candidate = known.candidate if known.candidate and known.candidate.state in _TRIABLE else known.current
            if candidate is None:
                raise OperatorError(
                    f"credential set {name} has no credential that could be tried", _HOW_TO_GET.format(name)
                )
            trial = await course.tried(candidate)
            if trial.ok is not False:
                await course.go_on(forced=True)
                await course.tell()
            return trial

    async def activate(self, name: str, *, anyway: bool = False, candidate: int | None = None) -> Standing:
        """Use a new credential from now on: the youngest, or that of this id.

        ``anyway`` overrules a probe that failed and those of its problems that may be overruled.
        """
        async with self._hands.taken(name) as course:
            await course.go_on(forced=True)
            chosen = await self._chosen(name, candidate)
            if chosen.state is not CandidateState.ACTIVE:
                await self._activate(course, chosen, anyway=anyway)
            elif candidate is not None:
                raise OperatorError(f"credential {chosen.id} is in use already", "there is nothing to do")
            await course.tell(at_once=True)
            return await self._standing_of(course)

    async def _activate(self, course: Course, chosen: Candidate, *, anyway: bool) -> None:
        problems = await course.judged(chosen)
        if problems and not anyway:
            may = all(problem.may_be_overruled for problem in problems)
            advice = "add --anyway to use it all the same" if may else "get another one; that cannot be overruled"
            raise OperatorError(f"it is not used: {'; '.join(each.text for each in problems)}", advice)
        firm = [each.text for each in problems if not each.may_be_overruled]
        if firm:
            raise OperatorError(f"that cannot be overruled: {'; '.join(firm)}", "get another credential")
        if chosen.is_open:
            judge, now = self._context.ledger.credential_sets.judge, self._context.now()
            await self._context.workers.database(judge, chosen.id, kept_problems(problems), now, anyway=anyway)
            if not anyway and chosen.state is not CandidateState.PROBED:
                trial = await course.tried(chosen)
                if trial.ok is False:
                    raise OperatorError(
                        f"it was tried in vain: {trial.text}", trial.advice or "add --anyway to use it all the same"
                    )
        await course.use(chosen)

    async def _chosen(self, name: str, candidate: int | None) -> Candidate:
        """The credential that is meant by an id, or the new one: that in use, where it has just become so."""
        found = await self.candidates(name)
        if candidate is None:
            new = open_one(found) or next((each for each in found if each.state is CandidateState.ACTIVE), None)
        else:
            new = next((each for each in found if each.id == candidate), None)
        if new is None:
            which = "no new credential" if candidate is None else f"no credential {candidate}"
            raise OperatorError(f"credential set {name} has {which}", _HOW_TO_GET.format(name))
        if new.state not in _USABLE:
            raise OperatorError(
                f"credential {new.id} of credential set {name} is {new.state}", _HOW_TO_GET.format(name)
            )
        return new

    async def rollback(self, name: str) -> Standing:
        """Use the former credential again, as long as it is valid; the one in use is taken back."""
        async with self._hands.taken(name) as course:
            await course.roll_back()
            await course.tell()
            return await self._standing_of(course)

    async def bring(self, name: str, content: Secret[bytes], passphrase: Secret[bytes] | None = None) -> Standing:
        """Import a credential (PKCS#12 or PEM): it goes the way of one that was fetched.

        The first one of a set becomes the one in use if nothing is wrong with it. Raises OperatorError where it does not open,
        and where it is here already.
        """
        async with self._hands.taken(name) as course:
            container = Container(content=content, passphrase=passphrase)
            material = await self._context.workers.crypto(opened_at_first, container)
            for each in await self.candidates(name):
                if each.fingerprint == material.fingerprint and each.is_kept:
                    raise OperatorError(
                        f"it is here already: credential {each.id}, {each.state}", f"see 'oftp2d renew status {name}'"
                    )
            answer = Answer(content=content, passphrase=passphrase)
            await self._keeping.keep(name, answer, self._context.now(), imported=True)
            self.log.info("credential set {set}: a new one was imported", set=name)
            await course.go_on()
            await course.tell()
            return await self._standing_of(course)

    async def unblock(self, name: str) -> Standing:
        """A person has done what was to be done: the source may be asked again."""
        async with self._hands.taken(name) as course:
            await self._unblocked(name, "an operator says so")
            return await self._standing_of(course)

    async def keep_secret(self, name: str, secret: str, value: Secret[str]) -> Standing:
        """Keep the value of a secret whose reference is ``store``; a block that this secret has caused ends."""
        async with self._hands.taken(name) as course:
            if secret not in self._cases.plugin(course.definition).secrets:
                known = ", ".join(self._cases.plugin(course.definition).secrets) or "none"
                raise OperatorError(f"credential set {name} has no secret {secret!r}", f"known are {known}")
            await self._cases.references(course.definition).keep(secret, value)
            self.log.info("credential set {set}: {name} was changed by an operator", set=name, name=secret)
            await self._freed(course.definition, await course.kept())
            return await self._standing_of(course)

    async def _unblocked(self, name: str, why: str) -> None:
        now, sets = self._context.now(), self._context.ledger.credential_sets
        await self._context.workers.database(sets.unblock, name, why, now, now)
        self.log.info("credential set {set}: {why}, its source may be asked again", set=name, why=why)

    async def _standing_of(self, course: Course) -> Standing:
        """How it stands behind what was done."""
        now, known = self._context.now(), await course.kept()
        await self._cases.plan(course.definition, known.current, now)
        return self._standing(course.name, known, now)


_HOW_TO_GET: Final = "'oftp2d renew run {0}' asks its source for one, 'oftp2d renew import {0}' brings one"
_TRIABLE: Final = frozenset({CandidateState.VALIDATED, CandidateState.PROBED})
_USABLE: Final = frozenset(
    {
        CandidateState.REFUSED,
        CandidateState.VALIDATED,
        CandidateState.PROBED,
        CandidateState.ACTIVE,
        CandidateState.ROLLED_BACK,
        CandidateState.FORMER,
    }
)


def _nothing(name: str) -> Kept:
    return Kept(record=CredentialSetRecord(name=name))
