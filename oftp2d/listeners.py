"""Answering calls: the TCP and TLS ports of the station, and the limits on who may keep them busy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.logger import Logger

from oftp2d.config import Listener, Transport
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.line import origin
from oftp2d.link import Link
from oftp2d.partners import MAX_ADDRESSES, BadAttempts
from oftp2d.sessions import Sessions
from oftp2d.tls import Servers
from oftp2d.transport import Tls

BACKLOG = 128

QUIET_SECONDS = 60.0
"""How long nothing more is logged about an address that is not answered."""

OVERBOOKED = 2
"""Callers beyond the limit of sessions are told so (ESID 08); beyond this many times the limit they are not even heard."""


class _Calls(Factory[Link]):
    """A link for every call."""

    noisy = False

    def __init__(self, sessions: Sessions, *, tls: bool) -> None:
        self._sessions = sessions
        self._tls = tls

    def buildProtocol(self, addr: IAddress | None) -> Link:  # noqa: ARG002, N802 - Twisted's signature
        """Answer."""
        return self._sessions.answer(tls=self._tls)


class _Door(Factory[Protocol]):
    """Looks at the address of a caller before anything is read from it, or sent."""

    noisy = False
    log = Logger(namespace="listeners")

    def __init__(
        self,
        context: Context,
        sessions: Sessions,
        attempts: BadAttempts,
        inner: Factory[Any],
        ready: Callable[[], bool],
    ) -> None:
        self._ready = ready
        self._context = context
        self._sessions = sessions
        self._attempts = attempts
        self._inner = inner
        self._told: OrderedDict[str, float] = OrderedDict()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:  # noqa: N802 - Twisted's name
        """Let the caller in, or close the connection at once."""
        address = origin(str(getattr(addr, "host", "unknown")))
        why = self._objection(address)
        if why is None:
            return self._inner.buildProtocol(addr)
        self._tell(address, why)
        return None

    def _tell(self, address: str, why: str) -> None:
        """Log it, but not more than once a minute for each address: an outsider shall not write our log."""
        now = self._context.reactor.seconds()
        if now - self._told.get(address, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._told[address] = now
        self._told.move_to_end(address)
        while len(self._told) > MAX_ADDRESSES:
            self._told.popitem(last=False)
        self.log.warn("calls from {address} are not answered: {why}", address=address, why=why)

    def _objection(self, address: str) -> str | None:
        limits = self._context.config.limits
        if self._context.stopping:
            return "the station is stopping"
        if not self._ready():
            return "there is no certificate of ours that is good for TLS; see 'oftp2d cert list'"
        if self._attempts.blocked(address, self._context.reactor.seconds()):
            return f"too many wrong codes or passwords in {limits.bad_password_seconds} seconds"
        if self._sessions.from_address(address) >= limits.max_sessions_per_peer_address:
            return f"{limits.max_sessions_per_peer_address} sessions of this address are open"
        if len(self._sessions) >= OVERBOOKED * limits.max_sessions:
            return f"{len(self._sessions)} sessions are open"
        return None


class Listeners:
    """All ports of the station."""

    log = Logger(namespace="listeners")

    def __init__(
        self, context: Context, reactor: IReactorTCP, sessions: Sessions, attempts: BadAttempts, servers: Servers
    ) -> None:
        self._context = context
        self._reactor = reactor
        self._sessions = sessions
        self._attempts = attempts
        self._servers = servers
        self._open: list[tuple[Listener, IListeningPort]] = []

    def start(self) -> None:
        """Listen on every configured address. Raises ``OperatorError``, with nothing left open, when one is taken."""
        for listener in self._context.config.listeners:
            tls = listener.transport is Transport.TLS
            calls: Factory[Any] = _Calls(self._sessions, tls=tls)
            if tls:
                calls = Tls(self._servers, calls, client=False)
            door = _Door(self._context, self._sessions, self._attempts, calls, self._ready if tls else lambda: True)
            try:
                port = self._reactor.listenTCP(
                    listener.port, cast("ServerFactory[Any]", door), backlog=BACKLOG, interface=listener.host
                )
            except CannotListenError as error:
                raise OperatorError(
                    f"the port {listener.host}:{listener.port} cannot be opened ({error.socketError})",
                    "stop what holds it, or give another port in oftp2d.toml",
                ) from None
            self._open.append((listener, port))
            self.log.info(
                "answering {transport} calls on {host}:{port}",
                transport=listener.transport.value,
                host=listener.host,
                port=_number(port),
            )

    def _ready(self) -> bool:
        return self._servers.ready

    def addresses(self) -> list[tuple[Listener, int]]:
        """What is listened on, with the ports that were really taken."""
        return [(listener, _number(port)) for listener, port in self._open]

    async def stop(self) -> None:
        """Answer no more calls; sessions that are open stay."""
        closing, self._open = self._open, []
        for _, port in closing:
            await maybeDeferred(port.stopListening)


def _number(port: IListeningPort) -> int:
    return cast("IPv4Address | IPv6Address", port.getHost()).port
