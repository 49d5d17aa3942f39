"""The worker pools, on the real reactor."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from oftp2d.workers import DISK_THREADS, SECURITY_THREADS, SMALL, Workers, WorkersStoppedError


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest.fixture
def workers(reactor: Any) -> Iterator[Workers]:
    workers = Workers(reactor)
    workers.start()
    yield workers
    pytest_twisted.blockon(Deferred.fromCoroutine(workers.stop()))


@pytest_twisted.ensureDeferred
async def test_each_kind_of_work_runs_in_threads_of_its_own(workers: Workers) -> None:
    def here() -> str:
        return threading.current_thread().name

    kinds = {"disk": workers.disk, "crypto": workers.crypto, "database": workers.database}
    for kind, run in kinds.items():
        assert (await run(here)).startswith(f"oftp2d-{kind}-")
    assert (await workers.security(SMALL, here)).startswith("oftp2d-crypto-")
    assert (await workers.security(SMALL + 1, here)).startswith("oftp2d-security-")


@pytest_twisted.ensureDeferred
async def test_cryptography_of_sessions_and_small_files_is_done_while_every_security_thread_has_a_file(
    workers: Workers,
) -> None:
    go = threading.Event()
    files = [Deferred.fromCoroutine(workers.security(SMALL + 1, go.wait, 30)) for _ in range(SECURITY_THREADS)]
    assert await workers.crypto(int, "1") == 1
    assert await workers.security(SMALL, int, "2") == 2
    assert not any(file.called for file in files)
    go.set()
    assert [await file for file in files] == [True] * SECURITY_THREADS


@pytest_twisted.ensureDeferred
async def test_arguments_go_in_and_results_and_errors_come_out(workers: Workers) -> None:
    assert await workers.disk(divmod, 7, 2) == (3, 1)
    assert await workers.crypto(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await workers.database(divmod, 1, 0)


@pytest_twisted.ensureDeferred
async def test_the_database_does_one_thing_at_a_time_and_in_order(workers: Workers) -> None:
    done: list[int] = []
    running = [0]

    def work(number: int) -> None:
        running[0] += 1
        assert running[0] == 1
        time.sleep(0.002)
        done.append(number)
        running[0] -= 1

    waiting = [Deferred.fromCoroutine(workers.database(work, number)) for number in range(20)]
    for deferred in waiting:
        await deferred
    assert done == list(range(20))


@pytest_twisted.ensureDeferred
async def test_stop_waits_for_the_work_in_hand_and_takes_no_more(reactor: Any) -> None:
    workers = Workers(reactor)
    workers.start()
    go = threading.Event()
    done: list[str] = []
    waiting = Deferred.fromCoroutine(workers.disk(lambda: (go.wait(5), done.append("written"))))
    stopping = Deferred.fromCoroutine(workers.stop())
    assert not stopping.called
    with pytest.raises(WorkersStoppedError, match="the disk workers are not running"):
        await workers.disk(time.sleep, 0)
    go.set()
    await stopping
    assert done == ["written"]
    await waiting


@pytest_twisted.ensureDeferred
async def test_stop_waits_for_work_whose_caller_has_gone(reactor: Any) -> None:
    workers = Workers(reactor)
    workers.start()
    go = threading.Event()
    done: list[str] = []
    waiting = Deferred.fromCoroutine(workers.disk(lambda: (go.wait(5), done.append("written"))))
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    stopping = Deferred.fromCoroutine(workers.stop())
    go.set()
    await stopping
    assert done == ["written"]


@pytest_twisted.ensureDeferred
async def test_pools_that_never_started_stop_at_once(reactor: Any) -> None:
    workers = Workers(reactor)
    with pytest.raises(WorkersStoppedError):
        await workers.crypto(time.sleep, 0)
    await workers.stop()


@pytest_twisted.ensureDeferred
async def test_a_strand_does_one_thing_at_a_time_and_in_order_whatever_becomes_of_it(workers: Workers) -> None:
    strand, done = workers.strand(), list[int]()
    running = [0]

    def work(number: int) -> int:
        running[0] += 1
        assert running[0] == 1
        time.sleep(0.001)
        done.append(number)
        running[0] -= 1
        return 100 // (number % 10)

    outcomes = [strand.run(work, number) for number in range(30)]
    for number, outcome in enumerate(outcomes):
        if number % 10:
            assert await outcome == 100 // (number % 10)
        else:
            with pytest.raises(ZeroDivisionError):
                await outcome
    assert done == list(range(30))
    assert await strand.run(divmod, 7, 2) == (3, 1)


@pytest_twisted.ensureDeferred
async def test_strands_that_always_have_more_to_do_keep_no_one_from_a_thread(workers: Workers) -> None:
    go_on = threading.Event()
    strands = [workers.strand() for _ in range(DISK_THREADS)]
    first = [strand.run(go_on.wait, 10) for strand in strands]
    more = [strand.run(time.sleep, 0.05) for strand in strands for _ in range(20)]
    between = Deferred.fromCoroutine(workers.disk(threading.current_thread))
    go_on.set()
    await between
    assert not all(outcome.called for outcome in more)
    for outcome in [*first, *more]:
        await outcome


@pytest_twisted.ensureDeferred
async def test_a_strand_takes_nothing_after_the_end(workers: Workers) -> None:
    strand = workers.strand()
    waiting = strand.run(time.sleep, 0.01)
    await workers.stop()
    assert waiting.called
    with pytest.raises(WorkersStoppedError):
        strand.run(time.sleep, 0)
