"""Files that cannot be taken once their data has begun to come: what the partner hears, and what becomes of the rest."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from oftp2 import buffers
from oftp2 import commands as c
from oftp2.reasons import AnswerReason
from oftp2d.appending import Appending
from oftp2d.ledger import Transport
from oftp2d.spool import Spool
from tests.exchange.peer import Peer, session
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually
from tests.exchange.test_forwarding import CONTENT, TARGET, between

MEBIBYTE = 1 << 20


async def start(station: Station) -> None:
    """The station, running, with its partner over plain TCP."""
    station.add_partner(CODE_B, transport=Transport.TCP, password_ours=PASSWORD_A, password_theirs=PASSWORD_B)
    await station.start()


async def send_in_windows(peer: Peer, sfid: c.Sfid, octets: bytes) -> c.Command:
    """Offer and send a file of any size, as credit allows; the answer to its end."""
    peer.send(sfid)
    await peer.expect(c.Sfpa)
    assert peer.ssid is not None
    encoded = buffers.encode(octets, peer.ssid.buffer_size, last=True)
    at, credit = 0, peer.ssid.credit
    while at < len(encoded):
        upto = min(at + credit, len(encoded))
        peer.write(bytes(encoded.between(at, upto)))
        at = upto
        if at < len(encoded):
            await peer.expect(c.Cdt)
    peer.send(c.Efid(octets=len(octets)))
    while isinstance(answer := await peer.command(), c.Cdt):
        pass
    return answer


def parts(station: Station) -> list[Path]:
    return list((station.home / "spool" / "parts").iterdir())


@pytest.mark.parametrize(
    "fault",
    [(errno.EIO, "could not be stored", "Input/output error"), (errno.ENOSPC, "no room left", "")],
    ids=["broken", "full"],
)
@pytest_twisted.ensureDeferred
async def test_a_disk_that_fails_in_the_middle_of_a_file_is_efna_12_and_the_session_goes_on(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, str, str]
) -> None:
    code, said, told = fault
    await start(a)
    octets = os.urandom(6 * MEBIBYTE)
    real = Appending.write

    def fail(self: Appending, piece: Any) -> None:
        if self._octets > MEBIBYTE:
            raise OSError(code, os.strerror(code))
        real(self, piece)

    async with session(a) as peer:
        sfid = peer.offer("LARGE", octets)
        with monkeypatch.context() as broken:
            broken.setattr(Appending, "write", fail)
            answer = await send_in_windows(peer, sfid, octets)
        assert isinstance(answer, c.Efna), answer
        assert answer.reason is AnswerReason.ACCESS_METHOD_FAILURE
        assert said in answer.text
        assert bool(log.lines(" error ", "LARGE could not be stored", "check its disk and its rights")) is bool(told)
        assert told in "".join(log.lines(" error "))
        assert parts(a) == []
        assert isinstance(await send_in_windows(peer, sfid, octets), c.Efpa)
        await peer.turn()
    assert a.inbox() == [octets]


@pytest_twisted.ensureDeferred
async def test_a_file_is_another_sessions_only_when_what_came_of_it_is_gone(
    a: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What EFPA was given for in one session must not be thrown away by another that gave EFNA for it."""
    discarding, go = threading.Event(), threading.Event()
    real = Spool.discard_part

    def slow(self: Spool, name: str) -> None:
        discarding.set()
        assert go.wait(20)
        real(self, name)

    monkeypatch.setattr(Spool, "discard_part", slow)

    async def discards() -> bool:
        return discarding.is_set()

    async with between(a, target={"wait_for_calls": True}) as b, session(a) as one, session(a) as two:
        sfid = one.offer("ORDERS", CONTENT, destination=TARGET)
        one.send(sfid)
        await one.expect(c.Sfpa)
        one.write(bytes(buffers.encode(CONTENT, 4096, last=True).stream))
        one.send(c.Efid(octets=len(CONTENT) + 1))
        try:
            await eventually("the part to be discarded", discards)
            refused = await two.send_file(sfid, CONTENT)
        finally:
            go.set()
        assert isinstance(refused, c.Sfna)
        assert (refused.reason, refused.retry) == (AnswerReason.UNSPECIFIED, True)
        assert isinstance(await one.command(), c.Efna)
        assert isinstance(await two.send_file(sfid, CONTENT), c.Efpa)
        _, outgoing = await b.legs()
        assert b.spooled() == [outgoing.spool_name]
        assert (a.home / "spool" / "outgoing" / outgoing.spool_name).read_bytes() == CONTENT
