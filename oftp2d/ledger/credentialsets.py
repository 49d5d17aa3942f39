"""Credential sets and their candidates in the ledger (nmvs.md 8.2).

Each method is one transaction, with its lines in the audit trail. An attempt is noted before the source is asked, so that it
counts even where the process dies in it; what came is there before it is read; how an attempt ended and what became of its
answer are one transaction; and so are a change of the credential in use and whom it is told.

One set is worked on by one owner at a time, who claims it with a lease, also among processes:

========================= ==============================================================================
claim, renew, release     without them the set is free when the lease ends; ``recover`` frees those of dead owners
begin_attempt             the claim must hold, and the set must not be blocked
everything else           asks for no claim: what a source gave is kept, whoever holds the set by then
========================= ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oftp2d.errors import OperatorError
from oftp2d.ledger.audit import write
from oftp2d.ledger.candidates import (
    CANDIDATE_MOVES,
    ERASED,
    OPEN,
    AttemptOutcome,
    Block,
    Candidate,
    CandidateFacts,
    CandidateProblem,
    CandidateState,
    Contents,
    CredentialSetRecord,
    IllegalCandidateMoveError,
    SetBlockedError,
    TellingEvent,
    day_of,
)
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import ClaimLostError, UnknownError
from oftp2d.ledger.records import AuditEntry, Detail, NewAuditEntry
from oftp2d.ledger.schema import audit, candidates, credential_sets
from oftp2d.ledger.tellings import owe

_S = CandidateState
_CANDIDATE: Final = tuple(candidates.c[each.name] for each in fields(Candidate))
_CLOSED: Final = frozenset(_S) - OPEN - {_S.ACTIVE}
_NOTHING_KEPT: Final[dict[str, Any]] = {"answer": None, "container": None, "passphrase": None}
_UNBLOCKED: Final[dict[str, Any]] = {"blocked": "", "blocked_advice": "", "blocked_at": None, "secret_digest": ""}
MOST_EMPTY: Final = 20
"""Answers without a credential of which a row stays, of each set."""
_EVENT: Final = "credential "
_MAY_END: Final = (_S.STAGED, _S.REFUSED, _S.VALIDATED, _S.PROBED, _S.FORMER, _S.ROLLED_BACK)


class CredentialSets:
    """The credential sets of the ledger, with their candidates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what is known of a set ------------------------------------------------------------------------

    def get(self, name: str) -> CredentialSetRecord:
        """What is known of a set; of one that was never heard of, that nothing has happened yet."""
        with self._database.reading() as connection:
            return _record(connection, name)

    def list(self) -> Sequence[CredentialSetRecord]:
        """All sets that something has happened to, by name; also those without a definition (any more)."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(credential_sets).order_by(credential_sets.c.name))
            return [CredentialSetRecord(**row._asdict()) for row in rows]

    def history(self, name: str, limit: int = 100, *, before: int | None = None) -> Sequence[AuditEntry]:
        """What the audit trail tells of a set, the youngest first; ``before`` is the last id of the page before."""
        found = sa.select(audit).where(
            # All that begins so, found by the index.
            audit.c.event > _EVENT,
            audit.c.event < _EVENT.replace(" ", "!"),
            sa.type_coerce(audit.c.detail, sa.Text).contains(f'"set": "{name}"', autoescape=True),
        )
        if before is not None:
            found = found.where(audit.c.id < before)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(audit.c.id.desc()).limit(limit))
            return [AuditEntry(**row._asdict()) for row in rows]

    def plan(self, name: str, next_at: datetime | None) -> CredentialSetRecord:
        """When the set is looked at again; None is not before somebody says so."""
        return self._change(name, next_at=next_at)

    def tended(self, name: str, now: datetime) -> None:
        """The source is asked what else it wants."""
        self._change(name, tended_at=now)

    def _change(self, name: str, **values: Any) -> CredentialSetRecord:
        def change(connection: Connection) -> CredentialSetRecord:
            touch(connection, name)
            return _update(connection, name, **values)

        return self._database.insist(change)

    # --- the claim -------------------------------------------------------------------------------------

    def claim(self, name: str, owner: str, lease_until: datetime, now: datetime) -> bool:
        """Take the set for this owner until then, unless another has it whose lease has not ended; prolongs its own."""

        def claim(connection: Connection) -> bool:
            touch(connection, name)
            free = sa.or_(
                credential_sets.c.owner.is_(None),
                credential_sets.c.owner == owner,
                credential_sets.c.lease_until <= now,
            )
            taken = sa.update(credential_sets).where(credential_sets.c.name == name, free)
            return connection.execute(taken.values(owner=owner, lease_until=lease_until)).rowcount == 1

        return self._database.insist(claim, durable=False)

    def renew(self, name: str, owner: str, lease_until: datetime) -> None:
        """Prolong a claim. Raises ClaimLostError where it is no longer this owner's."""
        with self._database.writing(durable=False) as connection:
            if connection.execute(_owned(name, owner).values(lease_until=lease_until)).rowcount == 0:
                raise ClaimLostError(f"credential set {name} is not claimed by {owner}")

    def release(self, name: str, owner: str) -> None:
        """Give the set back; one that another has taken meanwhile stays so."""
        with self._database.writing(durable=False) as connection:
            connection.execute(_owned(name, owner).values(owner=None, lease_until=None))

    def recover(self, owner_alive: Callable[[str], bool]) -> Sequence[str]:
        """Free what dead owners had claimed; returns the names of those sets."""
        claimed = sa.select(credential_sets.c.name, credential_sets.c.owner).where(credential_sets.c.owner.is_not(None))
        with self._database.writing() as connection:
            dead = [(row.name, row.owner) for row in connection.execute(claimed) if not owner_alive(row.owner)]
            for name, owner in dead:
                connection.execute(_owned(name, owner).values(owner=None, lease_until=None))
            return [name for name, _ in dead]

    # --- attempts --------------------------------------------------------------------------------------

    def begin_attempt(
        self, name: str, owner: str, attempt_id: str, now: datetime, next_at: datetime | None
    ) -> CredentialSetRecord:
        """Note an attempt, durably and before the source is asked: it counts from now on, whatever becomes of it.

        ``next_at`` is when the set is looked at again should nobody come back to say how it ended. Raises ClaimLostError
        where the owner has no claim, and SetBlockedError.
        """
        with self._database.writing() as connection:
            found = _record(connection, name)
            if found.owner != owner:
                raise ClaimLostError(f"credential set {name} is not claimed by {owner}")
            if found.blocked:
                raise SetBlockedError(name, found.blocked, found.blocked_advice)
            return _update(
                connection,
                name,
                attempt_id=attempt_id,
                attempted_at=now,
                answered_at=None,
                attempts_day=day_of(now),
                attempts=found.attempts_on(now) + 1,
                next_at=next_at,
            )

    def conclude(self, name: str, outcome: AttemptOutcome, now: datetime) -> CredentialSetRecord:
        """An attempt ended without an answer that is kept; see ``stage`` and ``set_aside`` for the others."""

        def conclude(connection: Connection) -> CredentialSetRecord:
            touch(connection, name)
            return _conclude(connection, name, outcome, now)

        return self._database.insist(conclude)

    def block(self, name: str, block: Block, now: datetime) -> CredentialSetRecord:
        """Nothing is tried with the set from now on. One that is blocked keeps the moment, and takes the new reason."""

        def block_(connection: Connection) -> CredentialSetRecord:
            touch(connection, name)
            return _block(connection, name, block, now)

        return self._database.insist(block_)

    def unblock(self, name: str, why: str, now: datetime, next_at: datetime | None) -> CredentialSetRecord:
        """The set may be tried again; ``why`` in a few words, for the audit trail. One that is not blocked stays as it is."""
        with self._database.writing() as connection:
            found = _record(connection, name)
            if not found.blocked:
                return found
            _audit(connection, name, "unblocked", now, reason=found.blocked, text=why)
            return _update(connection, name, **_UNBLOCKED, failures=0, next_at=next_at)

    # --- candidates ------------------------------------------------------------------------------------

    def keep_answer(
        self,
        name: str,
        answer: bytes,
        passphrase: bytes | None,
        now: datetime,
        *,
        transaction_id: str = "",
        imported: bool = False,
    ) -> Candidate:
        """Keep what a source sent or an operator brought, sealed, as a new candidate: on disk before anybody reads it."""

        def keep(connection: Connection) -> Candidate:
            touch(connection, name)
            values = {
                "set_name": name,
                "state": _S.ANSWERED,
                "imported": imported,
                "answer": answer,
                "passphrase": passphrase,
                "fingerprint": "",
                "serial": "",
                "subject": "",
                "transaction_id": transaction_id,
                "fetched_at": now,
                "problems": (),
                "trial": "",
            }
            kept = connection.execute(sa.insert(candidates).values(values).returning(*_CANDIDATE)).one()
            candidate = Candidate(**kept._asdict())
            _tell_of(connection, candidate, "imported" if imported else "received", now)
            return candidate

        return self._database.insist(keep)

    def candidate(self, candidate_id: int) -> Candidate:
        """One candidate. Raises UnknownError."""
        with self._database.reading() as connection:
            return _candidate(connection, candidate_id)

    def contents(self, candidate_id: int) -> Contents:
        """What is kept of a candidate, sealed. Raises UnknownError."""
        found = sa.select(candidates.c.answer, candidates.c.container, candidates.c.passphrase)
        with self._database.reading() as connection:
            row = connection.execute(found.where(candidates.c.id == candidate_id)).first()
        if row is None:
            raise UnknownError("credential", candidate_id)
        return Contents(**row._asdict())

    def candidates(self, name: str, limit: int = 100) -> Sequence[Candidate]:
        """The candidates of a set, the youngest first."""
        with self._database.reading() as connection:
            return _of_set(connection, name, limit=limit)

    def in_states(self, states: Collection[CandidateState], name: str | None = None) -> Sequence[Candidate]:
        """Of every set, or of this one, all candidates in one of these states, by set, the youngest first."""
        found = sa.select(*_CANDIDATE).where(candidates.c.state.in_(states))
        if name is not None:
            found = found.where(candidates.c.set_name == name)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(candidates.c.set_name, candidates.c.id.desc()))
            return [Candidate(**row._asdict()) for row in rows]

    def open_candidate(self, name: str) -> Candidate | None:
        """The youngest that may still become the one in use for the first time."""
        with self._database.reading() as connection:
            return next(iter(_of_set(connection, name, candidates.c.state.in_(OPEN), limit=1)), None)

    def active(self, name: str) -> Candidate | None:
        """The one in use."""
        with self._database.reading() as connection:
            return next(iter(_of_set(connection, name, candidates.c.state == _S.ACTIVE)), None)

    def former(self, name: str, now: datetime) -> Candidate | None:
        """The one to which a rollback would return: the last in use before that has not ended."""
        with self._database.reading() as connection:
            return _former(connection, name, now)

    def stage(
        self,
        candidate_id: int,
        facts: CandidateFacts,
        contents: Contents,
        now: datetime,
        outcome: AttemptOutcome | None = None,
    ) -> Candidate:
        """An answer held a credential; it opens, and its container, sealed, takes the place of the answer.

        ``outcome`` is that of the attempt it came by. Raises UnknownError and IllegalCandidateMoveError.
        """
        with self._database.writing() as connection:
            staged = _move(
                connection,
                candidate_id,
                _S.STAGED,
                **asdict(facts),
                **asdict(contents),
                staged_at=now,
                ended_at=None,
                problems=(),
            )
            if outcome is not None:
                if outcome.transaction_id:
                    staged = _move(connection, candidate_id, None, transaction_id=outcome.transaction_id)
                _conclude(connection, staged.set_name, outcome, now)
            _tell_of(connection, staged, "staged", now)
            return staged

    def set_aside(
        self, candidate_id: int, there: CandidateState, text: str, now: datetime, outcome: AttemptOutcome | None = None
    ) -> Candidate:
        """An answer held no credential (EMPTY), or cannot be read (UNREADABLE, and is kept); ``text`` says why.

        SUPERSEDED is for one that is kept no longer though nothing newer is in use, such as one of too many unreadable ones.
        ``outcome`` is that of the attempt it came by. Raises UnknownError and IllegalCandidateMoveError.
        """
        problem = CandidateProblem(key=there.value, text=text, may_be_overruled=False)
        with self._database.writing() as connection:
            aside = _move(connection, candidate_id, there, ended_at=_ended(there, now), problems=(problem,))
            if there is _S.EMPTY:
                _forget_empty(connection, aside.set_name)
            if outcome is not None:
                _conclude(connection, aside.set_name, outcome, now)
            _tell_of(connection, aside, there.value, now, text=text)
            return aside

    def judge(
        self, candidate_id: int, problems: Sequence[CandidateProblem], now: datetime, *, anyway: bool = False
    ) -> Candidate:
        """A candidate was validated: with a problem it is REFUSED, without one VALIDATED, or PROBED as it was.

        ``anyway``: an operator wants it with its problems. Raises OperatorError where one of them may not be overruled,
        UnknownError and IllegalCandidateMoveError.
        """
        firm = [each.text for each in problems if not each.may_be_overruled]
        if anyway and firm:
            raise OperatorError(f"that cannot be overruled: {'; '.join(firm)}", "get another credential")
        with self._database.writing() as connection:
            here = _candidate(connection, candidate_id).state
            good = anyway or not problems
            there = (here if here in {_S.VALIDATED, _S.PROBED} else _S.VALIDATED) if good else _S.REFUSED
            judged = _move(connection, candidate_id, None if here is there else there, problems=tuple(problems))
            if here is not there:
                text = "; ".join(each.text for each in problems)
                _tell_of(connection, judged, there.value, now, **({"text": text} if text else {}))
            return judged

    def tried(self, candidate_id: int, text: str, now: datetime, *, ok: bool | None) -> Candidate:
        """A candidate was probed: it is PROBED unless that failed; then it is VALIDATED. The one in use stays so.

        ``ok`` is None where there was nothing to try it with, and counts like True.

        Raises UnknownError and IllegalCandidateMoveError.
        """
        with self._database.writing() as connection:
            here = _candidate(connection, candidate_id).state
            there = here if here is _S.ACTIVE else _S.VALIDATED if ok is False else _S.PROBED
            tried = _move(connection, candidate_id, None if here is there else there, trial=text, trial_ok=ok)
            _tell_of(connection, tried, "probe failed" if ok is False else "probed", now, text=text)
            return tried

    def activate(self, candidate_id: int, consumers: Collection[str], now: datetime) -> Candidate:
        """A candidate is the one in use from now on, and these consumers are to be told; the one before it is FORMER.

        Older ones that are still open are erased, but for what may be better: one that ends later, and where an operator
        has brought this one whatever nobody could read. Raises UnknownError and IllegalCandidateMoveError.
        """
        with self._database.writing() as connection:
            found = _candidate(connection, candidate_id)
            before = next(iter(_of_set(connection, found.set_name, candidates.c.state == _S.ACTIVE)), None)
            if before is not None and before.id != candidate_id:
                _tell_of(connection, _move(connection, before.id, _S.FORMER, ended_at=now), "former", now)
            active = _move(connection, candidate_id, _S.ACTIVE, activated_at=now, ended_at=None)
            worse = candidates.c.valid_until <= found.valid_until
            if not found.imported:
                worse = sa.or_(worse, candidates.c.valid_until.is_(None))
            older = (candidates.c.state.in_(OPEN), candidates.c.id < candidate_id)
            for each in _of_set(connection, found.set_name, *older, worse):
                _tell_of(connection, _move(connection, each.id, _S.SUPERSEDED, ended_at=now), "superseded", now)
            _tell_of(connection, active, "activated", now)
            owe(connection, TellingEvent.ACTIVATED, active, before, consumers=consumers, now=now)
            return active

    def roll_back(self, name: str, consumers: Collection[str], now: datetime) -> Candidate:
        """The one in use is taken back, and the former one is in use again; returns that. These consumers are to be told.

        Raises OperatorError where there is none to return to.
        """
        with self._database.writing() as connection:
            active = next(iter(_of_set(connection, name, candidates.c.state == _S.ACTIVE)), None)
            former = _former(connection, name, now)
            if active is None or former is None:
                raise OperatorError(
                    f"credential set {name} has no former credential that is still valid",
                    "see 'oftp2d renew history' for what there was, and import another one",
                )
            back = _move(connection, active.id, _S.ROLLED_BACK, ended_at=now)
            _tell_of(connection, back, "rolled back", now)
            again = _move(connection, former.id, _S.ACTIVE, activated_at=now, ended_at=None)
            _tell_of(connection, again, "in use again", now)
            owe(connection, TellingEvent.ROLLED_BACK, again, back, consumers=consumers, now=now)
            return again

    def erase_ended(self, now: datetime, limit: int = 100) -> Sequence[Candidate]:
        """Erase what is kept of those that are past their end, but for those in use; returns at most so many."""
        ended = sa.select(candidates.c.id).where(candidates.c.state.in_(_MAY_END), candidates.c.valid_until <= now)
        with self._database.writing() as connection:
            erased = [
                _move(connection, candidate_id, _S.ENDED, ended_at=now)
                for candidate_id in connection.execute(ended.order_by(candidates.c.id).limit(limit)).scalars().all()
            ]
            for each in erased:
                _tell_of(connection, each, "ended", now)
            return erased


