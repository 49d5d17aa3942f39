"""Programs that are run: real ones, that misbehave in every way that programs know."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from oftp2d.renewal.processes import ERRORS_KEPT, NOT_STARTED, Ended, run, said, surrounding
from oftp2d.vault import Secret

CLOCK: Any = reactor


class Time(Clock):
    """Real processes, and a time that passes when it is told to."""

    spawnProcess = CLOCK.spawnProcess  # noqa: N815 - twisted's name


async def python(
    code: str,
    tmp_path: Path,
    *,
    seconds: float = 60,
    most: int = 10_000,
    given: bytes = b"",
    clock: Any = reactor,
) -> Ended:
    return await run(
        clock,
        [sys.executable, "-c", code],
        environment=surrounding(tmp_path, MINE="me"),
        folder=tmp_path,
        seconds=seconds,
        most=most,
        given=given,
    )


def lives(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one that nobody waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    for _ in range(1000):
        if not lives(pid):
            return
        await deferLater(CLOCK, 0.01)
    raise AssertionError(f"process {pid} lives")


@pytest_twisted.ensureDeferred
async def test_a_program_gets_what_it_is_given_and_nothing_of_the_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFTP2D_MASTER_KEY", "hush")
    code = """
import os, resource, sys
print(sorted(os.environ), os.getcwd(), sys.stdin.read(), os.getsid(0) == os.getpid())
print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE))
"""
    ended = await python(code, tmp_path, given=b"line")
    known = ["HOME", "LANG", "MINE", "PATH"]
    assert ended.out.reveal().decode() == f"{known} {tmp_path} line True\n0o77 (0, 0)\n"
    assert (ended.code, ended.signal, ended.too_late, ended.too_much) == (0, None, False, False)


@pytest_twisted.ensureDeferred
async def test_an_exit_code_and_what_was_said_are_told(tmp_path: Path) -> None:
    ended = await python("import sys; sys.stderr.write('\\n no \\x1b[1mluck\\nmore'); sys.exit(75)", tmp_path)
    assert (ended.code, said(ended)) == (75, "no  [1mluck")


@pytest_twisted.ensureDeferred
async def test_a_program_that_is_not_there_or_cannot_be_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for program, why in (("nothing", "No such file or directory"), ("text", "Permission denied")):
        ended = await run(reactor, [str(tmp_path / program)], environment={}, folder=tmp_path, seconds=20, most=100)
        assert (ended.code, said(ended)) == (NOT_STARTED, f"it cannot be started: {why}")


@pytest_twisted.ensureDeferred
async def test_a_program_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    # Both ignore every request to end, and the child holds the output open.
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    open('pids.new', 'w').write(f'{os.getpid()} {child}')
    os.rename('pids.new', 'pids')
time.sleep(1000)
"""
    time = Time()
    running = Deferred.fromCoroutine(python(code, tmp_path, seconds=60, clock=time))
    while not (tmp_path / "pids").exists():
        await deferLater(CLOCK, 0.01)
    time.advance(60)
    ended = await running
    assert (ended.code, ended.signal, ended.too_late) == (None, signal.SIGKILL, True)
    for pid in (tmp_path / "pids").read_text().split():
        await gone(int(pid))


@pytest_twisted.ensureDeferred
async def test_a_program_that_floods_is_killed_and_no_more_is_kept_than_may_be(tmp_path: Path) -> None:
    ended = await python("while True: print('x' * 100_000)", tmp_path, most=150_000)
    assert (ended.signal, ended.too_much, len(ended.out.reveal())) == (signal.SIGKILL, True, 150_000)


@pytest_twisted.ensureDeferred
async def test_a_flood_of_complaints_is_read_and_dropped(tmp_path: Path) -> None:
    ended = await python("import sys; sys.stderr.write('first\\n' + 'x' * 5_000_000); print('done')", tmp_path)
    assert (ended.code, ended.out.reveal(), len(ended.err.reveal())) == (0, b"done\n", ERRORS_KEPT)
    assert said(ended) == "first"


@pytest_twisted.ensureDeferred
async def test_what_a_program_leaves_behind_keeps_nobody_waiting(tmp_path: Path) -> None:
    code = """
import os, time
child = os.fork()
if child:
    print(child, flush=True)
else:
    time.sleep(1000)
"""
    ended = await python(code, tmp_path, seconds=300)
    left = int(ended.out.reveal())
    assert (ended.code, ended.too_late) == (0, False)
    # It was told to stay: it is no business of ours.
    os.kill(left, signal.SIGKILL)


@pytest_twisted.ensureDeferred
async def test_a_program_that_reads_nothing_of_what_it_is_given_ends_all_the_same(tmp_path: Path) -> None:
    ended = await python("import os; os.close(0); print('done')", tmp_path, given=b"x" * 1_000_000)
    assert (ended.code, ended.out.reveal()) == (0, b"done\n")


@pytest_twisted.ensureDeferred
async def test_who_cancels_it_kills_the_program(tmp_path: Path) -> None:
    code = (
        "import os, time; open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid'); time.sleep(1000)"
    )
    running = Deferred.fromCoroutine(python(code, tmp_path, seconds=300))
    while not (tmp_path / "pid").exists():
        await deferLater(CLOCK, 0.01)
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    await gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    "err",
    [b"the password hunter2 is wrong", b"first line\nhunter2", b"-----BEGIN PRIVATE KEY-----\nMII"],
)
def test_what_holds_a_secret_is_not_shown(err: bytes) -> None:
    ended = Ended(code=1, signal=None, out=Secret(b""), err=Secret(err))
    assert said(ended, [None, Secret("hunter2")]) == "(what it said holds a secret and is not shown)"
    assert "hunter2" not in repr(ended)
