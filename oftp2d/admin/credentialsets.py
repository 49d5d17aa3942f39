"""Credential sets as JSON: how each stands, what there is to do, how many there are of each kind. No secret is part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from oftp2d.ledger import Candidate, CandidateState, TellingState
from oftp2d.renewal import standing as standings
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.kept import STUCK
from oftp2d.renewal.sets import SetFault
from oftp2d.renewal.standing import Standing
from oftp2d.renewal.timetable import Blocked, Due, NotDue, Overdue, Phase

from .documents import moment

_DOING: Final = {
    CandidateState.ANSWERED: "reads what came",
    CandidateState.STAGED: "checks what came",
    CandidateState.VALIDATED: "tries the new credential",
    CandidateState.PROBED: "puts the new credential into use",
}


def credential_set(standing: Standing) -> dict[str, Any]:
    """One credential set, as it stands in a listing."""
    record, definition = standing.record, standing.definition
    return {
        "name": standing.name,
        "plugin": definition.plugin if definition else None,
        "contact": definition.contact if definition else "",
        "file": definition.file if definition else None,
        "auto_renew": definition.auto_renew if definition else False,
        "auto_activate": definition.auto_activate if definition else False,
        **planned(standing),
        "due": is_due(standing),
        "doing": _doing(standing),
        "stalled": standing.stalled,
        "verdict": record.verdict,
        "code": record.code,
        "last_answer": _answer(standing),
        "advice": record.blocked_advice or record.advice,
        "transaction": record.transaction_id,
        "attempted_at": moment(record.attempted_at),
        "answered_at": moment(record.answered_at),
        "attempts_today": record.attempts_on(standing.now),
        "failures": record.failures,
        "blocked_at": moment(record.blocked_at),
        "current": _credential(standing.current),
        "candidate": _credential(standing.candidate),
        "former": _credential(standing.former),
        "taken_back": _credential(standing.taken_back),
        "consumers": [
            {
                "name": each.consumer,
                "event": each.event,
                "state": each.state,
                "text": each.text,
                "attempts": each.attempts,
                "next_at": moment(each.next_at),
                "told_at": moment(each.told_at),
            }
            for each in standing.tellings
        ],
        "notifications": [{"code": each.code, "text": each.text} for each in record.notifications],
        "faults": list(standing.faults),
        "to_do": to_do(standing),
        "extra": dict(standing.extra),
    }


def planned(standing: Standing) -> dict[str, Any]:
    """When a credential set is looked at next, and why then."""
    return {
        "name": standing.name,
        "phase": standing.phase,
        "days_left": standing.days_left,
        "blocked": standing.record.blocked,
        "next_at": moment(standing.next_at),
        "why": _why(standing),
    }


def counts(standings: Iterable[Standing]) -> dict[str, int]:
    """How many there are in each phase, blocked, and with a fault; and altogether."""
    found: Counter[str] = Counter()
    for each in standings:
        found["total"] += 1
        found[each.phase if each.phase is not Phase.NONE else "without a credential"] += 1
        found["blocked"] += bool(each.record.blocked)
        found["with a fault"] += bool(each.faults)
    order = ["total", *Phase, "without a credential", "blocked", "with a fault"]
    return {str(name): found[name] for name in order if found[name] or name == "total"}


def to_do(standing: Standing) -> Sequence[Mapping[str, str]]:
    """What a person should look after, without the name of the set before it."""
    prefix = f"credential set {standing.name}: "
    return [{"what": each.text.removeprefix(prefix), "advice": each.advice} for each in standings.to_do(standing)]


def is_due(standing: Standing) -> bool:
    """Whether the source should be asked now: it is time, nothing has come yet, and nothing waits for a person."""
    return isinstance(standing.plan, Due | Overdue) and standing.candidate is None and not standing.waits_for_a_person


def _why(standing: Standing) -> str:
    if standing.record.blocked:
        return f"blocked: {standing.record.blocked}"
    if lacking := _lacking(standing):
        return f"told of the credential in use again: {', '.join(lacking)}"
    if standing.candidate is not None and standing.candidate.state not in STUCK:
        waits = standing.next_at is None
        return f"a credential came and is {standing.candidate.state}{', it waits for your word' if waits else ''}"
    if isinstance(standing.plan, Blocked):
        return standing.plan.reason
    if isinstance(standing.plan, Due) and standing.definition is not None:
        return _why_due(standing.phase, standing.definition)
    known = {NotDue: "its time has not come", Overdue: "it has ended"}
    return known.get(type(standing.plan), "its definition has a fault")


def _lacking(standing: Standing) -> list[str]:
    """The consumers that do not know of the credential in use."""
    if standing.definition is None or standing.current is None:
        return []
    done = {each.consumer for each in standing.tellings if each.state is TellingState.DONE}
    return [each for each in standing.definition.consumers if each not in done]


def _why_due(found: Phase, definition: CredentialSet) -> str:
    terms = definition.terms
    days = {Phase.ALARM: terms.alarm_days, Phase.CRITICAL: terms.critical_days}.get(found, terms.lead_days)
    told = "there is no credential yet" if found is Phase.NONE else f"it ends within {days} days"
    return told if definition.auto_renew else f"{told}; it is asked by hand only (auto_renew)"


def _answer(standing: Standing) -> str:
    record = standing.record
    if record.is_unanswered:
        return "no answer yet"
    return ": ".join(part for part in (record.verdict, record.text) if part)


def _doing(standing: Standing) -> str:
    if standing.record.is_unanswered:
        return "asks the source"
    if any(each.state is TellingState.PENDING for each in standing.tellings):
        return "tells the consumers"
    return _DOING.get(standing.candidate.state, "") if standing.candidate else ""


def _credential(candidate: Candidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    return {
        "id": candidate.id,
        "state": candidate.state,
        "imported": candidate.imported,
        "subject": candidate.subject,
        "serial": candidate.serial,
        "fingerprint": candidate.fingerprint,
        "valid_from": moment(candidate.valid_from),
        "valid_until": moment(candidate.valid_until),
        "transaction": candidate.transaction_id,
        "fetched_at": moment(candidate.fetched_at),
        "activated_at": moment(candidate.activated_at),
        "problems": [
            {"key": each.key, "text": each.text, "may_be_overruled": each.may_be_overruled}
            for each in candidate.problems
        ],
        "trial": candidate.trial,
        "trial_ok": candidate.trial_ok,
    }


def fault(found: SetFault) -> dict[str, str]:
    """One thing wrong in the definitions."""
    return {
        "file": found.file,
        "set": found.name,
        "path": found.fault.path,
        "what": found.fault.what,
        "advice": found.fault.advice,
    }
