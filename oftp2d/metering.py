"""What a web server may cost: octets counted from the first of its headers on, and a connection that is cut when it is too much.

For whoever asks servers of others with Twisted's HTTP client, which by itself reads whatever comes.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives its HTTP client no types.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer


class Body(Protocol):
    """Gathers a document; ``finished`` fires with it, or with ``None`` once it is larger than allowed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._octets = 0
        self.finished: Deferred[bytes | None] = Deferred()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Octets of it."""
        self._octets += len(data)
        if self._octets > self._limit:
            self._finish(None)
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """There is no more of it. Where nothing told its length, its signature shows whether it is all."""
        if reason.check(ResponseDone, PotentialDataLoss):
            self._finish(b"".join(self._pieces))
        elif not self.finished.called:
            self.finished.errback(reason)

    def _finish(self, document: bytes | None) -> None:
        self._pieces = []
        if not self.finished.called:
            self.finished.callback(document)


class Meter:
    """Counts what a server sends, headers and all, and cuts the connection when it is too much or not needed any more."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._cut: Callable[[], None] = lambda: None
        self.exceeded = False

    def attach(self, cut: Callable[[], None]) -> None:
        """There is a connection, and ``cut`` ends it."""
        self._cut = cut

    def count(self, octets: int) -> bool:
        """Whether so many more may be taken; they end the connection if not."""
        self._left -= octets
        if self._left < 0 and not self.exceeded:
            self.exceeded = True
            self._cut()
        return not self.exceeded

    def cut(self) -> None:
        """End the connection, if it is still there."""
        self._cut()


class _Metered(ProtocolWrapper):
    """One connection under the meter."""

    factory: _MeteringFactory

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """It stands."""
        assert self.transport is not None  # noqa: S101 - Twisted has just set it
        self.factory.meter.attach(cast("ITCPTransport", self.transport).abortConnection)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Octets from the server."""
        if self.factory.meter.count(len(data)):
            super().dataReceived(data)


class _MeteringFactory(WrappingFactory):
    protocol = _Metered
    noisy = False

    def __init__(self, inner: Factory, meter: Meter) -> None:
        super().__init__(inner)
        self.meter = meter


@implementer(IStreamClientEndpoint)
class MeteredEndpoint:
    """An endpoint whose connection is under the meter."""

    def __init__(self, endpoint: IStreamClientEndpoint, meter: Meter) -> None:
        self._endpoint = endpoint
        self._meter = meter

    def connect(self, protocolFactory: Any) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Connect, and give the client the protocol it knows, not its wrapper."""
        connecting: Deferred[Any] = self._endpoint.connect(_MeteringFactory(protocolFactory, self._meter))
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)
