"""Peers that stall, read slowly, trickle or vanish, in every phase: the session ends with ESID 09 and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2.framing import frame
from oftp2.reasons import EndSessionReason
from oftp2d.ledger import AcxMode, Authentication, Direction, ReceiptState, TransferState, Transport
from oftp2d.link import Link
from oftp2d.monitor import Monitor
from tests import pki
from tests.exchange.peer import GoneError, Peer, acknowledgement, answering, call, session
from tests.exchange.station import (
    CODE_A,
    CODE_B,
    PASSWORD_A,
    PASSWORD_B,
    PATIENCE,
    Log,
    Station,
    eventually,
    introduce,
    pause,
    start,
)

pytestmark = pytest.mark.rfc("4.7.2")

SOON = "[session]\ninactivity_seconds = 2\nclose_seconds = 1\n[limits]\nhandshake_seconds = 2\n"
"""Timers that do not keep a test waiting."""

LARGE = os.urandom(1 << 20) * 24
"""More than the buffers of a connection hold."""

CONTENT = bytes(range(256)) * 400


async def knows_peer(a: Station, **settings: Any) -> None:
    """The station, running, with quick timers and a partner over plain TCP."""
    a.settings = SOON
    common = {"transport": Transport.TCP, "password_ours": PASSWORD_A, "password_theirs": PASSWORD_B}
    partner = a.add_partner(CODE_B, **common | {"acx": AcxMode.OFF} | settings)
    a.hold(partner, pki.certificate("CB01"))
    a.confirm(partner)
    await a.start()


async def freed(*stations: Station) -> None:
    """Demand that nothing is left: no session, no connection, no claim, no open file, no timer."""

    async def free() -> bool:
        for station in stations:
            if any(await leavings(station)):
                return False
        return True

    try:
        await eventually("everything to be free", free)
    except AssertionError:
        raise AssertionError([await leavings(station) for station in stations]) from None


async def leavings(station: Station) -> tuple[object, ...]:
    transfers, spool = await station.transfers(), str(station.home / "spool")
    return (
        station.running.sessions(),
        list(station.running.running._links),
        [each.id for each in transfers if each.claim_owner is not None],
        [each.state for each in transfers if each.state in {TransferState.SENDING, TransferState.RECEIVING}],
        _open_in(spool),
        [each for each in reactor.getDelayedCalls() if _of_a_session(each.func)],  # type: ignore[attr-defined]
    )


def _open_in(folder: str) -> list[str]:
    """Files in a folder that this process has open."""
    return [path for path in map(_opened, Path("/proc/self/fd").iterdir()) if path.startswith(folder)]


def _opened(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


def _of_a_session(function: Callable[..., object]) -> bool:
    owner = getattr(function, "__self__", None)
    return isinstance(owner, Link | Monitor) or "Monitor." in getattr(function, "__qualname__", "")


async def timed_out(peer: Peer) -> None:
    """Demand ESID 09 as the last thing that is said, and then the end of the connection."""
    last = None
    try:
        while True:
            last = await peer.command()
    except GoneError:
        pass
    assert isinstance(last, c.Esid), last
    assert last.reason is EndSessionReason.TIME_OUT


# --- stalled: nothing comes any more ------------------------------------------------------------------------------


async def before_ssid(peer: Peer) -> None:
    await peer.expect(c.Ssrm)


async def before_secd(peer: Peer) -> None:
    await peer.expect(c.Ssrm)
    peer.send(c.Ssid(code=CODE_B, password=PASSWORD_B, buffer_size=4096, credit=10, authentication=True))
    assert (await peer.expect(c.Ssid)).authentication


async def before_aurp(peer: Peer) -> None:
    await before_secd(peer)
    peer.send(c.Secd())
    await peer.expect(c.Auch)


async def idle(peer: Peer) -> None:
    await peer.identify()


async def in_a_file(peer: Peer) -> None:
    await peer.identify()
    peer.send(peer.offer("ORDERS", CONTENT))
    await peer.expect(c.Sfpa)
    peer.write(bytes(buffers.encode(CONTENT[:5000], 4096, last=False).stream))


async def before_data(peer: Peer) -> None:
    await peer.identify()
    peer.send(peer.offer("ORDERS", CONTENT))
    await peer.expect(c.Sfpa)


async def before_sfpa(peer: Peer) -> None:
    await peer.identify()
    peer.send(c.Cd())
    await peer.expect(c.Sfid)


async def before_credit(peer: Peer) -> None:
    await peer.identify(buffer_size=128, credit=2)
    peer.send(c.Cd())
    await peer.expect(c.Sfid)
    peer.send(c.Sfpa())
    await peer.expect(c.Data)
    await peer.expect(c.Data)


async def before_efpa(peer: Peer) -> None:
    await peer.identify(credit=999)
    peer.send(c.Cd())
    await peer.expect(c.Sfid)
    peer.send(c.Sfpa())
    while not isinstance(await peer.command(), c.Efid):
        pass


async def before_rtr(peer: Peer) -> None:
    await peer.identify()
    sfid = peer.offer("ORDERS", CONTENT)
    assert isinstance(await peer.send_file(sfid, CONTENT), c.Efpa)
    peer.send(c.Cd())
    assert await peer.expect(c.Eerp) == acknowledgement(sfid)


async def before_cd(peer: Peer) -> None:
    """The turn is passed, and the peer neither speaks nor leaves."""
    await peer.identify()
    sfid = peer.offer("ORDERS", CONTENT)
    assert isinstance(await peer.send_file(sfid, CONTENT), c.Efpa)
    peer.send(c.Cd())
    await peer.expect(c.Eerp)
    peer.send(c.Rtr())
    await peer.expect(c.Cd)


STALLED: dict[str, Callable[[Peer], Awaitable[None]]] = {
    phase.__name__.replace("_", " "): phase
    for phase in (before_ssid, before_secd, before_aurp, idle, in_a_file, before_data, before_rtr, before_cd)
}
STALLED_LISTENER: dict[str, Callable[[Peer], Awaitable[None]]] = {
    phase.__name__.replace("_", " "): phase for phase in (before_sfpa, before_credit, before_efpa)
}


@pytest.mark.parametrize("phase", STALLED)
@pytest_twisted.ensureDeferred
async def test_a_caller_that_stalls_is_told_so_and_everything_is_free(a: Station, phase: str) -> None:
    authentication = Authentication.ON if phase in {"before secd", "before aurp"} else Authentication.OFF
    await knows_peer(a, authentication=authentication)
    async with call(a) as peer:
        await STALLED[phase](peer)
        await timed_out(peer)
        await freed(a)
    incoming = [each.state for each in await a.transfers()]
    assert incoming in ([], [TransferState.INTERRUPTED], [TransferState.DELIVERED])
    if phase == "before rtr":
        (transfer,) = await a.transfers()
        receipt = await a.db(a.ledger.receipts.get, transfer.id)
        assert receipt is not None
        assert receipt.state is ReceiptState.OWED


@pytest.mark.parametrize("phase", STALLED_LISTENER)
@pytest_twisted.ensureDeferred
async def test_a_caller_that_stalls_as_listener_leaves_the_file_in_the_queue(a: Station, phase: str) -> None:
    await knows_peer(a)
    await a.queue(CODE_B, CONTENT)
    async with call(a) as peer:
        await STALLED_LISTENER[phase](peer)
        await timed_out(peer)
        await freed(a)
    (transfer,) = await a.transfers()
    assert transfer.state is TransferState.QUEUED
    assert transfer.efid_sent is (phase == "before efpa")


async def greeting_withheld(_: Peer) -> None:
    """Nothing at all is said."""


async def ssid_withheld(peer: Peer) -> None:
    peer.send(c.Ssrm())
    await peer.expect(c.Ssid)


@pytest.mark.parametrize("phase", [greeting_withheld, ssid_withheld])
@pytest_twisted.ensureDeferred
async def test_a_called_partner_that_stalls_is_told_so_and_everything_is_free(
    a: Station, phase: Callable[[Peer], Awaitable[None]]
) -> None:
    async with answering() as waiting:
        await knows_peer(a, host="127.0.0.1", port=waiting.port, wait_for_calls=True)
        transfer = await a.queue(CODE_B, CONTENT)
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await waiting.answer()
        await phase(peer)
        await timed_out(peer)
        await freed(a)
        assert (await a.db(a.ledger.transfers.get, transfer.id)).state is TransferState.QUEUED

        async def known() -> bool:
            return (await a.partner(CODE_B)).call_failures == 1

        await eventually("the failed call", known)


@pytest.mark.parametrize("says", [b"", b"\x16\x03\x01\x02\x00"], ids=["nothing", "the head of a ClientHello"])
@pytest_twisted.ensureDeferred
async def test_a_tls_handshake_that_stalls_is_cut(a: Station, log: Log, says: bytes) -> None:
    await knows_peer(a)
    async with call(a, port=a.port("tls")) as peer:
        peer.write(says)
        await peer.gone()
        await freed(a)
    assert log.lines("the handshake took more than 2 seconds")


@pytest_twisted.ensureDeferred
async def test_a_called_partner_whose_tls_stalls_is_given_up(a: Station) -> None:
    async with answering() as waiting:
        await knows_peer(a, host="127.0.0.1", port=waiting.port, transport=Transport.TLS, wait_for_calls=True)
        await a.running.dialler.call(await a.partner(CODE_B))
        peer = await waiting.answer()
        await peer.gone()
        await freed(a)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_close_after_esid_is_cut(a: Station) -> None:
    await knows_peer(a)
    async with session(a) as peer:
        peer.send(c.Rtr())
        assert (await peer.expect(c.Esid)).reason is EndSessionReason.PROTOCOL_VIOLATION
        peer.wire.transport.pauseProducing()
        await freed(a)


# --- slow: too little is taken, or comes --------------------------------------------------------------------------


async def trickled(peer: Peer, octets: bytes) -> None:
    """Write octet by octet, each long before the time is over, until the connection is gone."""
    for octet in octets:
        if peer.wire.lost is not None:
            return
        peer.write(bytes((octet,)))
        await pause(0.2)


def ssid_of(code: str) -> bytes:
    return frame(codec.encode(c.Ssid(code=code, password=PASSWORD_B, buffer_size=4096, credit=10)))


async def nothing(_: Peer) -> None:
    pass


TRICKLES: dict[str, tuple[Callable[[Peer], Awaitable[None]], bytes]] = {
    "SSID": (before_ssid, ssid_of(CODE_B)),
    "SFID": (idle, frame(b"H" + b" " * 200)),
    "DATA": (before_data, frame(b"D" + b"\x3f" + b"x" * 63)),
    "EFPA": (before_efpa, b"\x10\x00\x00\x64" + b"4" + b"N" * 95),
    "RTR": (before_rtr, b"\x10\x00\x00\x64" + b"P" * 96),
}


@pytest.mark.parametrize("command", TRICKLES)
@pytest_twisted.ensureDeferred
async def test_a_command_that_trickles_in_octet_by_octet_holds_no_session(a: Station, command: str) -> None:
    await knows_peer(a)
    if command == "EFPA":
        await a.queue(CODE_B, CONTENT)
    phase, octets = TRICKLES[command]
    async with call(a) as peer:
        await phase(peer)
        await trickled(peer, octets)
        assert peer.wire.lost is not None, "it was over before the command was"
        await timed_out(peer)
        await freed(a)


@pytest_twisted.ensureDeferred
async def test_a_tls_handshake_that_trickles_in_is_cut(a: Station) -> None:
    await knows_peer(a)
    async with call(a, port=a.port("tls")) as peer:
        await trickled(peer, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
        assert peer.wire.lost is not None
        await freed(a)


async def sip(peer: Peer, octets: int, seconds: float) -> None:
    """Read so many octets at most, and nothing more for a while."""
    peer.wire.transport.bufferSize = octets
    peer.wire.transport.resumeProducing()
    await peer.wire.more()
    peer.wire.transport.pauseProducing()
    await pause(seconds)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_stops_to_read_while_we_send_is_noticed(a: Station, log: Log) -> None:
    await knows_peer(a)
    await a.queue(CODE_B, LARGE)
    async with call(a) as peer:
        await peer.identify(buffer_size=99_999, credit=999)
        peer.send(c.Cd())
        await peer.expect(c.Sfid)
        peer.send(c.Sfpa())
        peer.wire.transport.pauseProducing()
        await freed(a)
    (transfer,) = await a.transfers()
    assert transfer.state is TransferState.QUEUED
    assert "ESID 09" in (transfer.text or "")
    assert log.lines("session 1 with", "ESID 09")


@pytest_twisted.ensureDeferred
async def test_a_peer_that_reads_a_few_octets_now_and_then_is_noticed(a: Station) -> None:
    await knows_peer(a)
    await a.queue(CODE_B, LARGE)
    async with call(a) as peer:
        await peer.identify(buffer_size=99_999, credit=999)
        peer.send(c.Cd())
        await peer.expect(c.Sfid)
        peer.send(c.Sfpa())
        peer.wire.transport.pauseProducing()
        while a.running.sessions():
            await sip(peer, 10, 0.1)
        await freed(a)


@pytest_twisted.ensureDeferred
async def test_a_slow_line_is_no_stalled_peer(a: Station) -> None:
    """What the network takes counts, though the partner itself has nothing to say for longer than the timer runs."""
    await knows_peer(a)
    # Less than the window: nothing but the network says that it arrives.
    await a.queue(CODE_B, LARGE[:900_000])
    async with call(a) as peer:
        import socket

        peer.wire.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        await peer.identify(buffer_size=4096, credit=999)
        peer.send(c.Cd())
        await peer.expect(c.Sfid)
        peer.send(c.Sfpa())
        begun = reactor.seconds()  # type: ignore[attr-defined]
        while reactor.seconds() - begun < 7:  # type: ignore[attr-defined]
            await sip(peer, 16_384, 0.2)
            assert peer.wire.lost is None, "the session ended though the line was busy"
        peer.wire.transport.bufferSize = 1 << 16
        peer.wire.transport.resumeProducing()
        while not isinstance(await peer.command(), c.Efid):
            pass
        peer.send(c.Efpa())
        await peer.expect(c.Cd)
        await peer.leave()
        assert [each.state for each in await a.transfers()] == [TransferState.SENT]


# --- gone without a word -----------------------------------------------------------------------------------------


class _Relayed(Protocol):
    """One side of a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.other: _Relayed | None = None
        self.early = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._relay.passed += len(data)
        if self._relay.swallow_after is not None and self._relay.passed > self._relay.swallow_after:
            return
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)


