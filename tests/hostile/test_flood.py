"""More data than the disk takes: what a window of 100 MB may not cost."""

from __future__ import annotations

import threading

import pytest
import pytest_twisted

from oftp2 import buffers
from oftp2 import commands as c
from oftp2.reasons import AnswerReason
from oftp2d.link import MAX_BACKLOG, READ, Link
from oftp2d.spool import Part, SpoolFullError
from tests.exchange.peer import session
from tests.exchange.station import Log, Station, pause

WINDOW = {"buffer_size": 99_999, "credit": 999}
OCTETS = 40 * 1024 * 1024


@pytest_twisted.ensureDeferred
async def test_a_disk_that_stands_still_stops_the_network_before_the_memory(
    victim: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    write = Part.write

    def stuck(part: Part, *pieces: bytes | memoryview) -> None:
        assert go_on.wait(60)
        write(part, *pieces)

    monkeypatch.setattr(Part, "write", stuck)
    victim.settings = "[session]\nbuffer_size = 99999\ncredit = 999\ninactivity_seconds = 5"
    await victim.start()
    content = bytes(1024) * (OCTETS // 1024)
    async with session(victim, **WINDOW) as peer:
        peer.send(peer.offer("FLOOD", content))
        await peer.expect(c.Sfpa)
        peer.write(bytes(buffers.encode(content, 99_999, last=True).stream))
        (running,) = victim.running.running.running()
        link = running.link
        assert isinstance(link, Link)
        held = 0
        # Longer than the inactivity timer: the peer is not to blame, and the session goes on.
        for _ in range(130):
            await pause(0.05)
            held = max(held, link._backlog)
        assert 0 < held <= MAX_BACKLOG + READ
        go_on.set()
        peer.send(c.Efid(octets=len(content)))
        while not isinstance(said := await peer.command(), c.Efpa):
            assert isinstance(said, c.Cdt)
        await peer.leave()
    await victim.idle()
    assert victim.inbox() == [content]
    assert log.complaints() == []


@pytest_twisted.ensureDeferred
async def test_behind_a_write_that_failed_nothing_more_is_written(
    victim: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = Part.write

    def fail_once(part: Part, *pieces: bytes | memoryview) -> None:
        written.append(sum(map(len, pieces)))
        if len(written) == 2:
            raise SpoolFullError("no room left", "free some room")
        write(part, *pieces)

    monkeypatch.setattr(Part, "write", fail_once)
    await victim.start()
    content = bytes(range(256)) * 16 * 1024
    async with session(victim, **WINDOW) as peer:
        answer = await peer.send_file(peer.offer("FULL", content), content)
        assert isinstance(answer, c.Efna)
        assert answer.reason is AnswerReason.ACCESS_METHOD_FAILURE
        await peer.leave()
    await victim.idle()
    assert len(written) == 2
    assert victim.inbox() == []
    assert list((victim.home / "spool" / "parts").iterdir()) == []
