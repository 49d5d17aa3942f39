"""The way of one credential set: what is done next follows from the state of its candidate, by one table.

A restart goes on by the same table. Whatever is worth keeping is in the ledger before the next step begins:

========== ===================================================================================================
answered   what came is read, opened and staged; or it held nothing, or cannot be read and is kept for a person
unreadable read again, now and then: the definition may have been corrected
staged     validated: by the plugin, and by those who would have to use it
refused    validated again, now and then: what is wrong may have passed
validated  tried; if that fails the one in use stays, and it is tried again with growing waits
probed     validated once more and activated, unless that is left to an operator
========== ===================================================================================================

A set that has no candidate to go on with may ask its source: that is in :mod:`oftp2d.renewal.attempts`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, ParamSpec, TypeVar

from twisted.logger import Logger, LogLevel

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AttemptOutcome,
    Candidate,
    CandidateProblem,
    CandidateState,
)
from oftp2d.renewal.asking import LIMIT, Asked
from oftp2d.renewal.attempts import Attempts, kept_notifications, said
from oftp2d.renewal.cases import Cases
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.informing import Informing, to_tell
from oftp2d.renewal.interface import Case, Refusal, Trial, Verdict
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.kept import Kept, kept
from oftp2d.renewal.material import Container, Material, opened_at_first
from oftp2d.renewal.reactions import LATE, grown
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.scheduling import LONGEST_REST, tend_at, waits_for_operator
from oftp2d.renewal.timetable import DAY, Phase, believed, phase
from oftp2d.vault import Secret

P = ParamSpec("P")
T = TypeVar("T")

LEASE: Final = 3 * LIMIT
"""For how long the set is claimed with each step; a step asks the plugin twice at most."""
HELD: Final = 7 * DAY
"""The source is asked for another one so long after one that was refused or rolled back; when it is late, after a day."""
MOST_UNREADABLE: Final = 10
"""Answers that are kept for a person. Of more one goes, but not the older half: the first may hold what never comes again."""

_S = CandidateState


@dataclass(frozen=True, slots=True)
class Rest:
    """A candidate does not go on for a while."""

    failures: int
    until: datetime
    why: str = ""
    """What keeps it, where its state does not say so."""


class Course:
    """One credential set in hand, from the moment it is claimed until it is given back."""

    log = Logger(namespace="renewal")

    def __init__(
        self,
        context: Context,
        definition: CredentialSet,
        *,
        keeping: Keeping,
        cases: Cases,
        informing: Informing,
        rests: MutableMapping[int, Rest],
        goes_on: Callable[[], bool],
    ) -> None:
        """``rests`` is shared by all courses; ``goes_on`` says whether another step may begin."""
        self.definition = definition
        self.name = definition.name
        self.asked: Asked = cases.asked(definition)
        self._context = context
        self._sets = context.ledger.credential_sets
        self._keeping = keeping
        self._cases = cases
        self._informing = informing
        self._rests = rests
        self._goes_on = goes_on
        self._attempts = Attempts(context, definition, self.asked, keeping, cases)
        # Opening a credential is slow, and each step needs those of the step before.
        self._case: tuple[int | None, Case] | None = None
        self._material: tuple[int, Material] | None = None

    # --- what is done with a set ---------------------------------------------------------------------------------

    async def visit(self, *, due: Callable[[Kept], Coroutine[Any, Any, bool]]) -> None:
        """Everything that is to be done now by itself; ``due`` says whether the source is to be asked."""
        await self.go_on()
        await self._attempts.conclude_unanswered(await self.kept())
        await self.tell()
        await self._tend()
        if self._goes_on() and await due(await self.kept()):
            await self.attempt()

    async def go_on(self, *, forced: bool = False) -> None:
        """Take the candidate as far as it gets; ``forced``: also one that rests."""
        tried: set[tuple[int, CandidateState]] = set()
        while self._goes_on():
            candidate = (await self.kept()).candidate
            # Each step leads to another state; where it did not, it is not taken twice in one go.
            if candidate is None or (candidate.id, candidate.state) in tried:
                return
            rest = self._rests.get(candidate.id)
            if rest is not None and believed(rest.until, self._now(), LONGEST_REST) > self._now() and not forced:
                return
            tried.add((candidate.id, candidate.state))
            await self._database(self._sets.renew, self.name, self._context.owner, self._now() + LEASE)
            await self._steps[candidate.state](self, candidate)

    async def tell(self, *, at_once: bool = False) -> None:
        """Tell whoever is to be told that another credential is in use."""
        if self._goes_on():
            await self._informing.tell(self.definition, self.asked, at_once=at_once)

    async def attempt(self, tan: Secret[str] | None = None) -> None:
        """Ask the source once, and go on with what comes."""
        known = await self.kept()
        if await self._attempts.ask(await self.case(known), known, tan):
            await self.go_on()
            await self.tell()

    async def judged(self, candidate: Candidate) -> Sequence[Problem]:
        """What is wrong with a staged credential now. Raises OperatorError."""
        known = await self.kept()
        return await self._problems(await self.case(known), await self._opened(candidate))

    async def tried(self, candidate: Candidate) -> Trial:
        """Try a staged credential, and note what that brought. Raises OperatorError where it does not open."""
        case, new = await self.case(await self.kept()), await self._opened(candidate)
        try:
            trial = await self.asked.probe(case, new, self._now())
        except OperatorError as error:
            trial = Trial(ok=False, text=error.what, advice=error.advice)
        await self._database(self._sets.tried, candidate.id, trial.text, self._now(), ok=trial.ok)
        return trial

    async def use(self, candidate: Candidate) -> None:
        """It is the one in use from now on. Raises OperatorError where its state does not allow that."""
        consumers = to_tell(self.definition, self._cases.plugin(self.definition))
        await self._database(self._sets.activate, candidate.id, consumers, self._now())
        await self._database(self._sets.plan, self.name, None)
        self._rests.pop(candidate.id, None)
        self._cases.forget(self.name)
        self.log.info(
            "credential set {set}: the new one is in use, valid until {until} UTC, fingerprint {fingerprint}",
            set=self.name,
            until=f"{candidate.valid_until:%Y-%m-%d %H:%M}",
            fingerprint=candidate.fingerprint,
        )

    async def roll_back(self) -> None:
        """The former one is in use again. Raises OperatorError."""
        former = (await self.kept()).former
        if former is not None:
            # What does not open any more shall not take the place of what does.
            await self._keeping.material(former)
        consumers = to_tell(self.definition, self._cases.plugin(self.definition))
        again_ = await self._database(self._sets.roll_back, self.name, consumers, self._now())
        await self._hold_off()
        self._cases.forget(self.name)
        self.log.warn(
            "credential set {set}: the former one is in use again, valid until {until} UTC, fingerprint {fingerprint}; what"
            " was taken back is kept, 'oftp2d renew activate' uses it",
            set=self.name,
            until=f"{again_.valid_until:%Y-%m-%d %H:%M}",
            fingerprint=again_.fingerprint,
        )

    # --- the steps of a candidate -------------------------------------------------------------------------------

    async def _read(self, candidate: Candidate) -> None:
        known, now = await self.kept(), self._now()
        try:
            answer = await self._keeping.answer(candidate)
        except OperatorError as error:
            self._rest(candidate, error)
            return
        try:
            container = Container(content=answer.content, passphrase=answer.passphrase)
            outcome = None
            if not candidate.imported:
                found = await self.asked.read(await self.case(known), answer, now)
                if isinstance(found, Refusal):
                    await self._held_nothing(candidate, found, known)
                    return
                container = found.container
                outcome = AttemptOutcome(
                    verdict=Verdict.FETCHED,
                    code=found.code,
                    transaction_id=found.transaction or answer.transaction,
                    notifications=kept_notifications(found.notifications),
                )
            material = await self._context.workers.crypto(opened_at_first, container)
            if await self._is_known(candidate, material, outcome):
                return
            await self._keeping.stage(candidate, container, now, outcome)
        except OperatorError as error:
            await self._unreadable(
                candidate, Refusal(verdict=Verdict.FATAL, text=error.what, advice=error.advice), known
            )
            return
        self._rests.pop(candidate.id, None)
        transaction = outcome.transaction_id if outcome else ""
        self.log.info(
            "credential set {set}: a new one is here, for {subject}, valid until {until} UTC{transaction}",
            set=self.name,
            transaction=f", transaction {transaction}" if transaction else "",
            subject=str(material.facts.subject),
            until=f"{material.valid_until:%Y-%m-%d %H:%M}",
        )

    async def _held_nothing(self, candidate: Candidate, refusal: Refusal, known: Kept) -> None:
        """An answer that was understood brought no credential; one that was not may hold one all the same."""
        refusal = replace(refusal, transaction=refusal.transaction or candidate.transaction_id)
        refusal = await self._attempts.looked_up(refusal, candidate.id)
        if refusal.verdict is Verdict.FATAL and not refusal.understood:
            await self._unreadable(candidate, refusal, known)
            return
        outcome = self._attempts.outcome(refusal, known, await self._cases.digest(self.definition))
        text = said(refusal)
        await self._database(self._sets.set_aside, candidate.id, _S.EMPTY, text, self._now(), outcome)
        self._rests.pop(candidate.id, None)
        self._attempts.tell_of(refusal, known)

    async def _unreadable(self, candidate: Candidate, refusal: Refusal, known: Kept) -> None:
        again_ = candidate.state is _S.UNREADABLE
        self._rests[candidate.id] = Rest(1, self._now() + DAY / 2)
        if again_:
            return
        outcome = None if candidate.imported else self._attempts.outcome(refusal, known, "")
        await self._database(self._sets.set_aside, candidate.id, _S.UNREADABLE, said(refusal), self._now(), outcome)
        self.log.error(
            "credential set {set}: what its source sent cannot be read, and is kept: {what}; {advice}",
            set=self.name,
            what=said(refusal),
            advice=refusal.advice or f"correct its definition, then 'oftp2d renew run {self.name}' reads it again",
        )
        kept_ = await self._database(self._sets.in_states, {_S.UNREADABLE}, self.name)
        half = MOST_UNREADABLE // 2
        for each in kept_[half:-half] if len(kept_) > MOST_UNREADABLE else ():
            text = f"{MOST_UNREADABLE} others are kept"
            await self._database(self._sets.set_aside, each.id, _S.SUPERSEDED, text, self._now())
            self._rests.pop(each.id, None)

    async def _is_known(self, candidate: Candidate, material: Material, outcome: AttemptOutcome | None) -> bool:
        """Whether it is here already; then it is not taken up a second time, whatever became of the first."""
        all_ = await self._database(self._sets.candidates, self.name)
        same = next(
            (
                each
                for each in all_
                if each.fingerprint == material.fingerprint and each.is_kept and each.id != candidate.id
            ),
            None,
        )
        if same is None:
            return False
        text = f"it is the one that is here already, {same.state}"
        if outcome is not None:
            # A source that still gives the one in use has no other yet.
            patience = DAY if same.state is _S.ACTIVE else await self._patience()
            outcome = replace(outcome, text=text, next_at=self._now() + patience)
        await self._database(self._sets.set_aside, candidate.id, _S.EMPTY, text, self._now(), outcome)
        self.log.warn(
            "credential set {set}: what came is the one that is here already, {state}; ask the source for another one if that"
            " is not to be used",
            set=self.name,
            state=same.state.value,
        )
        return True

    async def _judge(self, candidate: Candidate) -> None:
        try:
            case = await self.case(await self.kept())
            new = await self._opened(candidate)
            if candidate.state is _S.STAGED:
                await self.asked.stage(case, new, self._now())
            problems = await self._problems(case, new)
        except OperatorError as error:
            self._rest(candidate, error)
            return
        await self._note_problems(candidate, problems)

    async def _note_problems(self, candidate: Candidate, problems: Sequence[Problem]) -> None:
        await self._database(self._sets.judge, candidate.id, kept_problems(problems), self._now())
        self._rests.pop(candidate.id, None)
        if not problems:
            return
        now = self._now()
        begins = candidate.valid_from if candidate.valid_from and candidate.valid_from > now else now + DAY
        self._rests[candidate.id] = Rest(1, min(begins, now + DAY))
        if candidate.state is not _S.REFUSED:
            await self._hold_off()
        if tuple(kept_problems(problems)) != candidate.problems:
            self.log.error(
                "credential set {set}: the new one is not used: {problems}; see 'oftp2d renew status {set}'",
                set=self.name,
                problems="; ".join(each.text for each in problems),
            )

    async def _probe(self, candidate: Candidate) -> None:
        try:
            trial = await self.tried(candidate)
        except OperatorError as error:
            self._rest(candidate, error)
            return
        if trial.ok is False:
            advice_ = trial.advice or f"'oftp2d renew probe {self.name}' tries it again"
            self._rest(candidate, OperatorError(f"the new one was tried in vain: {trial.text}", advice_))
            return
        self._rests.pop(candidate.id, None)
        self.log.info(
            "credential set {set}: nothing speaks against the new one{text}",
            set=self.name,
            text=f": {trial.text}" if trial.text else "",
        )

    async def _activate(self, candidate: Candidate) -> None:
        known = await self.kept()
        if waits_for_operator(self.definition, known):
            if candidate.id not in self._rests:
                self.log.warn(
                    "credential set {set}: a new one waits; 'oftp2d renew activate {set}' uses it", set=self.name
                )
            self._rests[candidate.id] = Rest(0, self._now() + DAY)
            return
        try:
            problems = await self.judged(candidate)
            if problems:
                await self._note_problems(candidate, problems)
                return
            await self.use(candidate)
        except OperatorError as error:
            self._rest(candidate, error)

    # --- what the source wants besides -------------------------------------------------------------------------

    async def _tend(self) -> None:
        known, now = await self.kept(), self._now()
        if not self._goes_on() or not self._is_tended(known, now):
            return
        # It is noted before: once a day at most, whatever becomes of it.
        await self._database(self._sets.tended, self.name, now)
        try:
            digest = await self._cases.digest(self.definition)
            refusal = await self.asked.tend(await self.case(known), now)
        except OperatorError as error:
            self.log.warn("credential set {set}: {what}; {advice}", set=self.name, what=error.what, advice=error.advice)
            return
        if refusal is not None:
            # When the next attempt is due follows from the credential, unless nothing may be asked any more.
            outcome = replace(self._attempts.outcome(refusal, known, digest), next_at=known.record.next_at)
            await self._database(self._sets.conclude, self.name, outcome, self._now())
            self._attempts.tell_of(refusal, known)

    def _is_tended(self, known: Kept, now: datetime) -> bool:
        at = tend_at(self.name, known, now) if self._cases.tends(self.definition) else None
        return at is not None and at <= now

    # --- in small -----------------------------------------------------------------------------------------------

    async def kept(self) -> Kept:
        """What the ledger knows of the set now."""
        return await self._database(kept, self._context.ledger, self.name, self._now())

    async def case(self, known: Kept) -> Case:
        """The set as its plugin sees it."""
        current = None if known.current is None else known.current.id
        if self._case is None or self._case[0] != current:
            self._case = current, await self._cases.case(self.definition, known.current)
        return self._case[1]

    async def _opened(self, candidate: Candidate) -> Material:
        """A staged credential. Raises OperatorError where it does not open."""
        if self._material is None or self._material[0] != candidate.id:
            self._material = candidate.id, await self._keeping.material(candidate)
        return self._material[1]

    async def _problems(self, case: Case, new: Material) -> Sequence[Problem]:
        own = await self.asked.validate(case, new, self._now())
        return [*own, *await self._informing.problems(self.definition, new)]

    async def _hold_off(self) -> None:
        """The source is not asked for another one at once."""
        await self._database(self._sets.plan, self.name, self._now() + await self._patience())

    async def _patience(self) -> timedelta:
        return DAY if self._phase(await self.kept(), self._now()) in LATE else HELD

    def _rest(self, candidate: Candidate, error: OperatorError) -> None:
        """It goes on later, with growing waits."""
        before = self._rests.get(candidate.id)
        failures = 1 + (before.failures if before else 0)
        why = f"{error.what}; {error.advice}"
        self._rests[candidate.id] = Rest(failures, self._now() + grown(failures), why)
        self.log.emit(
            LogLevel.warn if failures == 1 else LogLevel.info,
            "credential set {set}: {what}; {advice}",
            set=self.name,
            what=error.what,
            advice=error.advice,
        )

    def _phase(self, known: Kept, now: datetime) -> Phase:
        ends = known.current.valid_until if known.current else None
        return phase(ends, self.definition.terms, now)

    def _now(self) -> datetime:
        return self._context.now()

    async def _database(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._context.workers.database(work, *args, **kwargs)

    _steps: ClassVar[Mapping[CandidateState, Callable[[Course, Candidate], Coroutine[Any, Any, None]]]] = {
        _S.ANSWERED: _read,
        _S.UNREADABLE: _read,
        _S.STAGED: _judge,
        _S.REFUSED: _judge,
        _S.VALIDATED: _probe,
        _S.PROBED: _activate,
    }
    """What is done next with a candidate; every open state is here."""


def kept_problems(problems: Sequence[Problem]) -> list[CandidateProblem]:
    """As the ledger has them."""
    return [CandidateProblem(key=each.key, text=each.text, may_be_overruled=each.may_be_overruled) for each in problems]
