"""The way through a proxy: CONNECT (RFC 9110 section 9.3.6), before anything else is said.

The endpoint gives its caller a connection only when the proxy has opened it; what the proxy answers is bounded, and nothing
that it says before TLS begins gets any further.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives its wrappers no types.

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint, ITCPTransport, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from oftp2d.vault import Secret

MOST_OCTETS: Final = 16 * 1024
"""In the answer of a proxy."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r)")


class ProxyRefusedError(Exception):
    """The proxy did not open the way; ``status`` is what it said, 0 for what is no HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@implementer(IStreamClientEndpoint)
class Tunnel:
    """An endpoint behind a proxy. ``login`` is a user with its password."""

    def __init__(
        self, proxy: IStreamClientEndpoint, host: str, port: int, login: tuple[str, Secret[str]] | None = None
    ) -> None:
        self._proxy = proxy
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._login = login

    def connect(self, protocolFactory: Any) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Connect to the proxy, then through it."""
        opened: Deferred[IProtocol] = Deferred(lambda _: cancel())
        factory = _Openings(protocolFactory, self._request(), opened)
        connecting: Deferred[Any] = self._proxy.connect(factory)

        def cancel() -> None:
            connecting.cancel()
            for opening in list(factory.protocols):
                opening.transport.abortConnection()

        connecting.addErrback(lambda failure: None if opened.called else opened.errback(failure))
        return opened

    def _request(self) -> bytes:
        authority = f"{self._host}:{self._port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self._login:
            user, password = self._login
            lines.append(f"Proxy-Authorization: Basic {b64encode(f'{user}:{password.reveal()}'.encode()).decode()}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Opening(ProtocolWrapper):
    """A connection to a proxy; what it wraps hears of it once the way is open."""

    factory: _Openings

    def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted's name
        """It stands: ask for the way. What is wrapped is not told yet, lest it begin to speak."""
        self._answer = b""
        self._open = False
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        transport.write(self.factory.request)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """The proxy's answer, and then what comes from behind it."""
        if self._open:
            super().dataReceived(data)
            return
        self._answer += data
        head, complete, rest = self._answer.partition(b"\r\n\r\n")
        found = _STATUS.match(head)
        if not complete and len(self._answer) <= MOST_OCTETS and (found or len(self._answer) < 16):
            return
        status = int(found[1]) if found and complete else 0
        # A server waits for our ClientHello: who says more behind the answer of the proxy is not the server.
        if not 200 <= status < 300 or rest:
            self._end(Failure(ProxyRefusedError(0 if rest and 200 <= status < 300 else status)))
            return
        self._open = True
        self.wrappedProtocol.makeConnection(cast("ITransport", self))
        self.factory.opened.callback(self.wrappedProtocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """It is over."""
        if self._open:
            super().connectionLost(reason)
        else:
            self.factory.unregisterProtocol(self)
            self._end(reason)

    def _end(self, reason: Failure) -> None:
        if not self.factory.opened.called:
            self.factory.opened.errback(reason)
        cast("ITCPTransport", self.transport).abortConnection()


class _Openings(WrappingFactory):
    protocol = _Opening
    noisy = False

    def __init__(self, inner: Factory, request: bytes, opened: Deferred[IProtocol]) -> None:
        super().__init__(inner)
        self.request = request
        self.opened = opened
