"""A partner that is no station: commands, or any octets, over a real socket, TCP or TLS.

``call`` connects to a station as Initiator; ``Peer.deliver`` and ``Peer.turn`` do what a decent partner does, everything else is
up to the test. ``answering`` waits for calls of a station.
"""

# ruff: noqa: N802, N815 - the names of Twisted's methods

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2.cms.challenge import make_challenge, open_challenge
from oftp2.framing import FrameReader, frame
from oftp2.reasons import EndSessionReason
from tests.exchange.station import CLOCK, CODE_A, CODE_B, PASSWORD_B, PATIENCE, Station
from tests.pki import Issued

C = TypeVar("C", bound=c.Command)

_seconds = count()


class GoneError(Exception):
    """The station has closed the connection."""


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Tls:
    """A side of TLS that accepts everybody; ``shape`` changes the context before it is used."""

    def __init__(self, certificate: Issued | None = None, shape: Callable[[SSL.Context], object] | None = None) -> None:
        self._tls = SSL.Context(SSL.TLS_METHOD)
        self._tls.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        if certificate is not None:
            self._tls.use_certificate(certificate.certificate)
            self._tls.use_privatekey(certificate.key)
        if shape is not None:
            shape(self._tls)

    def clientConnectionForTLS(self, _protocol: object) -> SSL.Connection:
        return SSL.Connection(self._tls, None)

    serverConnectionForTLS = clientConnectionForTLS


class Wire(Protocol):
    """The octets of one connection."""

    def __init__(self) -> None:
        self.arrived = bytearray()
        self.lost: str | None = None
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.arrived += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = str(reason.value)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def more(self, seconds: float = PATIENCE) -> None:
        """Wait for octets or the end."""
        if self.lost is not None:
            return
        self._waiting = Deferred()
        self._waiting.addTimeout(seconds, CLOCK)
        await self._waiting


