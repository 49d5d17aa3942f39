"""Asking the source of one credential set, and what is noted of how that ended (nmvs.md section 4 and 8.2).

An attempt is noted before the source is asked, so that it counts even where the process dies in it; and what comes is kept
before anybody reads it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import AttemptOutcome, SetNotification
from oftp2d.renewal.asking import UNKNOWN, Asked
from oftp2d.renewal.cases import Cases
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import Answer, Case, Notification, Refusal, Verdict
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.kept import Kept
from oftp2d.renewal.looking import already_here
from oftp2d.renewal.reactions import advice, again, blocking, level
from oftp2d.renewal.timetable import Phase, next_attempt, phase
from oftp2d.vault import Secret

P = ParamSpec("P")
T = TypeVar("T")


class Attempts:
    """The attempts with one credential set that is in hand."""

    log = Logger(namespace="renewal")

    def __init__(
        self, context: Context, definition: CredentialSet, asked: Asked, keeping: Keeping, cases: Cases
    ) -> None:
        self.definition = definition
        self.name = definition.name
        self._asked = asked
        self._context = context
        self._sets = context.ledger.credential_sets
        self._keeping = keeping
        self._cases = cases

    async def ask(self, case: Case, known: Kept, tan: Secret[str] | None = None) -> bool:
        """Ask the source once; returns whether something came, which is kept and waits to be read."""
        now, digest = self._now(), await self._cases.digest(self.definition)
        # Should nobody come back from it, it is not known whether the source counts it as failed.
        fallback = next_attempt(now, self._phase(known, now), self.definition.terms)
        await self._database(
            self._sets.begin_attempt, self.name, self._context.owner, secrets.token_hex(8), now, fallback
        )
        self.log.info("credential set {set}: its source is asked for a new one", set=self.name)
        answer = await self._asked.fetch(case, now, tan, self._late)
        if isinstance(answer, Refusal):
            await self._conclude(await self.looked_up(answer), known, digest)
            return False
        try:
            await self._keep(answer)
        except OperatorError as error:
            await self._conclude(Refusal(verdict=Verdict.FATAL, text=error.what, advice=error.advice), known, digest)
            return False
        return True

    async def conclude_unanswered(self, known: Kept) -> None:
        """The process died in an attempt, or with its answer unread: how it ended is not known."""
        if known.record.is_unanswered:
            await self._conclude(UNKNOWN, known, "")

    async def _conclude(self, refusal: Refusal, known: Kept, digest: str) -> None:
        await self._database(self._sets.conclude, self.name, self.outcome(refusal, known, digest), self._now())
        self.tell_of(refusal, known)

    async def _keep(self, answer: Answer) -> None:
        kept_ = await self._keeping.keep(self.name, answer, self._now())
        self.log.info(
            "credential set {set}: what its source sent is kept, {id}{transaction}",
            set=self.name,
            id=kept_.id,
            transaction=f", transaction {answer.transaction}" if answer.transaction else "",
        )

    def _late(self, answer: Answer) -> None:
        """An answer came when nobody waited for it any more: it may never come again."""

        async def keep() -> None:
            try:
                await self._keep(answer)
            except Exception as error:  # noqa: BLE001 - nobody waits for it
                self.log.error(
                    "credential set {set}: an answer that came too late cannot be kept ({kind}); ask the source again",
                    set=self.name,
                    kind=type(error).__name__,
                )

        Deferred.fromCoroutine(keep())

    def outcome(self, refusal: Refusal, known: Kept, digest: str) -> AttemptOutcome:
        """What is noted of an attempt that brought nothing; ``digest`` is that of the secrets it was made with."""
        now = self._now()
        found, failures = self._phase(known, now), known.record.failures + 1
        advice_ = self._advice(refusal, known)
        last = known.record.attempted_at if known.record.is_unanswered and known.record.attempted_at else now
        return AttemptOutcome(
            verdict=refusal.verdict.value,
            code=refusal.code,
            text=refusal.text,
            advice=advice_,
            transaction_id=refusal.transaction,
            notifications=kept_notifications(refusal.notifications),
            failed=refusal.verdict is not Verdict.NOT_YET,
            block=blocking(refusal, advice_, digest),
            next_at=again(refusal, last, found, self.definition.terms, failures),
        )

    async def looked_up(self, refusal: Refusal, came_as: int | None = None) -> Refusal:
        """A refusal by which the source says that we have it already, with what to do where that is so."""
        if refusal.verdict is not Verdict.ALREADY:
            return refusal
        candidates = [each for each in await self._database(self._sets.candidates, self.name) if each.id != came_as]
        return replace(refusal, advice=already_here(self.name, candidates, self._now()) or refusal.advice)

    def _advice(self, refusal: Refusal, known: Kept) -> str:
        return advice(refusal, self._phase(known, self._now()))

    def tell_of(self, refusal: Refusal, known: Kept) -> None:
        """How an attempt ended; what was said before is not said as loud again."""
        same = (known.record.verdict, known.record.code) == (refusal.verdict.value, refusal.code)
        advice_ = self._advice(refusal, known)
        self.log.emit(
            LogLevel.info if same else level(refusal, self._phase(known, self._now())),
            "credential set {set}: its source was asked, and gave none: {what}{advice}",
            set=self.name,
            what=said(refusal),
            advice=f"; {advice_}" if advice_ else "",
        )

    def _phase(self, known: Kept, now: datetime) -> Phase:
        ends = known.current.valid_until if known.current else None
        return phase(ends, self.definition.terms, now)

    def _now(self) -> datetime:
        return self._context.now()

    async def _database(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._context.workers.database(work, *args, **kwargs)


def kept_notifications(given: Sequence[Notification]) -> tuple[SetNotification, ...]:
    """As the ledger has them."""
    return tuple(SetNotification(code=each.code, text=each.text, days=each.days) for each in given)


def said(refusal: Refusal) -> str:
    """What a source said, on one line."""
    said = " ".join(part for part in (refusal.code, refusal.text) if part)
    transaction = f" (transaction {refusal.transaction})" if refusal.transaction else ""
    return f"{refusal.verdict}{f': {said}' if said else ''}{transaction}"