class Relay:
    """A relay that, from some octet on, takes everything, passes nothing on and closes nothing: a line that is dead."""

    def __init__(self) -> None:
        self.passed = 0
        self.swallow_after: int | None = None
        self.ends: list[_Relayed] = []
        self.port = 0

    def accept(self, target: int) -> _Relayed:
        caller, called = _Relayed(self), _Relayed(self)
        self.ends += [caller, called]
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: called  # type: ignore[method-assign]

        def joined(_: object) -> None:
            caller.other, called.other = called, caller
            called.transport.write(caller.early)

        TCP4ClientEndpoint(reactor, "127.0.0.1", target).connect(factory).addCallback(joined)
        return caller


@asynccontextmanager
async def relaying(target: Callable[[], int]) -> AsyncIterator[Relay]:
    relay = Relay()
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: relay.accept(target())  # type: ignore[method-assign]
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
    relay.port = port.getHost().port
    try:
        yield relay
    finally:
        await maybeDeferred(port.stopListening)
        for end in relay.ends:
            if end.connected:
                end.transport.abortConnection()


@pytest.mark.parametrize("swallow_after", [0, 40, 500, 300_000], ids=["at once", "in SSID", "after SSID", "in a file"])
@pytest_twisted.ensureDeferred
async def test_a_line_that_died_without_a_word_ends_on_both_sides(a: Station, b: Station, swallow_after: int) -> None:
    a.settings = b.settings = SOON
    introduce(a, b, transport=Transport.TCP, acx=AcxMode.OFF, a_wait_for_calls=True, b_wait_for_calls=True)
    await start(a, b)
    async with relaying(lambda: b.port("tcp")) as relay:
        await a.set(CODE_B, port=relay.port)
        await a.queue(CODE_B, LARGE[:1_000_000])
        relay.swallow_after = swallow_after
        await a.running.dialler.call(await a.partner(CODE_B))

        async def tried() -> bool:
            return (await a.partner(CODE_B)).call_failures > 0

        await eventually("the end of the call", tried)
        await freed(a, b)
        relay.swallow_after = None
        await a.db(a.ledger.partners.call_made, (await a.partner(CODE_B)).id, a.running.context.now())

        async def due() -> bool:
            (transfer,) = await a.transfers()
            return transfer.next_attempt_at is None or transfer.next_attempt_at <= a.running.context.now()

        await eventually("the next try", due)
        await a.call(CODE_B)
        assert b.inbox() == [LARGE[:1_000_000]], "nothing stands in the way of the next call"