@dataclass
class Peer:
    """The partner's end of one connection."""

    wire: Wire
    code: str = CODE_B
    station: str = CODE_A
    reader: FrameReader = field(default_factory=FrameReader)
    ssid: c.Ssid | None = None
    """What the station said of itself."""

    # --- octets and commands ----------------------------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        self.wire.transport.write(octets)

    def send(self, *commands: c.Command) -> None:
        self.write(b"".join(frame(codec.encode(command)) for command in commands))

    async def command(self, seconds: float = PATIENCE) -> c.Command:
        """The next command of the station; raises GoneError when it has closed the connection."""
        while True:
            self.reader.feed(bytes(self.wire.arrived))
            self.wire.arrived.clear()
            buffer = self.reader.take()
            if buffer is not None:
                return codec.decode(buffer)
            if self.wire.lost is not None:
                raise GoneError(self.wire.lost)
            await self.wire.more(seconds)

    async def expect(self, kind: type[C]) -> C:
        command = await self.command()
        assert isinstance(command, kind), command
        return command

    async def ended(self) -> c.Esid:
        """The station says why it leaves, and closes."""
        esid = await self.expect(c.Esid)
        self.hang_up()
        await self.gone()
        return esid

    async def gone(self) -> str:
        """Wait until the connection is closed."""
        while self.wire.lost is None:
            await self.wire.more()
        return self.wire.lost

    def hang_up(self) -> None:
        if self.wire.lost is None:
            self.wire.transport.loseConnection()

    # --- what a partner does ----------------------------------------------------------------------------------

    async def identify(self, password: str = PASSWORD_B, **ssid: Any) -> c.Ssid:
        """As Initiator: wait for the greeting, say who we are, hear who answers."""
        await self.expect(c.Ssrm)
        self.send(_ssid(self.code, password, **ssid))
        self.ssid = await self.expect(c.Ssid)
        return self.ssid

    async def greet(self, password: str = PASSWORD_B, **ssid: Any) -> c.Ssid:
        """As Responder: greet, hear who calls, say who we are."""
        self.send(c.Ssrm())
        self.ssid = await self.expect(c.Ssid)
        self.send(_ssid(self.code, password, **ssid))
        return self.ssid

    async def authenticate(self, ours: Issued, theirs: Issued) -> None:
        """As Initiator, behind the SSIDs that agreed on it: answer the station's challenge, then challenge it."""
        self.send(c.Secd())
        challenge = await self.expect(c.Auch)
        self.send(c.Aurp(response=open_challenge(challenge.challenge, [ours.owner])))
        await self.expect(c.Secd)
        envelope, secret = make_challenge(theirs.certificate)
        self.send(c.Auch(challenge=envelope))
        answer = await self.expect(c.Aurp)
        assert answer.response == secret

    async def be_authenticated(self, ours: Issued, theirs: Issued) -> None:
        """As Responder: the same from the other side."""
        await self.expect(c.Secd)
        envelope, secret = make_challenge(theirs.certificate)
        self.send(c.Auch(challenge=envelope))
        answer = await self.expect(c.Aurp)
        assert answer.response == secret
        self.send(c.Secd())
        challenge = await self.expect(c.Auch)
        self.send(c.Aurp(response=open_challenge(challenge.challenge, [ours.owner])))

    def offer(self, dataset: str, octets: bytes = b"", **fields: Any) -> c.Sfid:
        """An SFID for this content with a stamp of its own."""
        now, number = datetime.now(UTC), next(_seconds)
        blocks = -(-len(octets) // 1024)
        sfid = c.Sfid(
            dataset=dataset,
            date=f"{now:%Y%m%d}",
            time=f"{now:%H%M%S}{number % 9999 + 1:04}",
            destination=self.station,
            originator=self.code,
            size=blocks,
            original_size=blocks,
        )
        return replace(sfid, **fields)

    async def send_file(self, sfid: c.Sfid, octets: bytes) -> c.Command:
        """Offer and, if it is wanted, send a file; what the station said at last: SFNA, EFPA or EFNA."""
        self.send(sfid)
        answer = await self.command()
        if not isinstance(answer, c.Sfpa):
            return answer
        size = min(self.ssid.buffer_size if self.ssid else 128, 32_768)
        self.write(bytes(buffers.encode(octets, size, last=True).stream))
        self.send(c.Efid(octets=len(octets)))
        while isinstance(answer := await self.command(), c.Cdt):
            pass
        return answer

    async def deliver(self, octets: bytes, message: str = "DELIVER", **fields: Any) -> c.Sfid:
        """Send a message of the certificate exchange, which the station takes; its answer comes with ``turn``."""
        sfid = self.offer(f"ODETTE_CERTIFICATE_{message}", octets, **fields)
        answer = await self.send_file(sfid, octets)
        assert isinstance(answer, c.Efpa), answer
        return sfid

    async def turn(self) -> list[c.Command | tuple[c.Sfid, bytes]]:
        """Pass the turn and take what the station says in it, until it passes it back or leaves."""
        self.send(c.Cd())
        return await self.listen()

    async def listen(self) -> list[c.Command | tuple[c.Sfid, bytes]]:
        """What the station says while it has the turn: end responses and files, with their content."""
        heard: list[c.Command | tuple[c.Sfid, bytes]] = []
        while True:
            command = await self.command()
            match command:
                case c.Cd():
                    return heard
                case c.Esid():
                    self.hang_up()
                    return [*heard, command]
                case c.Eerp() | c.Nerp():
                    self.send(c.Rtr())
                    heard.append(command)
                case c.Sfid():
                    heard.append((command, await self._receive()))
                case _:
                    raise AssertionError(command)

    async def _receive(self) -> bytes:
        self.send(c.Sfpa())
        octets = b""
        while isinstance(command := await self.command(), c.Data):
            octets += bytes(buffers.decode(command.payload).octets)
        assert isinstance(command, c.Efid), command
        self.send(c.Efpa())
        return octets

    async def leave(self) -> None:
        """End the session as Speaker that is: pass the turn until the station leaves, or leave."""
        self.send(c.Esid(reason=EndSessionReason.NORMAL))
        self.hang_up()
        await self.gone()

    def acknowledge(self, sfid: c.Sfid) -> None:
        """An EERP for a file of the station."""
        self.send(acknowledgement(sfid))


def acknowledgement(sfid: c.Sfid) -> c.Eerp:
    return c.Eerp(
        dataset=sfid.dataset, date=sfid.date, time=sfid.time, destination=sfid.originator, originator=sfid.destination
    )


def _ssid(code: str, password: str, **fields: Any) -> c.Ssid:
    return replace(c.Ssid(code=code, password=password, buffer_size=32_768, credit=99), **fields)


@asynccontextmanager
async def call(
    station: Station, *, tls: Tls | bool = False, code: str = CODE_B, port: int | None = None
) -> AsyncIterator[Peer]:
    """A connection to the station; nothing is said yet."""
    number = port or station.port("tls" if tls else "tcp")
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", number, timeout=PATIENCE)
    if tls:
        endpoint = wrapClientTLS(Tls() if tls is True else tls, endpoint)
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: Wire()  # type: ignore[method-assign]
    wire = await endpoint.connect(factory)
    peer = Peer(wire, code=code, station=station.code)
    try:
        yield peer
    finally:
        if wire.lost is None:
            wire.transport.abortConnection()
            await peer.gone()


@asynccontextmanager
async def session(
    station: Station, *, tls: Tls | bool = False, code: str = CODE_B, password: str = PASSWORD_B, **ssid: Any
) -> AsyncIterator[Peer]:
    """A session with the station, in which we are the Speaker."""
    async with call(station, tls=tls, code=code) as peer:
        await peer.identify(password, **ssid)
        yield peer


@dataclass
class Answering:
    """A port that waits for calls of a station."""

    port: int
    calls: DeferredQueue[Wire]

    async def answer(self, code: str = CODE_B) -> Peer:
        """The next call."""
        waiting = self.calls.get()
        waiting.addTimeout(PATIENCE, CLOCK)
        return Peer(await waiting, code=code)


@asynccontextmanager
async def answering(tls: Tls | None = None) -> AsyncIterator[Answering]:
    """Wait for calls, over TLS when it is given."""
    calls: DeferredQueue[Wire] = DeferredQueue()
    wires: list[Wire] = []

    class Answered(Wire):
        def connectionMade(self) -> None:
            wires.append(self)
            calls.put(self)

    factory: Any = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: Answered()
    if tls is not None:
        factory = TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=factory)
        factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]  # the reactor
    try:
        yield Answering(port.getHost().port, calls)
    finally:
        await maybeDeferred(port.stopListening)
        for wire in wires:
            if wire.lost is None:
                wire.transport.abortConnection()
                await Peer(wire).gone()


def responses(heard: Sequence[object]) -> list[c.EndResponse]:
    return [each for each in heard if isinstance(each, c.Eerp | c.Nerp)]


def files(heard: Sequence[object]) -> list[tuple[c.Sfid, bytes]]:
    return [each for each in heard if isinstance(each, tuple)]


async def answer_to(peer: Peer, octets: bytes, message: str = "DELIVER", **fields: object) -> c.EndResponse:
    """Deliver a message of the certificate exchange, pass the turn, and take the one end response."""
    await peer.deliver(octets, message, **fields)
    (response,) = responses(await peer.turn())
    return response
