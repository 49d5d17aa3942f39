"""What the ledger knows of credential sets, gathered: of each the credential in use, the one before, and the one to come.

Everything here blocks, and belongs in the database worker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from oftp2d.ledger import Candidate, CandidateState, CredentialSetRecord, Ledger, Telling
from oftp2d.ledger.candidates import OPEN

STUCK: Final = frozenset({CandidateState.UNREADABLE, CandidateState.REFUSED})
"""States of a candidate in which it goes on only if something else changes: the source may be asked for another one."""
READY: Final = frozenset({CandidateState.VALIDATED, CandidateState.PROBED})
"""States of a candidate in which nothing is wrong."""
_SHOWN: Final = OPEN | {CandidateState.ACTIVE, CandidateState.FORMER, CandidateState.ROLLED_BACK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One credential set in the ledger."""

    record: CredentialSetRecord
    current: Candidate | None = None
    """The one in use."""
    candidate: Candidate | None = None
    """The one to come: the youngest that is not stuck, else the youngest."""
    former: Candidate | None = None
    """The one to which a rollback returns."""
    taken_back: Candidate | None = None
    """The youngest that was taken back since the one in use came."""
    tellings: tuple[Telling, ...] = ()


def kept(ledger: Ledger, name: str, now: datetime) -> Kept:
    """What is known of one set."""
    sets = ledger.credential_sets
    return _gathered(sets.get(name), sets.in_states(_SHOWN, name), ledger.tellings.list(name), now)


def all_kept(ledger: Ledger, now: datetime) -> Mapping[str, Kept]:
    """What is known of every set of which there is anything, by name."""
    found: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in ledger.credential_sets.in_states(_SHOWN):
        found[candidate.set_name].append(candidate)
    tellings: dict[str, list[Telling]] = defaultdict(list)
    for telling in ledger.tellings.list():
        tellings[telling.set_name].append(telling)
    return {
        record.name: _gathered(record, found[record.name], tellings[record.name], now)
        for record in ledger.credential_sets.list()
    }


def open_one(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one to come."""
    return max(
        (each for each in candidates if each.is_open),
        key=lambda each: (each.state not in STUCK, each.id),
        default=None,
    )


def _gathered(
    record: CredentialSetRecord, candidates: Sequence[Candidate], tellings: Sequence[Telling], now: datetime
) -> Kept:
    valid = [each for each in candidates if each.valid_until is not None and each.valid_until > now]
    former = (each for each in valid if each.state is CandidateState.FORMER)
    current = next((each for each in candidates if each.state is CandidateState.ACTIVE), None)
    taken_back = (
        each
        for each in valid
        if each.state is CandidateState.ROLLED_BACK and current is not None and each.id > current.id
    )
    return Kept(
        record=record,
        current=current,
        candidate=open_one(candidates),
        former=max(former, key=lambda each: (each.activated_at or each.fetched_at, each.id), default=None),
        taken_back=max(taken_back, key=lambda each: each.id, default=None),
        tellings=tuple(tellings),
    )
