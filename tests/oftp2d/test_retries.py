"""The retry policy as data: what each answer of a partner leads to, and the limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from oftp2.reasons import AnswerReason
from oftp2d.config import Retry
from oftp2d.retries import (
    RULES,
    Command,
    Course,
    advice,
    advice_afterwards,
    again,
    backoff,
    course,
    exhausted,
    rule_of,
    span,
    times,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

# code: after SFNA with retry N, after EFNA
WANTED = {
    1: ("give up", "give up"),
    2: ("hold", "hold"),
    3: ("hold", "hold"),
    4: ("give up", "give up"),
    5: ("give up", "give up"),
    6: ("hold", "hold"),
    10: ("hold", "hold"),
    11: ("hold", "hold"),
    12: ("hold", "again"),
    13: ("hold", "hold"),
    14: ("hold", "hold"),
    **dict.fromkeys(range(15, 23), ("hold", "hold")),
    23: ("give up", "give up"),
    99: ("hold", "again"),
}


def test_every_reason_of_the_rfc_has_its_row() -> None:
    assert set(RULES) == set(AnswerReason) == set(WANTED)


@pytest.mark.parametrize("reason", AnswerReason)
def test_a_reason_leads_where_the_policy_says(reason: AnswerReason) -> None:
    final, rejected = (Course(word) for word in WANTED[reason])
    assert course(Command.SFNA, reason, retry=False, efid_sent=False) is final
    assert course(Command.EFNA, reason, retry=False, efid_sent=False) is rejected


@pytest.mark.parametrize("reason", AnswerReason)
@pytest.mark.parametrize("efid_sent", [False, True])
def test_a_retry_indicator_is_respected_both_ways_whatever_the_reason(reason: AnswerReason, efid_sent: bool) -> None:
    assert course(Command.SFNA, reason, retry=True, efid_sent=efid_sent) is Course.AGAIN
    assert course(Command.SFNA, reason, retry=False, efid_sent=efid_sent) is not Course.AGAIN


@pytest.mark.parametrize("reason", AnswerReason)
@pytest.mark.parametrize("command", Command)
def test_only_a_duplicate_whose_efid_had_gone_out_counts_as_delivered(command: Command, reason: AnswerReason) -> None:
    delivered = course(command, reason, retry=False, efid_sent=True) is Course.DELIVERED
    assert delivered is (reason is AnswerReason.DUPLICATE_FILE)
    assert course(command, reason, retry=False, efid_sent=False) is not Course.DELIVERED


@pytest.mark.parametrize("reason", AnswerReason)
def test_people_are_told_what_it_means_and_what_to_do(reason: AnswerReason) -> None:
    rule = RULES[reason]
    assert rule_of(f"SFNA {reason:02}") is rule_of(f"EFNA {reason:02}") is rule
    assert rule.means
    told = advice(f"SFNA {reason:02}", "0123")
    assert told.removesuffix(" ('oftp2d transfer retry 0123')").replace(" 0123", "") == rule.advice
    assert "oftp2d" in told
    # What can be done again can be typed as it stands, and nothing else is to be.
    assert ("oftp2d transfer retry 0123" in told) is ("retry" in rule.advice)
    assert told.count("transfer retry") == told.count("transfer retry 0123")
    assert f"transfer retry 0123{rule.option}'" in told or not rule.option
    assert rule.option or " --" not in told.partition("transfer retry")[2]


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        ("SFNA 15", " --as-agreed"),
        ("SFNA 20", " --as-agreed"),
        ("EFNA 13", " --new-stamp"),
        ("SFNA 02", ""),
        (None, ""),
    ],
)
def test_a_file_is_sent_again_with_the_option_that_its_refusal_needs(reason: str | None, option: str) -> None:
    assert again(reason, "0123") == f"oftp2d transfer retry 0123{option}"


@pytest.mark.parametrize(("found", "known"), [(31, 21), (32, 23), (33, 22)])
def test_what_came_of_opening_a_file_has_the_advice_of_the_same_answer_before_it(found: int, known: int) -> None:
    assert advice_afterwards(f"NERP {found}", "no", "0123") == advice(f"SFNA {known}", "0123")


@pytest.mark.parametrize("reason", [None, "", "NERP 13", "ESID 04", "SFNA", "SFNA 77", "SFNA x"])
def test_what_is_no_answer_of_the_policy_has_a_general_advice(reason: str | None) -> None:
    assert rule_of(reason) is None
    assert advice(reason, "0123") == "put it right, and retry the file ('oftp2d transfer retry 0123')"


def test_the_wait_doubles_and_stays_at_the_longest() -> None:
    retry = Retry(first_seconds=30, max_seconds=100)
    assert [backoff(attempts, retry).total_seconds() for attempts in (0, 1, 2, 3, 10_000)] == [30, 30, 60, 100, 100]


def test_refusals_and_time_are_bounded_each_for_itself() -> None:
    retry = Retry(attempts=3, total_seconds=7200)
    assert exhausted(retry, refusals=2, since=NOW, now=NOW + timedelta(seconds=7199)) is None
    refused = exhausted(retry, refusals=3, since=NOW, now=NOW)
    assert refused == "given up after the partner refused it 3 times"
    late = exhausted(retry, refusals=0, since=NOW, now=NOW + timedelta(seconds=7200))
    assert late == "given up after 2 hours"


def test_counts_and_times_read_well() -> None:
    assert [times(count) for count in (0, 1, 2, 3)] == ["never", "once", "twice", "3 times"]
    lengths = (timedelta(seconds=-1), timedelta(seconds=1), timedelta(seconds=119), timedelta(minutes=2))
    assert [span(length) for length in lengths] == ["0 seconds", "1 second", "119 seconds", "2 minutes"]
    assert [span(timedelta(days=days)) for days in (1, 2, 30)] == ["24 hours", "2 days", "30 days"]
