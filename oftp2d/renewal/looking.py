"""Looking here for what a source says that we have: it came before, and is not in use (nmvs.md section 4, PKI_09)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from oftp2d.ledger import Candidate, CandidateState

_S = CandidateState


def already_here(name: str, candidates: Sequence[Candidate], now: datetime) -> str:
    """What a person does with the one that the source means, of all that a set has; empty where it is not here."""
    current = next((each for each in candidates if each.state is _S.ACTIVE), None)
    after = now if current is None or current.valid_until is None else max(now, current.valid_until)
    later = [each for each in candidates if each.is_kept and each.valid_until is not None and each.valid_until > after]
    found = max(later, key=lambda each: (each.valid_until or now, each.id), default=None)
    if found is not None:
        return _of_credential(name, found)
    unread = next((each for each in candidates if each.state is _S.UNREADABLE), None)
    if unread is not None:
        return (
            f"what came on {unread.fetched_at:%Y-%m-%d} is kept and cannot be read: correct the definition of the set, such as"
            f" its profile or passphrase, then 'oftp2d renew run {name}' reads it again"
        )
    return ""


def _of_credential(name: str, found: Candidate) -> str:
    what = f"it is here: credential {found.id}, {found.state}, valid until {found.valid_until:%Y-%m-%d}"
    use = f"'oftp2d renew activate {name} --candidate {found.id}"
    if found.state is not _S.REFUSED:
        return f"{what}; {use}' uses it"
    wrong = "; ".join(each.text for each in found.problems)
    if all(each.may_be_overruled for each in found.problems):
        return f"{what} ({wrong}); {use} --anyway' uses it all the same"
    return f"{what} ({wrong}), which cannot be overruled: ask the source for another one"