def touch(connection: Connection, name: str) -> None:
    """Let there be a row of a set, inside of a larger transaction."""
    found = sa.select(credential_sets.c.name).where(credential_sets.c.name == name)
    if connection.execute(found).first() is None:
        connection.execute(sa.insert(credential_sets), asdict(CredentialSetRecord(name=name)))


def _record(connection: Connection, name: str) -> CredentialSetRecord:
    found = sa.select(credential_sets).where(credential_sets.c.name == name).with_for_update()
    row = connection.execute(found).first()
    return CredentialSetRecord(name=name) if row is None else CredentialSetRecord(**row._asdict())


def _update(connection: Connection, name: str, **values: Any) -> CredentialSetRecord:
    changed = sa.update(credential_sets).where(credential_sets.c.name == name).values(values)
    return CredentialSetRecord(**connection.execute(changed.returning(*credential_sets.c)).one()._asdict())


def _owned(name: str, owner: str) -> sa.Update:
    return sa.update(credential_sets).where(credential_sets.c.name == name, credential_sets.c.owner == owner)


def _conclude(connection: Connection, name: str, outcome: AttemptOutcome, now: datetime) -> CredentialSetRecord:
    found = _record(connection, name)
    _audit(
        connection,
        name,
        "asked for",
        now,
        verdict=outcome.verdict,
        code=outcome.code,
        text=outcome.text,
        transaction=outcome.transaction_id,
        attempt=found.attempt_id,
    )
    if outcome.block is not None:
        _block(connection, name, outcome.block, now)
    return _update(
        connection,
        name,
        verdict=outcome.verdict,
        code=outcome.code,
        text=outcome.text,
        advice=outcome.advice,
        transaction_id=outcome.transaction_id,
        notifications=outcome.notifications,
        answered_at=now,
        failures=found.failures + 1 if outcome.failed else 0,
        next_at=outcome.next_at,
    )