# --- the turn ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5.3.9", "4.3.5")
@pytest_twisted.ensureDeferred
async def test_a_partner_that_keeps_the_turn_is_asked_for_it_when_something_waits(a: Station) -> None:
    """EFPA with CD: the Speaker must pass the turn, and gets it back behind what waited."""
    await knows_peer(a)
    await a.stop()
    a.settings = "[session]\nturn_seconds = 0\n"
    await a.start()
    async with session(a) as peer:
        sfid = peer.offer("FIRST", CONTENT)
        efpa = await peer.send_file(sfid, CONTENT)
        assert isinstance(efpa, c.Efpa)
        assert not efpa.change_direction, "nothing waited when it was offered"
        second = peer.offer("SECOND", CONTENT)
        efpa = await peer.send_file(second, CONTENT)
        assert isinstance(efpa, c.Efpa)
        assert efpa.change_direction, "the end response for the first waits"
        assert await peer.turn() == [acknowledgement(sfid), acknowledgement(second)]
        third = peer.offer("THIRD", CONTENT)
        assert isinstance(await peer.send_file(third, CONTENT), c.Efpa)
        assert await peer.turn() == [acknowledgement(third)]


@pytest_twisted.ensureDeferred
async def test_two_stations_share_the_turn_while_one_has_much_to_send(a: Station, b: Station) -> None:
    a.settings = b.settings = "[session]\nturn_seconds = 0\n"
    introduce(a, b, transport=Transport.TCP, acx=AcxMode.OFF)
    await start(a, b)
    for number in range(4):
        await a.queue(CODE_B, CONTENT, f"A{number}")
        await b.queue(CODE_A, CONTENT, f"B{number}")

    async def acknowledged() -> bool:
        out = [each for station in (a, b) for each in await station.transfers() if each.direction is Direction.OUT]
        return all(each.state is TransferState.ACKNOWLEDGED for each in out)

    await eventually("all of them", acknowledged, PATIENCE)
    assert len(a.inbox()) == len(b.inbox()) == 4
