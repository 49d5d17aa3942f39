"""The rows of the ledger about credential sets, and the one table of legal moves of a candidate (nmvs.md 8.2).

A *candidate* is a credential that a source gave or an operator brought, on its way to being the one in use. What came is kept
before anybody reads it; from then on ``CANDIDATE_MOVES`` says what may become of it, and a restart goes on by the same table.
What is kept of it is sealed by the vault and never in one of these records: it is fetched apart, as ``Contents``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from oftp2d.errors import OperatorError

# --- candidates ----------------------------------------------------------------------------------------


class CandidateState(StrEnum):
    """Where a candidate stands."""

    ANSWERED = "answered"
    """It came and is kept as it came; nobody has read it."""
    UNREADABLE = "unreadable"
    """It could not be read or does not open: kept for a person."""
    EMPTY = "empty"
    """It held no credential; its content is erased."""
    STAGED = "staged"
    """A credential that is kept and opens."""
    REFUSED = "refused"
    """Something is wrong with it: kept, and active only if an operator says so."""
    VALIDATED = "validated"
    PROBED = "probed"
    """It was tried, and nothing speaks against it."""
    ACTIVE = "active"
    """The one in use: there is at most one in a credential set."""
    FORMER = "former"
    """The one in use before; kept until it ends, for a rollback."""
    ROLLED_BACK = "rolled back"
    ENDED = "ended"
    """Past the end of its validity; its content is erased."""
    SUPERSEDED = "superseded"
    """A newer one became active before it; its content is erased."""


_S = CandidateState

CANDIDATE_MOVES: Final[Mapping[CandidateState, frozenset[CandidateState]]] = {
    _S.ANSWERED: frozenset({_S.STAGED, _S.UNREADABLE, _S.EMPTY, _S.SUPERSEDED}),
    # With another profile or passphrase it may be readable after all.
    _S.UNREADABLE: frozenset({_S.STAGED, _S.EMPTY, _S.SUPERSEDED}),
    _S.EMPTY: frozenset(),
    _S.STAGED: frozenset({_S.VALIDATED, _S.REFUSED, _S.SUPERSEDED, _S.ENDED}),
    _S.REFUSED: frozenset({_S.VALIDATED, _S.SUPERSEDED, _S.ENDED}),
    # What waits for an operator is validated again before it is activated, and may be tried again.
    _S.VALIDATED: frozenset({_S.PROBED, _S.ACTIVE, _S.REFUSED, _S.SUPERSEDED, _S.ENDED}),
    _S.PROBED: frozenset({_S.ACTIVE, _S.VALIDATED, _S.REFUSED, _S.SUPERSEDED, _S.ENDED}),
    _S.ACTIVE: frozenset({_S.FORMER, _S.ROLLED_BACK}),
    _S.FORMER: frozenset({_S.ACTIVE, _S.ENDED}),
    _S.ROLLED_BACK: frozenset({_S.ACTIVE, _S.ENDED}),
    _S.ENDED: frozenset(),
    _S.SUPERSEDED: frozenset(),
}
"""Every legal move of a candidate."""

OPEN: Final[frozenset[CandidateState]] = frozenset(
    {_S.ANSWERED, _S.UNREADABLE, _S.STAGED, _S.REFUSED, _S.VALIDATED, _S.PROBED}
)
"""States of a candidate that may still become the one in use for the first time."""

ERASED: Final[frozenset[CandidateState]] = frozenset({_S.EMPTY, _S.ENDED, _S.SUPERSEDED})
"""States in which nothing is kept of a candidate but what is known of it."""


class IllegalCandidateMoveError(OperatorError):
    """A candidate was asked to move where ``CANDIDATE_MOVES`` has no way. Nothing was changed."""

    def __init__(self, candidate_id: int, here: CandidateState, there: CandidateState) -> None:
        super().__init__(
            f"credential {candidate_id} is {here} and cannot become {there}", "see 'oftp2d renew history' of its set"
        )
        self.candidate_id = candidate_id
        self.here = here
        self.there = there


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateProblem:
    """One thing that keeps a candidate from being activated: a ``Problem`` of the rules, as kept."""

    key: str
    text: str
    may_be_overruled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFacts:
    """What the certificate of a candidate says."""

    fingerprint: str
    """SHA-256, lower-case hexadecimal."""
    serial: str
    """Lower-case hexadecimal: it may have more than an integer of a database."""
    subject: str
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A candidate as stored, without its content."""

    id: int
    """Ascending: of two of one credential set the greater is the younger."""
    set_name: str
    state: CandidateState
    imported: bool
    """An operator brought it; else its source gave it."""
    fingerprint: str = ""
    """Of the certificate, as are the next four; empty, and None, before it was read."""
    serial: str = ""
    subject: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    transaction_id: str = ""
    """The number under which the source's help desk finds it."""
    fetched_at: datetime
    staged_at: datetime | None = None
    activated_at: datetime | None = None
    """When it was activated last."""
    ended_at: datetime | None = None
    """When it came to the state it is in, if that is none of a candidate that is open or active."""
    problems: tuple[CandidateProblem, ...] = ()
    trial: str = ""
    """What the last probe brought, in a sentence."""
    trial_ok: bool | None = None
    """None: there was nothing to try it with, or it was not tried (then ``trial`` is empty)."""

    @property
    def is_open(self) -> bool:
        """Whether it may still become the one in use for the first time."""
        return self.state in OPEN

    @property
    def is_kept(self) -> bool:
        """Whether its content is there."""
        return self.state not in ERASED


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is kept of a candidate, each sealed by the vault; None where there is none (any more)."""

    answer: bytes | None = field(default=None, repr=False)
    """What the source sent, until it was read."""
    container: bytes | None = field(default=None, repr=False)
    passphrase: bytes | None = field(default=None, repr=False)
    """That of the container; before it was read, that which came beside the answer."""


# --- credential sets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNotification:
    """What a source tells beside its answer, as kept."""

    code: str
    text: str
    days: int | None = None
    """In how many days it comes to pass, counted from the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Nothing is tried with a credential set before a person has done something."""

    reason: str
    """A word: the verdict that blocked it."""
    advice: str
    secret_digest: str = ""
    """Keyed digests of the secrets that failed, by name: another value frees the set. Empty where only a person does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOutcome:
    """How an attempt ended, and what follows from it; written in one transaction with what became of the answer."""

    verdict: str
    """A word of ``oftp2d.renewal.interface.Verdict``."""
    code: str = ""
    text: str = ""
    advice: str = ""
    transaction_id: str = ""
    notifications: tuple[SetNotification, ...] = ()
    failed: bool = False
    """Whether it counts to the failures in a row; else these begin anew."""
    block: Block | None = None
    next_at: datetime | None = None
    """When the set is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSetRecord:
    """What the ledger knows of a credential set; its definition is a file."""

    name: str
    verdict: str = ""
    """How the last attempt that was concluded ended, with what the source said; empty before the first."""
    code: str = ""
    text: str = ""
    advice: str = ""
    transaction_id: str = ""
    attempt_id: str = ""
    """Our own number of the last attempt, also of one that nobody came back from."""
    attempted_at: datetime | None = None
    answered_at: datetime | None = None
    """When that attempt was concluded; None while it runs, and when the process died in it."""
    attempts_day: str = ""
    """The UTC day, as in ISO 8601, of which ``attempts`` tells."""
    attempts: int = 0
    failures: int = 0
    """In a row."""
    next_at: datetime | None = None
    blocked: str = ""
    """The word of the block; empty where nothing is blocked."""
    blocked_advice: str = ""
    blocked_at: datetime | None = None
    secret_digest: str = ""
    notifications: tuple[SetNotification, ...] = ()
    tended_at: datetime | None = None
    owner: str | None = None
    lease_until: datetime | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether an attempt was begun that nobody has concluded."""
        return self.attempted_at is not None and self.answered_at is None

    def attempts_on(self, now: datetime) -> int:
        """The attempts of that UTC day so far."""
        return self.attempts if self.attempts_day == day_of(now) else 0


