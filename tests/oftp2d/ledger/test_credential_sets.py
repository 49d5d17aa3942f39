"""Credential sets in the ledger: who works on one, what an attempt leaves behind, and the ways of a candidate."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AttemptOutcome,
    Block,
    Candidate,
    CandidateFacts,
    CandidateProblem,
    CandidateState,
    ClaimLostError,
    Contents,
    IllegalCandidateMoveError,
    Ledger,
    SetBlockedError,
    SetNotification,
    TellingEvent,
    UnknownError,
)
from oftp2d.ledger.candidates import CANDIDATE_MOVES, ERASED, OPEN
from oftp2d.ledger.database import Database
from oftp2d.vault import Vault

S = CandidateState
LEASE = timedelta(minutes=5)
DAY = timedelta(days=1)
SOFT = CandidateProblem(key="same key", text="it has the key of the one in use", may_be_overruled=True)
FIRM = CandidateProblem(key="expired", text="it ended on 2026-01-01", may_be_overruled=False)
NOT_YET = AttemptOutcome(verdict="not yet", code="PKI_07", text="there is none", transaction_id="T1")
REJECTED = AttemptOutcome(
    verdict="authentication failed",
    failed=True,
    block=Block(reason="authentication failed", advice="give the right password", secret_digest="d1"),
)


@pytest.fixture
def kept(ledger: Ledger, now: datetime) -> Kept:
    return Kept(ledger, now)


class Kept:
    """A ledger whose candidates are brought to the state that a test is about by the verbs that lead there."""

    def __init__(self, ledger: Ledger, now: datetime) -> None:
        self.sets = ledger.credential_sets
        self.now = now
        self._marks = count(1)

    def answered(self, name: str = "site-1") -> Candidate:
        return self.sets.keep_answer(name, b"sealed answer", b"sealed words", self.now, transaction_id="T7")

    def stage(self, candidate: Candidate, outcome: AttemptOutcome | None = None, days: int = 730) -> Candidate:
        facts = CandidateFacts(
            fingerprint=f"{next(self._marks):064x}",
            serial="4f4654",
            subject="CN=site 1",
            valid_from=self.now,
            valid_until=self.now + days * DAY,
        )
        contents = Contents(container=b"sealed container", passphrase=b"sealed passphrase")
        return self.sets.stage(candidate.id, facts, contents, self.now, outcome)

    def validated(self, name: str = "site-1", days: int = 730) -> Candidate:
        return self.sets.judge(self.stage(self.answered(name), days=days).id, [], self.now)

    def active(self, name: str = "site-1", days: int = 730) -> Candidate:
        return self.sets.activate(self.validated(name, days).id, ["store"], self.now)

    def reach(self, state: CandidateState, name: str) -> Candidate:
        ways: dict[CandidateState, Callable[[], Candidate]] = {
            S.ANSWERED: lambda: self.answered(name),
            S.UNREADABLE: lambda: self.sets.set_aside(self.answered(name).id, S.UNREADABLE, "what is that", self.now),
            S.EMPTY: lambda: self.sets.set_aside(self.answered(name).id, S.EMPTY, "nothing in it", self.now),
            S.STAGED: lambda: self.stage(self.answered(name)),
            S.REFUSED: lambda: self.sets.judge(self.stage(self.answered(name)).id, [SOFT], self.now),
            S.VALIDATED: lambda: self.validated(name),
            S.PROBED: lambda: self.sets.tried(self.validated(name).id, "it pings", self.now, ok=True),
            S.ACTIVE: lambda: self.active(name),
            S.FORMER: lambda: self._behind(name),
            S.ROLLED_BACK: lambda: self._taken_back(name),
            S.ENDED: lambda: self._ended(name),
            S.SUPERSEDED: lambda: self._overtaken(name),
        }
        return ways[state]()

    def _behind(self, name: str) -> Candidate:
        first = self.active(name)
        self.active(name)
        return self.sets.candidate(first.id)

    def _taken_back(self, name: str) -> Candidate:
        self.active(name)
        second = self.active(name)
        self.sets.roll_back(name, [], self.now)
        return self.sets.candidate(second.id)

    def _ended(self, name: str) -> Candidate:
        found = self.validated(name, days=1)
        self.sets.erase_ended(self.now + DAY)
        return self.sets.candidate(found.id)

    def _overtaken(self, name: str) -> Candidate:
        first = self.validated(name)
        self.active(name)
        return self.sets.candidate(first.id)


# --- the claim -----------------------------------------------------------------------------------------


def test_a_set_that_was_never_heard_of_is_one_to_which_nothing_has_happened(kept: Kept) -> None:
    found = kept.sets.get("site-1")
    assert (found.name, found.verdict, found.attempts, found.next_at, found.is_unanswered) == (
        "site-1",
        "",
        0,
        None,
        False,
    )
    assert kept.sets.list() == []
    assert (kept.sets.active("site-1"), kept.sets.open_candidate("site-1")) == (None, None)


def test_one_owner_at_a_time_has_a_set_also_among_processes(url: str, kept: Kept, now: datetime) -> None:
    other = Ledger.open(url)
    assert kept.sets.claim("site-1", "one", now + LEASE, now)
    assert not other.credential_sets.claim("site-1", "two", now + LEASE, now)
    assert other.credential_sets.claim("site-2", "two", now + LEASE, now)
    assert kept.sets.claim("site-1", "one", now + 2 * LEASE, now), "its own claim is prolonged"
    kept.sets.release("site-1", "two")
    assert not other.credential_sets.claim("site-1", "two", now + LEASE, now), "who has no claim releases nothing"
    kept.sets.release("site-1", "one")
    assert other.credential_sets.claim("site-1", "two", now + LEASE, now)
    other.close()


def test_a_set_whose_lease_has_ended_is_free_and_its_owner_hears_of_it(kept: Kept, now: datetime) -> None:
    kept.sets.claim("site-1", "one", now + LEASE, now)
    assert not kept.sets.claim("site-1", "two", now + 2 * LEASE, now + LEASE - timedelta(microseconds=1))
    kept.sets.renew("site-1", "one", now + 2 * LEASE)
    assert not kept.sets.claim("site-1", "two", now + 3 * LEASE, now + LEASE)
    assert kept.sets.claim("site-1", "two", now + 3 * LEASE, now + 2 * LEASE)
    with pytest.raises(ClaimLostError, match="site-1 is not claimed by one"):
        kept.sets.renew("site-1", "one", now + 3 * LEASE)
    with pytest.raises(ClaimLostError):
        kept.sets.begin_attempt("site-1", "one", "A1", now, None)
    assert kept.sets.get("site-1").attempts == 0


def test_of_many_that_claim_a_new_set_at_once_one_gets_it(url: str, now: datetime) -> None:
    ledgers = [Ledger.open(url) for _ in range(4)]
    begin, taken = threading.Barrier(len(ledgers)), []

    def claim(number: int, ledger: Ledger) -> None:
        begin.wait()
        if ledger.credential_sets.claim("site-1", f"owner-{number}", now + LEASE, now):
            taken.append(f"owner-{number}")

    threads = [threading.Thread(target=claim, args=each) for each in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [ledgers[0].credential_sets.get("site-1").owner]
    for ledger in ledgers:
        ledger.close()


def test_what_dead_owners_had_is_free_at_once(kept: Kept, now: datetime) -> None:
    kept.sets.claim("site-1", "dead", now + LEASE, now)
    kept.sets.claim("site-2", "alive", now + LEASE, now)
    assert kept.sets.recover(lambda owner: owner == "alive") == ["site-1"]
    assert (kept.sets.get("site-1").owner, kept.sets.get("site-2").owner) == (None, "alive")


# --- attempts ------------------------------------------------------------------------------------------


def test_attempts_are_counted_by_the_utc_day(kept: Kept) -> None:
    late = datetime(2026, 3, 4, 23, 59, 59, tzinfo=UTC)
    kept.sets.claim("site-1", "me", late + LEASE, late)
    for number in (1, 2):
        found = kept.sets.begin_attempt("site-1", "me", f"A{number}", late, late + DAY)
        assert (found.attempts, found.attempts_on(late), found.attempt_id) == (number, number, f"A{number}")
    next_day = late + timedelta(seconds=1)
    assert found.attempts_on(next_day) == 0
    found = kept.sets.begin_attempt("site-1", "me", "A3", next_day, None)
    assert (found.attempts, found.attempts_day) == (1, "2026-03-05")


def test_an_attempt_that_nobody_came_back_from_counts_and_keeps_its_time(url: str, kept: Kept, now: datetime) -> None:
    kept.sets.claim("site-1", "me", now + LEASE, now)
    kept.sets.conclude("site-1", NOT_YET, now)
    kept.sets.begin_attempt("site-1", "me", "A1", now, now + DAY)
    later = Ledger.open(url)
    found = later.credential_sets.get("site-1")
    assert found.is_unanswered
    assert (found.attempts, found.attempt_id, found.next_at) == (1, "A1", now + DAY)
    assert (found.verdict, found.code) == ("not yet", "PKI_07"), "what the source said last is still known"
    later.close()


def test_what_must_survive_the_loss_of_power_is_durable_and_a_claim_is_not(
    kept: Kept, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    writing = Database.writing

    def watched(self: Database, *, durable: bool = True) -> Any:
        seen.append(durable)
        return writing(self, durable=durable)

    monkeypatch.setattr(Database, "writing", watched)
    kept.sets.claim("site-1", "me", now + LEASE, now)
    kept.sets.renew("site-1", "me", now + LEASE)
    assert seen == [False, False]
    seen.clear()
    kept.sets.begin_attempt("site-1", "me", "A1", now, None)
    candidate = kept.answered()
    kept.stage(candidate, NOT_YET)
    kept.sets.judge(candidate.id, [], now)
    kept.sets.tried(candidate.id, "it pings", now, ok=True)
    kept.sets.activate(candidate.id, ["store"], now)
    assert seen == [True] * 6, "each is one transaction"


def test_how_an_attempt_ended_is_known_and_told(ledger: Ledger, kept: Kept, now: datetime) -> None:
    kept.sets.claim("site-1", "me", now + LEASE, now)
    kept.sets.begin_attempt("site-1", "me", "A1", now, None)
    notice = SetNotification(code="AU_02", text="the password ends in 9 days")
    outcome = replace(NOT_YET, notifications=(notice,), advice="wait", next_at=now + DAY)
    found = kept.sets.conclude("site-1", outcome, now + LEASE)
    assert (found.verdict, found.code, found.text, found.advice) == ("not yet", "PKI_07", "there is none", "wait")
    assert (found.transaction_id, found.notifications, found.next_at) == ("T1", (notice,), now + DAY)
    assert (found.answered_at, found.is_unanswered, found.failures) == (now + LEASE, False, 0)
    (entry,) = ledger.audit.list(event="credential asked for")
    assert entry.detail == {
        "set": "site-1",
        "verdict": "not yet",
        "code": "PKI_07",
        "text": "there is none",
        "transaction": "T1",
        "attempt": "A1",
    }


def test_failures_are_counted_in_a_row(kept: Kept, now: datetime) -> None:
    trouble = AttemptOutcome(verdict="retry", failed=True)
    assert [kept.sets.conclude("site-1", each, now).failures for each in (trouble, trouble, NOT_YET, trouble)] == [
        1,
        2,
        0,
        1,
    ]


def test_a_failed_authentication_blocks_in_the_same_transaction_and_nothing_is_asked_until_it_is_freed(
    ledger: Ledger, kept: Kept, now: datetime
) -> None:
    kept.sets.claim("site-1", "me", now + LEASE, now)
    kept.sets.begin_attempt("site-1", "me", "A1", now, now)
    found = kept.sets.conclude("site-1", replace(REJECTED, next_at=now), now)
    assert (found.blocked, found.blocked_advice) == ("authentication failed", "give the right password")
    assert (found.blocked_at, found.secret_digest, found.failures) == (now, "d1", 1)
    with pytest.raises(SetBlockedError, match=r"site-1 is blocked \(authentication failed\): give the right password"):
        kept.sets.begin_attempt("site-1", "me", "A2", now, now)
    assert kept.sets.get("site-1").attempt_id == "A1"
    kept.sets.release("site-1", "me")
    kept.sets.unblock("site-1", "a new password", now, now + DAY)
    found = kept.sets.get("site-1")
    assert (found.blocked, found.blocked_at, found.secret_digest, found.failures) == ("", None, "", 0)
    assert found.next_at == now + DAY
    events = ["credential unblocked", "credential blocked", "credential asked for"]
    assert [entry.event for entry in kept.sets.history("site-1")] == events
    kept.sets.unblock("site-1", "again", now, None)
    assert kept.sets.get("site-1") == found, "one that is not blocked stays as it is"
    assert len(ledger.audit.list(event="credential unblocked")) == 1


def test_a_block_keeps_its_moment_and_takes_the_new_reason(kept: Kept, now: datetime) -> None:
    kept.sets.block("site-1", Block(reason="locked", advice="call the help desk"), now)
    found = kept.sets.block("site-1", Block(reason="fatal", advice="look"), now + DAY)
    assert (found.blocked, found.blocked_advice, found.blocked_at) == ("fatal", "look", now)


def test_when_what_else_a_source_wants_was_asked_is_noted(kept: Kept, now: datetime) -> None:
    kept.sets.tended("site-1", now)
    kept.sets.tended("site-1", now + DAY)
    assert kept.sets.get("site-1").tended_at == now + DAY


# --- candidates ----------------------------------------------------------------------------------------


def test_what_came_is_kept_before_it_is_read(url: str, kept: Kept, now: datetime) -> None:
    candidate = kept.answered()
    later = Ledger.open(url)
    found = later.credential_sets.candidate(candidate.id)
    assert found == candidate
    assert (found.state, found.imported, found.transaction_id, found.fetched_at) == (S.ANSWERED, False, "T7", now)
    contents = later.credential_sets.contents(candidate.id)
    assert contents == Contents(answer=b"sealed answer", passphrase=b"sealed words")
    assert "sealed" not in repr(contents)
    later.close()


def test_a_staged_credential_takes_the_place_of_its_answer_with_the_outcome_of_the_attempt(
    kept: Kept, now: datetime
) -> None:
    outcome = AttemptOutcome(verdict="fetched", code="SUCCESS", transaction_id="T9", next_at=now)
    staged = kept.stage(kept.answered(), outcome)
    assert (staged.state, staged.staged_at, staged.subject, staged.transaction_id) == (S.STAGED, now, "CN=site 1", "T9")
    assert kept.sets.contents(staged.id) == Contents(container=b"sealed container", passphrase=b"sealed passphrase")
    assert (kept.sets.get("site-1").verdict, kept.sets.get("site-1").answered_at) == ("fetched", now)


def test_an_empty_answer_is_erased_with_the_outcome_of_the_attempt_and_an_unreadable_one_is_kept(
    kept: Kept, now: datetime
) -> None:
    empty = kept.sets.set_aside(kept.answered().id, S.EMPTY, "no certificate in it", now, REJECTED)
    assert (empty.is_kept, empty.ended_at, kept.sets.contents(empty.id)) == (False, now, Contents())
    assert kept.sets.get("site-1").blocked == "authentication failed"
    unreadable = kept.sets.set_aside(kept.answered("site-2").id, S.UNREADABLE, "it does not open", now, NOT_YET)
    assert kept.sets.contents(unreadable.id).answer == b"sealed answer"
    assert (unreadable.is_open, unreadable.problems[0].text) == (True, "it does not open")
    assert kept.stage(unreadable).problems == (), "another profile may read it after all"


def test_a_credential_with_a_problem_waits_for_an_operator_who_may_overrule_some(kept: Kept, now: datetime) -> None:
    staged = kept.stage(kept.answered())
    refused = kept.sets.judge(staged.id, [SOFT], now)
    assert (refused.state, refused.problems, refused.is_kept) == (S.REFUSED, (SOFT,), True)
    with pytest.raises(OperatorError, match="cannot be overruled: it ended on"):
        kept.sets.judge(staged.id, [SOFT, FIRM], now, anyway=True)
    assert kept.sets.candidate(staged.id) == refused
    taken = kept.sets.judge(staged.id, [SOFT], now, anyway=True)
    assert (taken.state, taken.problems) == (S.VALIDATED, (SOFT,))
    assert kept.sets.judge(staged.id, [FIRM], now).state is S.REFUSED, "it is judged again before it is activated"
    assert kept.sets.judge(staged.id, [], now).state is S.VALIDATED


def test_a_probe_that_fails_leaves_a_credential_validated_and_the_one_in_use_in_use(kept: Kept, now: datetime) -> None:
    validated = kept.validated()
    failed = kept.sets.tried(validated.id, "nobody answers", now, ok=False)
    assert (failed.state, failed.trial, failed.trial_ok) == (S.VALIDATED, "nobody answers", False)
    assert kept.sets.tried(validated.id, "there is nothing to try it with", now, ok=None).state is S.PROBED
    assert kept.sets.judge(validated.id, [], now).state is S.PROBED, "to be judged again takes the probe from nobody"
    assert kept.sets.tried(validated.id, "nobody answers", now, ok=False).state is S.VALIDATED
    kept.sets.activate(validated.id, [], now)
    assert kept.sets.tried(validated.id, "nobody answers", now, ok=False).state is S.ACTIVE


def test_to_activate_moves_the_former_one_erases_the_overtaken_and_owes_the_tellings_as_one(
    ledger: Ledger, kept: Kept, now: datetime
) -> None:
    first = kept.active()
    older, newer = kept.validated(), kept.validated()
    youngest = kept.answered()
    active = kept.sets.activate(newer.id, ["hook", "store"], now + DAY)
    assert (active.state, active.activated_at, active.ended_at) == (S.ACTIVE, now + DAY, None)
    assert kept.sets.active("site-1") == active
    states = [each.state for each in kept.sets.candidates("site-1")]
    assert states == [S.ANSWERED, S.ACTIVE, S.SUPERSEDED, S.FORMER]
    assert kept.sets.contents(older.id) == Contents()
    assert kept.sets.contents(first.id).container is not None, "the former one is kept for a rollback"
    assert kept.sets.open_candidate("site-1") == youngest
    told = [(each.consumer, each.candidate_id, each.former_id, each.event) for each in ledger.tellings.due(now + DAY)]
    assert told == [(name, newer.id, first.id, TellingEvent.ACTIVATED) for name in ("hook", "store")]
    (entry, _) = ledger.audit.list(event="credential activated")
    assert entry.fingerprint == newer.fingerprint
    assert entry.detail["set"] == "site-1"


def test_an_activation_that_cannot_be_leaves_everything_as_it_was(ledger: Ledger, kept: Kept, now: datetime) -> None:
    active, refused = kept.active(), kept.reach(S.REFUSED, "site-1")
    tellings, trail = ledger.tellings.list(), ledger.audit.list()
    with pytest.raises(IllegalCandidateMoveError, match=f"credential {refused.id} is refused and cannot become active"):
        kept.sets.activate(refused.id, ["hook"], now)
    assert kept.sets.active("site-1") == active
    assert (ledger.tellings.list(), ledger.audit.list()) == (tellings, trail)


def test_the_database_itself_takes_no_second_one_in_use(tmp_path: Path, kept: Kept) -> None:
    kept.active()
    other = kept.validated()
    with (
        closing(sqlite3.connect(tmp_path / "ledger.db")) as connection,
        pytest.raises(sqlite3.IntegrityError, match=r"candidates\.set_name"),
    ):
        connection.execute("UPDATE candidates SET state = 'active' WHERE id = ?", [other.id])


def test_a_rollback_returns_to_the_last_one_in_use_and_tells_of_it(ledger: Ledger, kept: Kept, now: datetime) -> None:
    first, second = kept.active(), kept.active()
    assert kept.sets.former("site-1", now) == kept.sets.candidate(first.id)
    again = kept.sets.roll_back("site-1", ["hook"], now + DAY)
    assert (again.id, again.state, again.activated_at, again.ended_at) == (first.id, S.ACTIVE, now + DAY, None)
    back = kept.sets.candidate(second.id)
    assert (back.state, back.ended_at, back.is_kept) == (S.ROLLED_BACK, now + DAY, True)
    (telling,) = ledger.tellings.list("site-1")
    assert (telling.event, telling.candidate_id, telling.former_id) == (TellingEvent.ROLLED_BACK, first.id, second.id)
    with pytest.raises(OperatorError, match="no former credential that is still valid"):
        kept.sets.roll_back("site-1", [], now)
    assert kept.sets.activate(second.id, [], now).state is S.ACTIVE, "it may be taken after all"
    assert kept.sets.former("site-1", now) == kept.sets.candidate(first.id)


def test_there_is_no_rollback_to_one_that_has_ended(kept: Kept, now: datetime) -> None:
    kept.active(days=10)
    kept.active()
    assert kept.sets.former("site-1", now + 10 * DAY) is None
    with pytest.raises(OperatorError, match="still valid"):
        kept.sets.roll_back("site-1", [], now + 10 * DAY)


def test_what_has_ended_is_erased_but_for_the_one_in_use(kept: Kept, now: datetime) -> None:
    former, active, waiting = kept.active(days=10), kept.active(days=10), kept.validated(days=10)
    longer, unreadable = kept.validated(days=20), kept.reach(S.UNREADABLE, "site-1")
    assert kept.sets.erase_ended(now + 10 * DAY - timedelta(microseconds=1)) == []
    assert [each.id for each in kept.sets.erase_ended(now + 10 * DAY, limit=1)] == [former.id]
    assert [each.id for each in kept.sets.erase_ended(now + 10 * DAY)] == [waiting.id]
    for each in (former, waiting):
        assert kept.sets.candidate(each.id).state is S.ENDED
        assert kept.sets.contents(each.id) == Contents()
        assert kept.sets.candidate(each.id).fingerprint == each.fingerprint, "what is known of it stays"
    assert all(kept.sets.contents(each.id) != Contents() for each in (active, longer, unreadable))


def test_all_sets_are_seen_at_once_by_the_states_of_their_candidates(kept: Kept) -> None:
    kept.active("site-2")
    kept.active("site-1")
    kept.reach(S.EMPTY, "site-3")
    kept.validated("site-1")
    found = [(each.set_name, each.state) for each in kept.sets.in_states(OPEN | {S.ACTIVE})]
    assert found == [("site-1", S.VALIDATED), ("site-1", S.ACTIVE), ("site-2", S.ACTIVE)]


def test_what_is_unknown_is_said(kept: Kept, now: datetime) -> None:
    for ask in (
        lambda: kept.sets.candidate(99),
        lambda: kept.sets.contents(99),
        lambda: kept.sets.activate(99, [], now),
        lambda: kept.sets.tried(99, "", now, ok=True),
    ):
        with pytest.raises(UnknownError, match="no credential 99"):
            ask()


def test_the_history_of_a_set_is_its_own(ledger: Ledger, kept: Kept, now: datetime) -> None:
    kept.active("site-1")
    kept.active("site-10")
    ledger.audit.record(now, None, "partner added", {"set": "site-1"})
    ledger.audit.record(now, None, "credentials of another kind", {"set": "site-1"})
    history = kept.sets.history("site-1")
    assert [entry.event for entry in history] == [
        f"credential {event}" for event in ("activated", "validated", "staged", "received")
    ]
    assert [entry.event for entry in kept.sets.history("site-1", limit=2, before=history[1].id)] == [
        "credential staged",
        "credential received",
    ]
    assert kept.sets.history("site-%") == []


# --- every move ----------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[Kept, Candidate], object]] = {
    "stage": lambda kept, each: kept.stage(each),
    "set aside": lambda kept, each: kept.sets.set_aside(each.id, S.UNREADABLE, "what is that", kept.now),
    "empty": lambda kept, each: kept.sets.set_aside(each.id, S.EMPTY, "nothing in it", kept.now),
    "accept": lambda kept, each: kept.sets.judge(each.id, [], kept.now),
    "refuse": lambda kept, each: kept.sets.judge(each.id, [SOFT], kept.now),
    "probed": lambda kept, each: kept.sets.tried(each.id, "it pings", kept.now, ok=True),
    "probe failed": lambda kept, each: kept.sets.tried(each.id, "it does not", kept.now, ok=False),
    "activate": lambda kept, each: kept.sets.activate(each.id, [], kept.now),
    "roll back": lambda kept, each: kept.sets.roll_back(each.set_name, [], kept.now),
    "erase": lambda kept, _: kept.sets.erase_ended(kept.now + 10_000 * DAY),
}


@pytest.mark.parametrize("state", list(S))
def test_each_verb_moves_by_the_table_or_changes_nothing(kept: Kept, state: CandidateState) -> None:
    for number, (verb, act) in enumerate(VERBS.items()):
        here = kept.reach(state, f"site-{number}")
        assert here.state is state
        contents = kept.sets.contents(here.id)
        assert here.is_kept == (contents != Contents())
        try:
            act(kept, here)
        except OperatorError:
            assert kept.sets.candidate(here.id) == here, verb
            assert kept.sets.contents(here.id) == contents
        else:
            there = kept.sets.candidate(here.id)
            assert there.state is state or there.state in CANDIDATE_MOVES[state], verb
            assert there.is_kept == (kept.sets.contents(here.id) != Contents())
            assert (there.ended_at is None) == (there.state in OPEN | {S.ACTIVE})


def test_the_table_knows_every_state_and_no_way_out_of_what_is_erased() -> None:
    assert set(CANDIDATE_MOVES) == set(S)
    assert {state for state, ways in CANDIDATE_MOVES.items() if not ways} == ERASED
    entered: set[CandidateState] = set().union(*CANDIDATE_MOVES.values())
    assert entered == set(S) - {S.ANSWERED}
    assert all(S.SUPERSEDED in CANDIDATE_MOVES[state] for state in OPEN)


class Ways(RuleBasedStateMachine):
    """Any verb on any candidate at any time."""

    ledger: Ledger
    names = count()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"model-{next(self.names)}"
        self.kept = Kept(self.ledger, datetime(2026, 3, 4, tzinfo=UTC))
        self.states: dict[int, CandidateState] = {}

    @rule()
    def another(self) -> None:
        self.states[self.kept.answered(self.name).id] = S.ANSWERED

    @rule(verb=st.sampled_from(sorted(VERBS)), pick=st.integers(0, 5))
    def act(self, verb: str, pick: int) -> None:
        found = self.kept.sets.candidates(self.name)
        if found:
            try:
                VERBS[verb](self.kept, found[pick % len(found)])
            except OperatorError:
                assert self.kept.sets.candidates(self.name) == found

    @invariant()
    def moved_by_the_table(self) -> None:
        found = self.kept.sets.candidates(self.name)
        for each in found:
            before = self.states[each.id]
            assert each.state is before or each.state in CANDIDATE_MOVES[before]
            self.states[each.id] = each.state
            assert each.is_kept == (self.kept.sets.contents(each.id) != Contents())
        active = [each for each in found if each.state is S.ACTIVE]
        assert len(active) <= 1
        assert self.kept.sets.active(self.name) == (active[0] if active else None)
        youngest = next((each for each in found if each.is_open), None)
        assert self.kept.sets.open_candidate(self.name) == youngest
        if any(each.state in {S.FORMER, S.ROLLED_BACK} for each in found):
            assert active, "a set that had a credential in use has one until it ends"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('model') / 'ledger.db'}")
    yield ledger
    ledger.close()


def test_no_order_of_verbs_breaks_the_rules(shared: Ledger) -> None:
    machine = type("WaysOfOneLedger", (Ways,), {"ledger": shared})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# --- what is in the file -------------------------------------------------------------------------------


def test_nothing_that_is_sealed_is_in_clear_in_the_files_of_the_database(
    tmp_path: Path, url: str, now: datetime
) -> None:
    vault, plain = Vault(bytes(range(32))), b"the private key and its passphrase"
    ledger = Ledger.open(url)
    candidate = ledger.credential_sets.keep_answer("site-1", vault.seal(plain), vault.seal(plain), now)
    ledger.credential_secrets.put("site-1", "password", vault.seal(plain), now)
    kept = ledger.credential_sets.contents(candidate.id).answer
    assert kept is not None
    assert vault.open_sealed(kept) == plain
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("ledger.db")]
    ledger.close()
    assert any(kept in content for content in files), "it is looked for where it would be"
    assert not any(plain in content for content in files)
