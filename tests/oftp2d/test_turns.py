"""Whose file is worked on next, in the order of what happens and on the real threads."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from oftp2d.turns import LARGE_AT_ONCE, SMALL_AT_ONCE, Places, Turns
from oftp2d.workers import SMALL, Workers

LARGE = SMALL + 1


@pytest.fixture
def workers() -> Iterator[Workers]:
    from twisted.internet import reactor

    workers = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
    workers.start()
    yield workers
    pytest_twisted.blockon(Deferred.fromCoroutine(workers.stop()))


def test_partners_take_turns_and_the_files_of_each_go_in_their_order() -> None:
    places, order = Places(1), list[str]()
    first = places.take(0)
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        places.take(ord(name[0])).addCallback(lambda _, name=name: order.append(name))
    assert first.called
    for number in range(6):
        assert len(order) == number
        places.give_back()
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_place_that_nobody_waits_for_is_there_for_the_next() -> None:
    places = Places(2)
    assert [places.take(1).called for _ in range(3)] == [True, True, False]
    for _ in range(3):
        places.give_back()
    assert [places.take(1).called for _ in range(3)] == [True, True, False]


def test_any_number_that_gives_its_place_back_at_once_does_not_nest() -> None:
    places, done = Places(1), list[int]()
    places.take(1)
    for number in range(10_000):
        places.take(1).addCallback(lambda _, number=number: (done.append(number), places.give_back()))
    places.give_back()
    assert done == list(range(10_000))


@pytest_twisted.ensureDeferred
async def test_a_turn_is_over_whatever_becomes_of_it() -> None:
    turns = Turns()
    for _ in range(LARGE_AT_ONCE + 1):
        with pytest.raises(ZeroDivisionError):
            async with turns.turn(1, LARGE):
                raise ZeroDivisionError


@pytest_twisted.ensureDeferred
async def test_large_files_keep_neither_small_ones_nor_another_kind_of_work_waiting(workers: Workers) -> None:
    go_on = Event()

    async def work(turns: Turns, octets: int, *what: Any) -> object:
        async with turns.turn(1, octets):
            return await workers.security(octets, *what)

    securing, opening = Turns(), Turns()
    many = range(LARGE_AT_ONCE + 2)
    large = [Deferred.fromCoroutine(work(securing, LARGE, go_on.wait, 20)) for _ in many]
    small = [Deferred.fromCoroutine(work(securing, SMALL, int, "1")) for _ in range(SMALL_AT_ONCE + 2)]
    assert await gatherResults(small) == [1] * len(small)
    assert await work(opening, LARGE, int, "2") == 2
    assert not any(each.called for each in large)
    go_on.set()
    assert await gatherResults(large) == [True] * len(large)