class SetBlockedError(OperatorError):
    """An attempt was to begin with a credential set that is blocked: the source may lock its account."""

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(
            f"credential set {name} is blocked ({reason})", advice or f"see to it, then 'oftp2d renew unblock {name}'"
        )


def day_of(now: datetime) -> str:
    """The UTC day by which attempts are counted, as in ISO 8601."""
    return now.astimezone(UTC).date().isoformat()


# --- tellings ------------------------------------------------------------------------------------------


class TellingState(StrEnum):
    """Whether a consumer knows."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    """Tried in vain: again at ``next_at``, or no more where there is none."""


class TellingEvent(StrEnum):
    """What there is to tell of a credential: why it is the one in use now."""

    ACTIVATED = "activated"
    ROLLED_BACK = "rolled back"
    """It is in use again, for the one after it was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One consumer that is to be told of the last change of the credential in use; a later change takes its place."""

    set_name: str
    consumer: str
    candidate_id: int
    """The one in use now."""
    former_id: int | None = None
    """The one in use before."""
    event: TellingEvent
    since: datetime
    """When it changed."""
    state: TellingState = TellingState.PENDING
    text: str = ""
    attempts: int = 0
    next_at: datetime | None = None
    told_at: datetime | None = None


# --- secrets -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSecret:
    """A secret of a credential set that the ledger keeps, sealed by the vault."""

    set_name: str
    name: str
    value: bytes = field(repr=False)
    proposed: bytes | None = field(default=None, repr=False)
    """A new value that the source may have taken or not, as long as nobody has settled that."""
    changed_at: datetime
    proposed_at: datetime | None = None
