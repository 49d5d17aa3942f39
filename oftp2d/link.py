"""The Twisted Protocol: a Session on a transport (TCP or TLS).

Only ``_pump`` writes to the transport. The link is the transport's one push producer, so that a slow peer stops the
sending room through ``drained``. A session begins when the connection stands, over TLS when the handshake is
complete: the peer's certificate is not there before. The session's deadline is kept with one delayed call, which
looks again when it fires instead of being moved at every octet.
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable
from typing import cast

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from oftp2.events import CreditReceived, DataReceived, Event, Origin, SessionAborted, SessionReleased
from oftp2.reasons import EndSessionReason
from oftp2.requests import Abort, EndSession, Request
from oftp2.session import Session
from oftp2.tables import State
from oftp2d.handshakes import broken_off, explain, too_slow
from oftp2d.line import PeerTls, SessionOverError, origin
from oftp2d.progress import below_tls, octets_taken
from oftp2d.trace import Recording

_BEFORE_READY = frozenset({State.IDLE, State.I_WF_NC, State.I_WF_RM, State.WF_NDISC})


class _Network(typing.Protocol):
    """What TCP and TLS transports have in common, and no interface of Twisted names in one place."""

    def write(self, data: bytes | memoryview) -> object: ...

    def pauseProducing(self) -> object: ...  # noqa: N802 - Twisted's name

    def resumeProducing(self) -> object: ...  # noqa: N802 - Twisted's name

    def setTcpNoDelay(self, enabled: bool) -> object: ...  # noqa: FBT001, N802 - Twisted's name and argument

    def loseConnection(self) -> object: ...  # noqa: N802 - Twisted's name

    def abortConnection(self) -> object: ...  # noqa: N802 - Twisted's name

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> object: ...  # noqa: FBT001, N802 - as above

    def unregisterProducer(self) -> object: ...  # noqa: N802 - Twisted's name


MAX_BACKLOG = 4 * 1024 * 1024
"""Octets of a file that wait for the User Monitor before the network has to."""

READ = 1024 * 1024
"""Octets that are read from the network at once."""


@implementer(IHandshakeListener, IPushProducer)
class Link(Protocol):
    """One connection and its session.

    ``begin`` is called once, when the session has begun. ``closed`` fires when the connection is gone, whether or not it ever
    stood, with a line that says why.
    """

    log = Logger(namespace="link")

    def __init__(
        self,
        clock: IReactorTime,
        session: Session,
        *,
        tls: bool,
        handshake_seconds: float,
        close_seconds: float,
        begin: Callable[[Link], object],
        recording: Recording | None = None,
    ) -> None:
        self.session = session
        self.recording = recording
        """Who is told of all octets that pass; None for nobody."""
        self.closed: Deferred[str] = Deferred()
        self.stood = False
        """Whether the network connection ever stood."""
        self.begun = False
        """Whether the session ever began: over TLS, whether the handshake succeeded."""
        self.ready = False
        """Whether the peer ever greeted as an OFTP station does."""
        self._clock = clock
        self._over_tls = tls
        self._begin = begin
        self._events: deque[Event] = deque()
        self._end: SessionAborted | SessionReleased | None = None
        self._waiting_event: Deferred[None] | None = None
        self._waiting_drain: Deferred[None] | None = None
        self._paused = False
        self._handshake_seconds = handshake_seconds
        self._close_seconds = close_seconds
        self._taken: int | None = None
        """Octets the peer's side had taken when the inactivity timer was half over."""
        self._alarm: IDelayedCall | None = None
        self._cut: IDelayedCall | None = None
        self._tls: PeerTls | None = None
        self._gone = False
        self._fed = False
        self._backlog = 0
        self._holding = False

    # --- what the User Monitor sees -----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where the peer calls from, as limits count it."""
        return origin(self._peer[0])

    @property
    def remote(self) -> str:
        """The peer's address and port."""
        return "{}:{}".format(*self._peer)

    @property
    def _peer(self) -> tuple[str, int]:
        peer = self.transport.getPeer() if self.transport is not None else None
        return str(getattr(peer, "host", "unknown")), int(getattr(peer, "port", 0))

    @property
    def tls(self) -> PeerTls | None:
        """What TLS told about the peer; None over plain TCP."""
        return self._tls

    @property
    def waiting(self) -> bool:
        """Whether events wait to be taken."""
        return bool(self._events)

    async def event(self) -> Event:
        """The next event of the session."""
        while not self._events:
            if self._end is not None:
                raise SessionOverError(self._end)
            self._waiting_event = Deferred()
            await self._waiting_event
        event = self._events.popleft()
        if isinstance(event, SessionAborted | SessionReleased):
            raise SessionOverError(event)
        if isinstance(event, DataReceived):
            self._backlog -= len(event.octets)
            self._hold_or_go_on()
        return event

    def request(self, request: Request) -> None:
        """Ask something of the session and send what it says."""
        if self._end is not None:
            raise SessionOverError(self._end)
        self._take(self.session.send(request, self._clock.seconds()))
        if isinstance(request, EndSession | Abort) and self._end is None:
            # Our own leave has no event of its own in the RFC: nobody is to wait for more.
            reason = request.reason if isinstance(request, EndSession) else EndSessionReason.UNSPECIFIED
            text = request.text if isinstance(request, EndSession) else "given up"
            self._end = SessionAborted(origin=Origin.LOCAL, reason=reason, text=text)
            self._pump()
            # It may have been asked from elsewhere, by a time limit or at the end of the daemon.
            self._hold_or_go_on()
            self._wake()
            return
        self._pump()

    async def drained(self) -> None:
        """Wait until the transport takes more."""
        while self._paused and self._end is None:
            self._waiting_drain = Deferred()
            await self._waiting_drain
        if self._end is not None:
            raise SessionOverError(self._end)

    def give_up(self, why: str) -> None:
        """Cut the connection without a word."""
        self._fail(why)
        self._abort_transport()

    # --- what the transport tells -------------------------------------------------------------------------------

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """The TCP connection stands."""
        self.stood = True
        _read_at_once(self.transport, READ)
        # Commands are small and answered: waiting to fill a segment would cost 40 ms for each (Nagle's algorithm).
        self._network.setTcpNoDelay(True)
        if self._end is not None:
            # It was given up while the connection was being made.
            self._abort_transport()
        elif self._over_tls:
            self._cut = self._clock.callLater(self._handshake_seconds, self._handshake_too_slow)
        else:
            self._start()

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """The TLS handshake is complete; the peer's certificate is known."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
        if not self.begun and not self._gone:
            self._tls = _peer_tls(self.transport)
            self._start()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Octets from the peer; over TLS ``allReceived`` follows when there are no more for now."""
        if not self.begun:
            return
        if self.recording is not None:
            self.recording.received(data)
        self.session.feed(data)
        self._fed = True
        if not self._over_tls:
            self.allReceived()

    def allReceived(self) -> None:  # noqa: N802 - in one row with Twisted's names
        """Give the session what has been received."""
        if not self._fed:
            return
        self._fed = False
        self._take(self.session.receive_data(b"", self._clock.seconds()))
        self.ready = self.ready or self.session.state not in _BEFORE_READY
        self._pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """The connection is gone."""
        self._gone = True
        for delayed in (self._alarm, self._cut):
            if delayed is not None and delayed.active():
                delayed.cancel()
        failed = None
        if self._over_tls and reason.value is not None:
            failed = (explain if self.begun else broken_off)(reason.value, self.session.role)
        why = _why(reason) if failed is None else str(failed)
        if self.begun:
            self.allReceived()
            self._take(self.session.connection_lost(why, self._clock.seconds()))
        elif isinstance(self._end, SessionAborted):
            # Cut by us before the session began: that is what people are to know.
            why = self._end.text
        self._fail(why)
        self.closed.callback(why)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport takes more."""
        self._paused = False
        self._wake_drain()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport will never take more; ``connectionLost`` follows."""
        self._paused = True

    # --- within -------------------------------------------------------------------------------------------------

    @property
    def _network(self) -> _Network:
        """The transport; there is one from ``connectionMade`` on."""
        return cast("_Network", self.transport)

    def _start(self) -> None:
        self.begun = True
        self._network.registerProducer(self, streaming=True)
        self._take(self.session.connected(self._clock.seconds()))
        self._pump()
        self._begin(self)

    def _hold_or_go_on(self) -> None:
        """Read no more from the network while the User Monitor has enough to do, whatever the credit allows."""
        hold = self._backlog > MAX_BACKLOG and self._end is None
        if hold is not self._holding and not self._gone:
            self._holding = hold
            (self._network.pauseProducing if hold else self._network.resumeProducing)()

    def _pump(self) -> None:
        """Write what the session has to say, and close when it has nothing more to say."""
        octets = self.session.data_to_send()
        if self._gone:
            return
        if octets:
            if self.recording is not None:
                self.recording.sent(bytes(octets))
            self._network.write(octets if self._over_tls else bytes(octets))
        if self.session.finished:
            self._close()
        self._rearm()

    def _close(self) -> None:
        if self._cut is not None:
            return
        self._network.unregisterProducer()
        self._network.loseConnection()
        self._cut = self._clock.callLater(self._close_seconds, self._abort_transport)

    def _abort_transport(self) -> None:
        if not self._gone and self.transport is not None:
            self._network.abortConnection()

    def _handshake_too_slow(self) -> None:
        self._cut = None
        self._fail(str(too_slow(self._handshake_seconds, self.session.role)))
        self._abort_transport()

    def _rearm(self) -> None:
        deadline = self.session.deadline
        if deadline is None or self._gone:
            return
        now = self._clock.seconds()
        half = deadline - self.session.patience / 2
        wait = max((half if now < half else deadline) - now, 0)
        if self._alarm is None or not self._alarm.active():
            self._alarm = self._clock.callLater(wait, self._look)
        elif self._alarm.getTime() > now + wait:
            self._alarm.reset(wait)

    def _look(self) -> None:
        """The timer is half over, or over, or has begun anew since."""
        now, deadline = self._clock.seconds(), self.session.deadline
        if deadline is None or now < deadline:
            self._taken = octets_taken(self.transport)
        elif self._is_taking():
            self.session.taken(now)
        else:
            self._take(self.session.tick(now))
        self._pump()

    def _is_taking(self) -> bool:
        """Whether the peer took at least an Exchange Buffer of ours in the last half of the timer, on a slow line."""
        before, self._taken = self._taken, octets_taken(self.transport)
        terms = self.session.terms
        if before is None or self._taken is None or terms is None:
            return False
        return self._taken - before >= terms.buffer_size

    def _take(self, events: list[Event]) -> None:
        if not events:
            return
        for event in events:
            if isinstance(event, CreditReceived) and self._events and isinstance(self._events[-1], CreditReceived):
                # What may be sent is asked of the session: to be told once that there is credit is enough.
                continue
            self._events.append(event)
            if isinstance(event, SessionAborted | SessionReleased):
                self._end = event
            elif isinstance(event, DataReceived):
                self._backlog += len(event.octets)
        self._hold_or_go_on()
        self._wake_event()
        if self._end is not None:
            self._wake_drain()

    def _fail(self, why: str) -> None:
        """No session came about, or it ended without an event: whoever waits is told."""
        if self._end is None:
            self._end = SessionAborted(origin=Origin.NETWORK, reason=EndSessionReason.UNSPECIFIED, text=why)
        self._wake()

    def _wake(self) -> None:
        """Whoever waits for anything looks again: the session is over."""
        self._wake_event()
        self._wake_drain()

    def _wake_event(self) -> None:
        waiting, self._waiting_event = self._waiting_event, None
        if waiting is not None:
            waiting.callback(None)

    def _wake_drain(self) -> None:
        waiting, self._waiting_drain = self._waiting_drain, None
        if waiting is not None:
            waiting.callback(None)


def _read_at_once(transport: object, octets: int) -> None:
    """Have the TCP transport, under TLS or not, read more at once than its 64 KiB."""
    below = below_tls(transport)
    if hasattr(below, "bufferSize"):
        below.bufferSize = octets


def _peer_tls(transport: object) -> PeerTls:
    assert ISSLTransport.providedBy(transport)  # noqa: S101 - asked for after a handshake only
    connection: SSL.Connection = transport.getHandle()  # type: ignore[attr-defined]  # TLSMemoryBIOProtocol's own
    certificate = connection.get_peer_certificate()
    chain = connection.get_peer_cert_chain() or []
    return PeerTls(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        certificate=None if certificate is None else _der(certificate),
        chain=tuple(_der(other) for other in chain),
    )


def _der(certificate: crypto.X509) -> bytes:
    return bytes(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))


def _why(reason: Failure) -> str:
    """One line for people about how a connection ended, where TLS had no part in it."""
    match reason.value:
        case ConnectionDone():
            return "the peer closed the connection"
        case ConnectionLost():
            return "the connection was lost"
        case error:
            return f"the connection failed: {error}"
