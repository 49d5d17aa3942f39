"""How a credential set stands: what people are shown, warned of, and what monitoring counts; pure functions over it.

It is warned of the end of a credential whatever its source says: from ``lead_days``, ``alarm_days`` and ``critical_days`` on,
and on the last day (nmvs.md 8.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from oftp2d.ledger import Candidate, CandidateState, CredentialSetRecord, Telling, TellingState
from oftp2d.metrics import Gauge
from oftp2d.planning import Concern
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import Verdict
from oftp2d.renewal.kept import READY, STUCK
from oftp2d.renewal.reactions import LATE
from oftp2d.renewal.timetable import DAY, Blocked, Phase, Plan, Terms, offered_until, phase

_AGAIN: Final = "it is tried again by itself"
LOUD: Final = frozenset({Verdict.FATAL, Verdict.ALREADY})
"""Verdicts behind which a person must look although nothing is blocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One credential set at one time."""

    name: str
    now: datetime
    """When it stood so."""
    definition: CredentialSet | None
    """None where the files have faults, and there is no definition from before."""
    faults: tuple[str, ...] = ()
    """What is wrong with its definition, each a sentence with advice."""
    plan: Plan | None = None
    """Whether it is time, as its plugin says; None without a definition, or where the plugin cannot say."""
    record: CredentialSetRecord
    """What the ledger knows: the last attempt, and the block."""
    current: Candidate | None = None
    """The credential in use."""
    candidate: Candidate | None = None
    """The youngest that may still become the one in use."""
    former: Candidate | None = None
    """What 'oftp2d renew rollback' goes back to."""
    taken_back: Candidate | None = None
    """What was in use, and was taken back: 'oftp2d renew activate --candidate' uses it again."""
    tellings: tuple[Telling, ...] = ()
    """Who is told of the last change, in the order of the consumers."""
    next_at: datetime | None = None
    """When the source is asked for a new one next, or the renewal goes on; None where nothing happens by itself."""
    asked_at: datetime | None = None
    """When the source is asked for a new one next; None where it is not by itself."""
    stalled: str = ""
    """What keeps the new credential from going on, where its state does not say so."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """What its plugin knows besides; only where one set is asked for."""

    @property
    def ends(self) -> datetime | None:
        """When the credential in use ends, UTC."""
        return self.current.valid_until if self.current else None

    @property
    def left(self) -> timedelta | None:
        """How long it is still valid; negative behind its end."""
        return None if self.ends is None else self.ends - self.now

    @property
    def days_left(self) -> int | None:
        """Whole days that it is still valid; negative from the instant of its end on."""
        return None if self.left is None else self.left // DAY

    @property
    def phase(self) -> Phase:
        """How close the end is."""
        return phase(self.ends, self.terms, self.now)

    @property
    def terms(self) -> Terms:
        """When it is renewed; the usual numbers where its definition cannot be read."""
        return self.definition.terms if self.definition else Terms()

    @property
    def waits_for_a_person(self) -> bool:
        """Whether nothing goes on by itself."""
        return bool(self.record.blocked) or isinstance(self.plan, Blocked)


# --- warnings --------------------------------------------------------------------------------------------------


def concerns(standing: Standing) -> list[Concern]:
    """Everything that an administrator should look after."""
    found = [
        *_of_definition(standing),
        *_of_end(standing),
        *_of_offer(standing),
        *_of_block(standing),
        *_of_attempt(standing),
        *_of_candidate(standing),
        *_of_consumers(standing),
        *_of_notifications(standing),
    ]
    contact = standing.definition.contact if standing.definition else ""
    if not contact:
        return found
    return [
        Concern(key=each.key, text=each.text, advice=f"{each.advice} (contact: {contact})", at=each.at)
        for each in found
    ]


def to_do(standing: Standing) -> list[Concern]:
    """The same, without the end of the credential where nobody need do anything, and where something else comes first."""
    patient = standing.phase is Phase.DUE and standing.asked_at is not None
    known = {each.key for each in _of_end(standing)} if patient or any(_of_block(standing)) else set()
    return [each for each in concerns(standing) if each.key not in known]


def _of_definition(standing: Standing) -> Iterator[Concern]:
    for fault in standing.faults:
        yield _concern(
            standing,
            f"definition {fault}",
            f"the definition has a fault: {fault}",
            "until then the set goes on as it was defined before"
            if standing.definition
            else "until then nothing is done",
        )


def _of_end(standing: Standing) -> Iterator[Concern]:
    if standing.current is None or standing.ends is None or standing.left is None:
        due = standing.definition and not standing.waits_for_a_person and standing.candidate is None
        if due and not _is_loud(standing):
            advice = f"run 'oftp2d renew run {standing.name}', or bring one with 'oftp2d renew import'"
            yield _concern(standing, "none", "there is no credential yet", advice)
        return
    key, ends = f"ends {standing.current.fingerprint}", f"{standing.ends:%Y-%m-%d %H:%M} UTC"
    if standing.left <= timedelta():
        if standing.waits_for_a_person:
            yield _concern(
                standing, f"{key} over", f"the credential ended on {ends}", _way_out(standing), at=standing.ends
            )
            return
        advice = f"get another one: run 'oftp2d renew run {standing.name}', or bring one with 'oftp2d renew import'"
        yield _concern(standing, f"{key} over", f"the credential ended on {ends}", advice, at=standing.ends)
        return
    terms = standing.terms
    steps = [
        days for days in (1, terms.critical_days, terms.alarm_days, terms.lead_days) if standing.left <= days * DAY
    ]
    if steps:
        days = (standing.days_left or 0) + 1
        text = f"the credential ends on {ends}, in {'less than a day' if days == 1 else f'less than {days} days'}"
        yield _concern(standing, f"{key} {min(steps)}", text, _way_out(standing), at=standing.ends)


def _way_out(standing: Standing) -> str:
    """What becomes of a credential that ends."""
    definition, candidate = standing.definition, standing.candidate
    if definition is None or standing.waits_for_a_person:
        return f"nothing follows it by itself: see 'oftp2d renew status {standing.name}'"
    if candidate is not None and candidate.state in READY:
        return f"its successor is there: see 'oftp2d renew status {standing.name}'"
    if not definition.auto_renew:
        return f"it is not renewed by itself: run 'oftp2d renew run {standing.name}'"
    if candidate is not None and candidate.state not in STUCK:
        return f"what may follow it is being read and checked: see 'oftp2d renew status {standing.name}'"
    when = f" on {standing.asked_at:%Y-%m-%d %H:%M} UTC" if standing.asked_at else ""
    if standing.phase in LATE:
        return f"the source is asked again{when}; call it, and ask why there is no successor yet"
    return f"the source is asked{when}; until then there is nothing to do"


def _of_offer(standing: Standing) -> Iterator[Concern]:
    """A source keeps a successor for a while only: where that is over before the credential ends, it is said in time."""
    current, ends, terms = standing.current, standing.ends, standing.terms
    if current is None or ends is None or not standing.definition or not _lacks_successor(standing):
        return
    until = offered_until(ends, terms)
    if until >= ends or standing.now >= ends or standing.now < until - terms.critical_days * DAY:
        return
    key, day = f"offer {current.fingerprint}", f"{until:%Y-%m-%d %H:%M} UTC"
    if standing.now < until:
        text = f"its source keeps the successor until {day} only (store_days)"
        advice = f"see to it that it is fetched before: 'oftp2d renew status {standing.name}' says what keeps it"
        yield _concern(standing, f"{key} soon", text, advice, at=until)
    else:
        text = f"its source has kept the successor until {day} (store_days), and it was not fetched"
        advice = "it is asked all the same; if it has none any more, ask its help desk to have another one made"
        yield _concern(standing, f"{key} over", text, advice, at=until)


def _lacks_successor(standing: Standing) -> bool:
    """Whether it is time, and nothing has come that can be used."""
    candidate = standing.candidate
    return standing.phase is not Phase.VALID and (candidate is None or candidate.state in STUCK)


def _of_block(standing: Standing) -> Iterator[Concern]:
    record = standing.record
    if record.blocked:
        said = " ".join(part for part in (record.code, record.text) if part)
        text = f"it is blocked ({record.blocked}{f': {said}' if said else ''}), nothing is asked any more"
        advice = record.blocked_advice or f"see to it, then 'oftp2d renew unblock {standing.name}'"
        yield _concern(standing, f"blocked {record.blocked_at}", text, advice, at=record.blocked_at)
    elif isinstance(standing.plan, Blocked) and (standing.definition is None or standing.definition.auto_renew):
        yield _concern(standing, f"waits {standing.plan.reason}", standing.plan.reason, standing.plan.advice)


def _of_attempt(standing: Standing) -> Iterator[Concern]:
    record = standing.record
    if _is_loud(standing):
        said = " ".join(part for part in (record.code, record.text) if part)
        text = f"the last attempt brought nothing ({record.verdict}{f': {said}' if said else ''})"
        advice = record.advice or f"see 'oftp2d renew status {standing.name}'"
        yield _concern(standing, f"attempt {record.verdict} {record.code}", text, advice, at=record.answered_at)


def _is_loud(standing: Standing) -> bool:
    """Whether the last attempt ended so that a person must look, and nothing else says what is to be done."""
    return standing.record.verdict in LOUD and not standing.record.blocked and standing.candidate is None


def _of_candidate(standing: Standing) -> Iterator[Concern]:
    candidate = standing.candidate
    if candidate is None:
        return
    key = f"candidate {candidate.id} {candidate.state}"
    match candidate.state:
        case CandidateState.UNREADABLE:
            advice = (
                "it is kept: correct the definition of the set, such as its profile or passphrase, then"
                f" 'oftp2d renew run {standing.name}' reads it again"
            )
            yield _concern(standing, key, "what the source sent cannot be read", advice, at=candidate.fetched_at)
        case CandidateState.REFUSED:
            said = "; ".join(problem.text for problem in candidate.problems)
            advice = (
                f"ask the source for another one, or overrule it with 'oftp2d renew activate {standing.name} --anyway'"
            )
            if not all(problem.may_be_overruled for problem in candidate.problems):
                advice = "ask the source for another one; it is judged again every day"
            yield _concern(standing, f"{key} {said}", f"the new credential is not used: {said}", advice)
        case CandidateState.VALIDATED if candidate.trial_ok is False:
            text = f"the new credential was tried in vain: {candidate.trial}"
            advice = (
                f"the one before stays in use; it is tried again, or 'oftp2d renew probe {standing.name}' tries it now"
            )
            yield _concern(standing, f"{key} tried", text, advice)
        case CandidateState.ANSWERED | CandidateState.STAGED | CandidateState.PROBED if standing.stalled:
            yield _concern(standing, f"{key} stalled", f"the new credential does not go on: {standing.stalled}", _AGAIN)
        case CandidateState.VALIDATED | CandidateState.PROBED if _waits(standing):
            advice = f"run 'oftp2d renew activate {standing.name}'"
            yield _concern(standing, f"{key} waits", "a new credential waits to be activated", advice)


def _waits(standing: Standing) -> bool:
    definition = standing.definition
    return definition is not None and not definition.auto_activate and standing.current is not None


def _of_consumers(standing: Standing) -> Iterator[Concern]:
    for telling in standing.tellings:
        if telling.state is TellingState.FAILED:
            yield _concern(
                standing,
                f"{telling.consumer} {telling.candidate_id} {telling.event}",
                f"{telling.consumer} does not know of the change of the credential: {telling.text}",
                "it is told again by itself",
                at=telling.since,
            )


def _of_notifications(standing: Standing) -> Iterator[Concern]:
    for each in standing.record.notifications:
        said, answered = " ".join(part for part in (each.code, each.text) if part), standing.record.answered_at
        # Its next answer may be two years away: what it said is told with its day, and days are counted on from there.
        when = f" on {answered:%Y-%m-%d}" if answered else ""
        ends = answered + each.days * DAY if answered and each.days is not None else None
        yield _concern(
            standing,
            f"notification {said}",
            f"its source said{when}: {said}{f' (that is on {ends:%Y-%m-%d})' if ends else ''}",
            "see to it before it stands in the way of a renewal",
            at=ends or answered,
        )


def _concern(standing: Standing, key: str, text: str, advice: str, *, at: datetime | None = None) -> Concern:
    return Concern(
        key=f"credential set {standing.name} {key}",
        text=f"credential set {standing.name}: {text}",
        advice=advice,
        at=at or standing.now,
    )


# --- numbers ---------------------------------------------------------------------------------------------------


def gauges(standings: Sequence[Standing]) -> Iterable[Gauge]:
    """The numbers of all credential sets, each by the name of the set."""

    def by_set(values: Iterable[tuple[str, float | None]]) -> Mapping[tuple[str, ...], float]:
        return {(name,): value for name, value in values if value is not None}

    yield Gauge(
        name="oftp2d_credential_days_left",
        help="Days until the credential of a set ends; negative when it has ended",
        labels=("set",),
        values=by_set((each.name, None if each.left is None else round(each.left / DAY, 3)) for each in standings),
    )
    yield Gauge(
        name="oftp2d_credential_phase",
        help="1 for the phase in which the credential of a set is",
        labels=("set", "phase"),
        values={(each.name, each.phase.value): 1 for each in standings},
    )
    yield Gauge(
        name="oftp2d_credential_blocked",
        help="1 where nothing is asked before a person has done something",
        labels=("set",),
        values=by_set((each.name, float(bool(each.record.blocked))) for each in standings),
    )
    yield Gauge(
        name="oftp2d_credential_candidate",
        help="1 for the state of a new credential that is not in use yet",
        labels=("set", "state"),
        values={(each.name, each.candidate.state.value): 1 for each in standings if each.candidate},
    )
    yield Gauge(
        name="oftp2d_credential_attempts_today",
        help="Attempts of this UTC day to get a new credential",
        labels=("set",),
        values=by_set((each.name, each.record.attempts_on(each.now)) for each in standings),
    )
    yield Gauge(
        name="oftp2d_credential_failures",
        help="Failed attempts in a row",
        labels=("set",),
        values=by_set((each.name, each.record.failures) for each in standings),
    )
    yield Gauge(
        name="oftp2d_credential_last_attempt_age_seconds",
        help="Seconds since the last attempt to get a new credential",
        labels=("set",),
        values=by_set((each.name, _age(each)) for each in standings),
    )
    yield Gauge(
        name="oftp2d_credential_consumers_failed",
        help="Consumers that could not be told of the credential in use",
        labels=("set",),
        values=by_set(
            (each.name, sum(telling.state is TellingState.FAILED for telling in each.tellings)) for each in standings
        ),
    )


def _age(standing: Standing) -> float | None:
    attempted = standing.record.attempted_at
    return None if attempted is None else (standing.now - attempted).total_seconds()
