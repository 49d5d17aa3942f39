"""What follows from each verdict: when a source is asked again, and whether it is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from oftp2d.renewal.interface import Refusal, Verdict
from oftp2d.renewal.reactions import LONGEST_DEMAND, REACTIONS, advice, again, grown, level
from oftp2d.renewal.scheduling import Rounds
from oftp2d.renewal.timetable import DAY, Phase, Terms
from tests.exchange.station import watching
from tests.pki import NOW

TERMS = Terms()


def test_every_verdict_but_that_of_a_credential_has_its_reaction() -> None:
    assert set(REACTIONS) == set(Verdict) - {Verdict.FETCHED}


@pytest.mark.parametrize("verdict", [Verdict.AUTH_FAILED, Verdict.LOCKED])
@pytest.mark.parametrize("phase", Phase)
def test_what_only_a_person_can_put_right_is_never_asked_again_by_itself(verdict: Verdict, phase: Phase) -> None:
    assert again(Refusal(verdict=verdict, after=DAY), NOW, phase, TERMS, 1) is None
    assert advice(Refusal(verdict=verdict), phase)


@pytest.mark.parametrize(
    ("verdict", "phase", "failures", "after"),
    [
        (Verdict.NOT_YET, Phase.DUE, 1, DAY),
        (Verdict.NOT_YET, Phase.ALARM, 1, DAY / 2),
        (Verdict.NOT_YET, Phase.CRITICAL, 9, DAY / 6),
        (Verdict.RETRY, Phase.DUE, 9, DAY),
        (Verdict.RETRY, Phase.CRITICAL, 1, DAY / 6),
        (Verdict.RETRY, Phase.CRITICAL, 6, DAY / 3),
        (Verdict.RETRY, Phase.CRITICAL, 500, DAY),
        (Verdict.FATAL, Phase.CRITICAL, 1, DAY),
        (Verdict.ALREADY, Phase.EXPIRED, 1, DAY),
    ],
)
def test_the_others_are_asked_again(verdict: Verdict, phase: Phase, failures: int, after: timedelta) -> None:
    assert again(Refusal(verdict=verdict), NOW, phase, TERMS, failures) == NOW + after


def test_a_source_may_ask_for_peace_but_not_for_ever() -> None:
    asked = Refusal(verdict=Verdict.RETRY, after=3 * DAY)
    assert again(asked, NOW, Phase.CRITICAL, TERMS, 1) == NOW + 3 * DAY
    asked = Refusal(verdict=Verdict.RETRY, after=3000 * DAY)
    assert again(asked, NOW, Phase.DUE, TERMS, 1) == NOW + LONGEST_DEMAND
    asked = Refusal(verdict=Verdict.RETRY, after=-DAY)
    assert again(asked, NOW, Phase.CRITICAL, TERMS, 1) == NOW + DAY / 6


def test_waits_double_up_to_a_day() -> None:
    assert [grown(failures) / timedelta(minutes=15) for failures in (0, 1, 2, 3, 7, 8, 10**9)] == [
        1,
        1,
        2,
        4,
        64,
        96,
        96,
    ]


def test_no_successor_is_a_warning_only_when_it_is_late() -> None:
    none = Refusal(verdict=Verdict.NOT_YET)
    assert level(none, Phase.DUE) is LogLevel.info
    assert not advice(none, Phase.DUE)
    assert level(none, Phase.ALARM) is LogLevel.warn
    assert advice(none, Phase.ALARM)


def test_few_are_worked_on_at_once_and_each_once() -> None:
    begun: list[str] = []
    ends: dict[str, Deferred[None]] = {}

    async def work(name: str) -> None:
        begun.append(name)
        ends[name] = Deferred()
        await ends[name]

    rounds = Rounds(work, at_once=2)
    rounds.add("abcd")
    rounds.add("ad")
    assert begun == ["a", "b"]
    idle = Deferred.fromCoroutine(rounds.idle())
    ends["b"].callback(None)
    assert begun == ["a", "b", "c"]
    rounds.add("b")
    rounds.forget()
    ends["a"].callback(None)
    assert not idle.called
    ends["c"].callback(None)
    assert idle.called
    assert begun == ["a", "b", "c"]
    assert rounds.waiting == 0


def test_one_that_fails_keeps_no_other_from_its_turn() -> None:
    done: list[str] = []

    async def work(name: str) -> None:
        if name == "a":
            raise ValueError
        done.append(name)

    rounds = Rounds(work, at_once=1)
    with pytest.raises(AssertionError), watching() as log:
        rounds.add("abc")
    assert done == ["b", "c"]
    assert log.lines("critical", "credential set a cannot be looked after")