def _block(connection: Connection, name: str, block: Block, now: datetime) -> CredentialSetRecord:
    found = _record(connection, name)
    _audit(connection, name, "blocked", now, reason=block.reason, text=block.advice)
    return _update(
        connection,
        name,
        blocked=block.reason,
        blocked_advice=block.advice,
        blocked_at=found.blocked_at or now,
        secret_digest=block.secret_digest,
    )


def _candidate(connection: Connection, candidate_id: int) -> Candidate:
    row = connection.execute(sa.select(*_CANDIDATE).where(candidates.c.id == candidate_id).with_for_update()).first()
    if row is None:
        raise UnknownError("credential", candidate_id)
    return Candidate(**row._asdict())


def _of_set(
    connection: Connection, name: str, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> list[Candidate]:
    found = sa.select(*_CANDIDATE).where(candidates.c.set_name == name, *conditions)
    return [
        Candidate(**row._asdict())
        for row in connection.execute(found.order_by(candidates.c.id.desc()).limit(limit).with_for_update())
    ]


def _forget_empty(connection: Connection, name: str) -> None:
    """A source that is asked every day and has nothing shall not fill the table; the audit trail tells of each."""
    empty = (candidates.c.set_name == name, candidates.c.state == _S.EMPTY)
    youngest = sa.select(candidates.c.id).where(*empty).order_by(candidates.c.id.desc()).offset(MOST_EMPTY).limit(1)
    if (last := connection.execute(youngest).scalar()) is not None:
        connection.execute(sa.delete(candidates).where(*empty, candidates.c.id <= last))


def _former(connection: Connection, name: str, now: datetime) -> Candidate | None:
    former = _of_set(connection, name, candidates.c.state == _S.FORMER, candidates.c.valid_until > now)
    return max(former, key=lambda each: (each.activated_at or each.fetched_at, each.id), default=None)


def _ended(there: CandidateState, now: datetime) -> datetime | None:
    return now if there in _CLOSED else None


def _move(connection: Connection, candidate_id: int, there: CandidateState | None, **values: Any) -> Candidate:
    """The only thing that writes a state of a candidate after its row is there; None leaves it where it is."""
    here = _candidate(connection, candidate_id).state
    if there is not None:
        if there not in CANDIDATE_MOVES[here]:
            raise IllegalCandidateMoveError(candidate_id, here, there)
        values |= {"state": there, **(_NOTHING_KEPT if there in ERASED else {})}
    moved = sa.update(candidates).where(candidates.c.id == candidate_id).values(values).returning(*_CANDIDATE)
    return Candidate(**connection.execute(moved).one()._asdict())


def _tell_of(connection: Connection, candidate: Candidate, event: str, now: datetime, **more: Detail) -> None:
    """A line in the audit trail about a candidate."""
    known = {"fingerprint": candidate.fingerprint} if candidate.fingerprint else {}
    transaction = {"transaction": candidate.transaction_id} if candidate.transaction_id else {}
    _audit(connection, candidate.set_name, event, now, credential=candidate.id, **known, **transaction, **more)


def _audit(connection: Connection, name: str, event: str, now: datetime, **detail: Detail) -> None:
    entry = NewAuditEntry(at=now, partner_code=None, event=_EVENT + event, detail={"set": name, **detail})
    write(connection, entry)
