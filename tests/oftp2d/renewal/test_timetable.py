"""When a credential is renewed: whatever its end, the terms and the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oftp2d.renewal.timetable import (
    DAY,
    LATE_SPREAD,
    Due,
    NotDue,
    Overdue,
    Phase,
    Terms,
    attempts_a_day,
    first_attempt,
    next_attempt,
    pause,
    phase,
    plan,
)

ENDS = datetime(2028, 2, 29, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)

moments = st.timedeltas(-4 * 365 * DAY, 4 * 365 * DAY).map(lambda each: ENDS + each)
names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    critical = draw(st.integers(0, 100))
    alarm = draw(st.integers(critical, 200))
    return Terms(
        critical_days=critical,
        alarm_days=alarm,
        lead_days=draw(st.integers(max(alarm, 1), 365)),
        spread_hours=draw(st.integers(0, 24 * 60)),
        alarm_attempts=draw(st.integers(1, 24)),
        critical_attempts=draw(st.integers(1, 24)),
        least_minutes=draw(st.integers(0, 1440)),
        most_attempts=draw(st.none() | st.integers(1, 96)),
    )


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (60 * DAY + SECOND, Phase.VALID),
        (60 * DAY, Phase.DUE),
        (30 * DAY + SECOND, Phase.DUE),
        (30 * DAY, Phase.ALARM),
        (7 * DAY + SECOND, Phase.ALARM),
        (7 * DAY, Phase.CRITICAL),
        (SECOND, Phase.CRITICAL),
        (timedelta(), Phase.EXPIRED),
        (-DAY, Phase.EXPIRED),
    ],
)
def test_the_phases_begin_at_the_days_of_the_terms(left: timedelta, expected: Phase) -> None:
    assert phase(ENDS, Terms(), ENDS - left) is expected
    found = plan("site-1", ENDS, Terms(), ENDS - left)
    if expected is Phase.VALID:
        assert isinstance(found, NotDue)
    else:
        assert found == (Overdue() if expected is Phase.EXPIRED else Due(expected))


def test_a_set_without_a_credential_is_due() -> None:
    assert phase(None, Terms(), ENDS) is Phase.NONE
    assert plan("site-1", None, Terms(), ENDS) == Due(Phase.NONE)


def test_a_phase_that_the_terms_leave_out_is_left_out() -> None:
    assert phase(ENDS, Terms(critical_days=0), ENDS - SECOND) is Phase.ALARM
    assert phase(ENDS, Terms(alarm_days=60), ENDS - 60 * DAY) is Phase.ALARM


@given(moments, moments, terms())
def test_phases_only_ever_get_closer_to_the_end(ends: datetime, now: datetime, given: Terms) -> None:
    order = list(Phase)
    later = now + DAY
    assert order.index(phase(ends, given, now)) <= order.index(phase(ends, given, later))


@given(names, moments, terms(), moments)
def test_a_first_attempt_is_never_before_now_and_in_time_never_before_the_lead_time_or_in_its_second_half(
    name: str, ends: datetime, given: Terms, now: datetime
) -> None:
    first = first_attempt(name, ends, given, now)
    assert first >= now
    begins = ends - given.lead_days * DAY
    if now <= begins:
        assert begins <= first <= begins + given.lead_days * DAY / 2
        assert first - begins <= given.spread_hours * timedelta(hours=1)
        assert plan(name, ends, given, now) == NotDue(first) or now == begins
    if now < ends:
        assert first < ends


@given(names, moments, terms(), moments, st.floats(0, 1))
def test_a_restart_moves_nobody_before_its_time_has_come(
    name: str, ends: datetime, given: Terms, now: datetime, share: float
) -> None:
    first = first_attempt(name, ends, given, now)
    assume(now <= ends - given.lead_days * DAY)
    restarted = now + (first - now) * share
    assert first_attempt(name, ends, given, min(restarted, first)) == first


@given(names, st.none() | moments, terms(), moments)
def test_who_is_late_is_asked_soon(name: str, ends: datetime | None, given: Terms, now: datetime) -> None:
    assume(ends is None or ends - given.lead_days * DAY + given.spread_hours * timedelta(hours=1) < now)
    assert now <= first_attempt(name, ends, given, now) <= now + LATE_SPREAD


@given(moments, terms(), st.lists(st.timedeltas(timedelta(), timedelta(hours=30)), max_size=30))
def test_in_the_due_phase_there_are_never_two_attempts_in_a_day_whatever_the_delays(
    ends: datetime, given: Terms, delays: list[timedelta]
) -> None:
    at = first_attempt("site-1", ends, given, ends - (given.lead_days + 1) * DAY)
    attempts = []
    for delay in delays:
        at += delay
        found = phase(ends, given, at)
        if found is not Phase.DUE:
            break
        attempts.append(at)
        at = next_attempt(at, found, given)
    days = [each.date() for each in attempts]
    assert len(days) == len(set(days))
    assert all(later - earlier >= DAY for earlier, later in pairwise(attempts))


@pytest.mark.parametrize(
    ("found", "wait"),
    [
        (Phase.NONE, DAY),
        (Phase.DUE, DAY),
        (Phase.ALARM, DAY / 2),
        (Phase.CRITICAL, DAY / 6),
        (Phase.EXPIRED, DAY / 6),
    ],
)
def test_it_is_asked_more_often_the_closer_the_end_and_never_before_the_source_wants(
    found: Phase, wait: timedelta
) -> None:
    assert next_attempt(ENDS, found, Terms()) == ENDS + wait
    assert next_attempt(ENDS, found, Terms(), timedelta(minutes=1)) == ENDS + wait
    assert next_attempt(ENDS, found, Terms(), 2 * DAY) == ENDS + 2 * DAY


@given(given=terms(), found=st.sampled_from(Phase), now=moments, today=st.integers(0, 100), ago=moments)
def test_no_bound_of_a_source_is_passed_whoever_wants_to_ask(
    given: Terms, found: Phase, now: datetime, today: int, ago: datetime
) -> None:
    assert attempts_a_day(found, given) <= (given.most_attempts or 24)
    assert next_attempt(now, found, given) >= now + timedelta(minutes=given.least_minutes)
    held = pause(ago, today, given, now)
    if held is None:
        assert given.most_attempts is None or today < given.most_attempts
        # A clock that was set back keeps nobody waiting.
        assert now < ago or now >= ago + timedelta(minutes=given.least_minutes)
    else:
        assert now < held.until <= now + DAY


def test_a_pause_says_how_long_and_why() -> None:
    bounds, hour = Terms(least_minutes=90, most_attempts=6), timedelta(hours=1)
    often = pause(ENDS - hour, 6, bounds, ENDS)
    assert often is not None
    assert (often.until - ENDS, "6 times today" in often.why) == (DAY / 2, True)
    soon = pause(ENDS - hour, 1, bounds, ENDS)
    assert soon is not None
    assert (soon.until - ENDS, soon.why) == (
        hour / 2,
        "it was asked at 11:00 UTC, and 90 minutes must lie between two attempts",
    )
    assert pause(ENDS - 2 * hour, 5, bounds, ENDS) is None
    assert pause(None, 0, bounds, ENDS) is None


def test_sets_that_end_at_once_are_spread_evenly() -> None:
    begins = ENDS - 60 * DAY
    hours = [0] * 24
    for number in range(2_400):
        first = first_attempt(f"site-{number}", ENDS, Terms(), begins - DAY)
        hours[int((first - begins) / timedelta(hours=1))] += 1
    assert min(hours) > 60
    assert max(hours) < 150
