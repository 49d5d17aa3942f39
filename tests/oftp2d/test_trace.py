"""What a recording does when something is in its way: no room, no time, no disk, nobody who says who it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, Logger, formatEvent

from oftp2 import commands as c
from oftp2.values import Role
from oftp2d import trace, tracefiles
from oftp2d.trace import Recording, Traces
from oftp2d.workers import Workers
from tests.oftp2.wire import CODE_I, CODE_R, SSID, on_the_wire

HELLO = on_the_wire(SSID)


class Room(Traces):
    """Traces whose time of day a test sets."""

    def __init__(self, workers: Workers, folder: Path) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        super().__init__(reactor, workers, folder, lambda: self.time)  # type: ignore[arg-type]  # stands for the reactor

    def session(self, number: int = 1, *, caller: str | None = None) -> Recording:
        """A session that is recorded: we call ``caller``, or somebody calls us."""
        recording = self.record(str(number), Role.INITIATOR if caller else Role.RESPONDER, caller)
        assert recording is not None
        return recording

    async def rest(self) -> None:
        """Wait until everything is written down."""
        while self._written is not None:
            await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]  # as above

    async def text(self) -> str:
        """What is in the one trace."""
        await self.rest()
        (found,) = self.files.list()
        return self.files.read(found, 0, 10**9).decode()


@pytest_twisted.async_yield_fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    workers = Workers(reactor)  # type: ignore[arg-type]  # as above
    workers.start()
    made = Room(workers, tmp_path / "traces")
    yield made
    await made.finish()
    assert made.waiting == 0
    await workers.stop()


@pytest_twisted.ensureDeferred
async def test_without_an_order_nothing_is_recorded(room: Room) -> None:
    assert room.record("1", Role.RESPONDER, None) is None
    room.start(CODE_I, 60)
    assert room.record("2", Role.INITIATOR, CODE_R) is None
    assert room.record("3", Role.INITIATOR, CODE_I) is not None


@pytest_twisted.ensureDeferred
async def test_a_session_that_turns_out_to_be_with_somebody_else_leaves_no_file(room: Room) -> None:
    room.start(CODE_R, 60)
    session = room.session()
    session.received(HELLO)
    session.closed("gone")
    await room.rest()
    assert room.files.list() == []


@pytest_twisted.ensureDeferred
async def test_a_connection_on_which_nothing_was_said_leaves_no_file(room: Room) -> None:
    room.start(None, 60)
    room.session().closed("gone")
    await room.rest()
    assert room.files.list() == []


@pytest_twisted.ensureDeferred
async def test_the_whole_of_a_session_is_in_its_trace_and_then_no_more(room: Room) -> None:
    room.start(None, 60)
    session = room.session()
    session.sent(on_the_wire(c.Ssrm()))
    session.received(HELLO)
    await room.rest()
    assert room.recording() == {"20260102T030405Z-1"}
    session.closed("the peer closed the connection")
    session.received(HELLO)
    session.closed("again")
    text = await room.text()
    assert text.startswith(f"# Session 1 with {CODE_I}, recorded by its responder\n")
    assert [line for line in text.splitlines() if line and line[0] in "cIRr#"][3:] == [
        "recorded",
        "replay R",
        "connect",
        "R> SSRM",
        "I> SSID",
        "close",
        "# the peer closed the connection",
    ]
    assert room.recording() == set()


@pytest_twisted.ensureDeferred
async def test_the_recording_ends_with_its_time_and_with_its_order(room: Room) -> None:
    room.start(CODE_I, 60)
    early, late = room.session(1), room.session(2)
    for session in (early, late):
        session.received(HELLO)
    await room.rest()
    room.time += timedelta(seconds=30)
    assert [order.partner for order in room.stop(CODE_I)] == [CODE_I]
    early.received(HELLO)
    await room.rest()
    assert room.recording() == set()
    texts = [room.files.read(each, 0, 10**6).decode() for each in room.files.list()]
    assert [text.splitlines()[-1] for text in texts] == ["# not recorded any further: it was stopped"] * 2
    room.start(None, 60)
    session = room.session(3)
    session.received(HELLO)
    room.time += timedelta(seconds=61)
    session.received(HELLO)
    await room.rest()
    assert room.orders() == []
    newest = room.files.read(room.files.list()[0], 0, 10**6).decode()
    assert newest.splitlines()[-1] == "# not recorded any further: the time for which it was to be recorded is over"


@pytest_twisted.ensureDeferred
async def test_an_order_that_is_given_again_lasts_longer_for_sessions_that_run_too(room: Room) -> None:
    room.start(CODE_I, 60)
    session = room.session()
    session.received(HELLO)
    await room.rest()
    room.start(CODE_I, 600)
    assert [order.until - order.since for order in room.orders()] == [timedelta(seconds=600)]
    room.time += timedelta(seconds=100)
    session.received(on_the_wire(c.Cd()))
    assert "I> CD" in await room.text()
    assert room.recording() == {"20260102T030405Z-1"}


@pytest_twisted.ensureDeferred
async def test_a_trace_does_not_grow_beyond_its_limit(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_OCTETS", 4096)
    room.start(None, 60)
    session = room.session()
    for number in range(1000):
        session.received(on_the_wire(c.Ssid(code=f"C{number}", password="P", buffer_size=128, credit=1)))
    text = await room.text()
    assert len(text) < 4096 + 1000
    assert text.splitlines()[-1] == "# not recorded any further: 4 KiB are enough"
    assert room.recording() == set()


@pytest_twisted.ensureDeferred
async def test_a_disk_that_does_not_keep_up_ends_the_recording(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_WAITING", 1000)
    room.start(None, 60)
    session = room.session()
    for _ in range(100):
        session.received(HELLO)
    assert (await room.text()).splitlines()[-1] == (
        "# not recorded any further: the disk does not keep up with what is recorded"
    )


@pytest_twisted.ensureDeferred
async def test_what_is_kept_of_a_caller_without_a_name_is_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_UNNAMED", 50)
    room.start(CODE_I, 60)
    session = room.session()
    for _ in range(100):
        session.received(on_the_wire(c.Cd(), c.Rtr()))
    await room.rest()
    assert len(session._unnamed) <= 51
    assert room.files.list() == []
    room.start(None, 60)
    session = room.session(2)
    for _ in range(100):
        session.received(on_the_wire(c.Cd(), c.Rtr()))
    assert "with somebody unknown" in await room.text()


@pytest_twisted.ensureDeferred
async def test_a_full_folder_takes_no_more_traces_and_says_what_to_do(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracefiles, "MAX_FILES", 1)
    told: list[LogEvent] = []
    monkeypatch.setattr(Traces, "log", Logger(namespace="trace", observer=told.append))
    room.start(None, 60)
    for number in (1, 2):
        session = room.session(number)
        session.received(HELLO)
        session.closed("gone")
    await room.rest()
    assert [each.session for each in room.files.list()] == ["1"]
    assert "oftp2d trace remove" in str(formatEvent(told[-1]))
    room.files.remove(room.files.list()[0])
    session = room.session(3)
    session.received(HELLO)
    session.closed("gone")
    await room.text()


@pytest_twisted.ensureDeferred
async def test_a_trace_that_is_being_written_can_be_read_in_whole_lines(room: Room) -> None:
    room.start(None, 60)
    room.session().received(HELLO)
    text = await room.text()
    (found,) = room.files.list()
    assert room.files.read(found, 0, 100).decode() == text[: text.rindex("\n", 0, 100) + 1]
    assert room.files.read(found, len(text), 100) == b""


def test_what_is_no_trace_of_ours_is_not_listed(tmp_path: Path) -> None:
    files = tracefiles.TraceFiles(tmp_path)
    for name in ("20260102T030405Z-1.txt", "notes.txt", "20260102T030405Z-2"):
        (tmp_path / name).write_text("something else\n")
    assert files.list() == []
    assert files.get("../20260102T030405Z-1") is None
    assert files.get("20260102T030405Z-9") is None


@pytest_twisted.ensureDeferred
async def test_without_workers_a_recording_ends_and_leaves_nothing_behind(tmp_path: Path) -> None:
    room = Room(Workers(reactor), tmp_path / "traces")  # type: ignore[arg-type]  # as above
    room.log = Logger(namespace="trace", observer=lambda _event: None)
    room.start(None, 60)
    for number in (1, 2):
        session = room.session(number)
        session.received(HELLO)
        session.received(HELLO)
        await room.rest()
        assert (room.waiting, room._recordings, room.files.list()) == (0, set(), [])
