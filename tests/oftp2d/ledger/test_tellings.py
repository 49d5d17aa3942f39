"""Who is to be told that the credential in use has changed, until all know."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from oftp2d.errors import OperatorError
from oftp2d.ledger import CandidateFacts, Contents, Ledger, TellingEvent, TellingState

DAY = timedelta(days=1)


def _activate(ledger: Ledger, consumers: list[str], now: datetime, mark: str = "a") -> int:
    sets = ledger.credential_sets
    candidate = sets.keep_answer("site-1", b"sealed", None, now)
    facts = CandidateFacts(
        fingerprint=mark * 64, serial="1", subject="CN=site 1", valid_from=now, valid_until=now + 730 * DAY
    )
    sets.stage(candidate.id, facts, Contents(container=b"sealed"), now)
    sets.judge(candidate.id, [], now)
    return sets.activate(candidate.id, consumers, now).id


def test_each_consumer_is_owed_one_telling_until_it_knows(ledger: Ledger, now: datetime) -> None:
    _activate(ledger, ["store", "hook", "store"], now)
    hook, store = ledger.tellings.due(now)
    assert (hook.consumer, store.consumer, hook.state, hook.attempts) == ("hook", "store", TellingState.PENDING, 0)
    assert ledger.tellings.told(store, TellingState.DONE, "it is in the store", now)
    assert ledger.tellings.told(hook, TellingState.FAILED, "exit code 1", now, now + DAY)
    assert ledger.tellings.due(now) == []
    (again,) = ledger.tellings.due(now + DAY)
    assert (again.consumer, again.state, again.text, again.attempts) == ("hook", TellingState.FAILED, "exit code 1", 1)
    assert ledger.tellings.told(again, TellingState.FAILED, "exit code 1", now + DAY)
    assert ledger.tellings.due(now + 99 * DAY) == [], "given up"
    found = {each.consumer: (each.state, each.attempts, each.told_at) for each in ledger.tellings.list()}
    assert found == {"hook": (TellingState.FAILED, 2, None), "store": (TellingState.DONE, 1, now)}


def test_what_a_consumer_said_is_in_the_audit_trail_and_the_same_trouble_once(ledger: Ledger, now: datetime) -> None:
    _activate(ledger, ["hook"], now)
    for text in ("exit code 1", "exit code 1", "exit code 2"):
        (telling,) = ledger.tellings.list("site-1")
        ledger.tellings.told(telling, TellingState.FAILED, text, now, now)
    (telling,) = ledger.tellings.list("site-1")
    ledger.tellings.told(telling, TellingState.DONE, "it has it", now)
    history = [(entry.event, entry.detail.get("text")) for entry in ledger.audit.list(fingerprint="a" * 64)[:3]]
    assert history == [
        ("credential consumer told", "it has it"),
        ("credential consumer not told", "exit code 2"),
        ("credential consumer not told", "exit code 1"),
    ]


def test_a_later_change_takes_the_place_of_what_was_not_told(ledger: Ledger, now: datetime) -> None:
    first = _activate(ledger, ["store", "hook"], now)
    old = ledger.tellings.due(now)
    second = _activate(ledger, ["hook"], now + DAY, "b")
    (telling,) = ledger.tellings.list("site-1")
    assert (telling.consumer, telling.candidate_id, telling.former_id) == ("hook", second, first)
    for each in old:
        assert not ledger.tellings.told(each, TellingState.DONE, "too late", now + DAY)
    assert ledger.tellings.due(now + DAY) == [telling]


def test_the_same_credential_in_use_again_is_told_again(ledger: Ledger, now: datetime) -> None:
    first = _activate(ledger, ["hook"], now)
    (old,) = ledger.tellings.due(now)
    _activate(ledger, ["hook"], now + DAY, "b")
    assert ledger.credential_sets.roll_back("site-1", ["hook"], now + 2 * DAY).id == first
    assert not ledger.tellings.told(old, TellingState.DONE, "of the first time", now + 2 * DAY)
    (telling,) = ledger.tellings.due(now + 2 * DAY)
    assert (telling.event, telling.since) == (TellingEvent.ROLLED_BACK, now + 2 * DAY)


def test_a_consumer_that_came_later_or_wants_it_again_is_told_of_the_credential_in_use(
    ledger: Ledger, now: datetime
) -> None:
    with pytest.raises(OperatorError, match="no credential in use"):
        ledger.tellings.tell_again("site-1", ["export"], now)
    active = _activate(ledger, ["hook", "store"], now)
    for each in ledger.tellings.due(now):
        ledger.tellings.told(each, TellingState.DONE, "", now)
    ledger.tellings.tell_again("site-1", ["export", "hook"], now + DAY)
    due = [(each.consumer, each.candidate_id, each.attempts) for each in ledger.tellings.due(now + DAY)]
    assert due == [("export", active, 0), ("hook", active, 0)]
    assert len(ledger.tellings.list("site-1")) == 3
    ledger.tellings.forget("site-1", ["export"])
    assert [each.consumer for each in ledger.tellings.list()] == ["hook", "store"]
    assert ledger.tellings.list("site-2") == []
