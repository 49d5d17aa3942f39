"""One call to a service: a POST over mutual TLS, and what came back (RFC 9110), within bounds of size and time.

Nothing is followed, nothing remembered: no redirects, no cookies, no connection that is kept. An answer counts only when it is
complete.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives its HTTP client no types.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from oftp2d.metering import Body, Meter, MeteredEndpoint
from oftp2d.renewal.interface import House, Refusal
from oftp2d.renewal.material import Material
from oftp2d.renewal.nmvs.contract import Message
from oftp2d.renewal.nmvs.failures import EncodedError, SlowError, TooLargeError, blames_us, refused
from oftp2d.renewal.nmvs.mutual import Peer, context
from oftp2d.renewal.nmvs.profile import Limits, Tls
from oftp2d.renewal.nmvs.reply import Reply
from oftp2d.renewal.nmvs.tunnel import Tunnel
from oftp2d.vault import Secret

_OVERHEAD: Final = 64 * 1024
"""Octets that a server may send around an answer: its headers, and how it divides it into chunks."""


class CallError(Exception):
    """No answer came. ``sent`` tells whether the request may have reached the server all the same."""

    def __init__(self, refusal: Refusal, *, sent: bool) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
        self.sent = sent


@dataclass(frozen=True, kw_only=True)
class Line:
    """How the services of one profile are called."""

    tls: Tls
    limits: Limits
    proxy_login: tuple[str, Secret[str]] | None = field(default=None, repr=False)


class Caller:
    """Makes calls, each with a connection and a context of its own."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def post(self, message: Message, content: bytes, line: Line, identity: Material | None) -> Reply:
        """Send a message; ``identity`` is the certificate we show, if any.

        Raises:
            CallError: no complete answer came.
            OperatorError: it could not even be tried.
        """
        bundle = self._house.home / line.tls.ca_bundle if line.tls.ca_bundle else None
        tls = await self._house.workers.crypto(context, identity, line.tls.minimum, bundle)
        call = _Call(self._house.reactor, message, line, Peer(tls, urlsplit(message.url).hostname or ""))
        return await call.made(content)


class _Call:
    """One call on its way."""

    def __init__(self, reactor: Any, message: Message, line: Line, peer: Peer) -> None:
        self._reactor = reactor
        self._message = message
        self._line = line
        self._peer = peer
        self._slow = ""
        limits = line.limits
        self._meter = _Listening(limits.max_octets + limits.max_octets // 8 + _OVERHEAD, self._heard)
        self._silence: Any = None

    async def made(self, content: bytes) -> Reply:
        limits = self._line.limits
        pending = Deferred.fromCoroutine(self._exchanged(content))
        # Silence counts from the beginning: the handshake, and the way through a proxy, are part of it.
        self._silence = self._reactor.callLater(
            limits.connect_seconds + limits.read_seconds,
            self._too_slow,
            pending,
            f"said nothing for {limits.read_seconds} seconds",
        )
        total = self._reactor.callLater(
            limits.total_seconds, self._too_slow, pending, f"did not answer within {limits.total_seconds} seconds"
        )
        try:
            return await pending
        except Exception as error:  # noqa: BLE001 - whatever a server makes Twisted raise is one sentence
            raise self._failed(error) from None
        finally:
            for timer in (total, self._silence):
                if timer.active():
                    timer.cancel()
            self._meter.cut()

    async def _exchanged(self, content: bytes) -> Reply:
        from treq.client import HTTPClient  # noqa: PLC0415 - only where an NMVS is called

        agent = Agent.usingEndpointFactory(self._reactor, _Endpoints(self._endpoint))
        # A client for each call: what one server gives it to remember (cookies) ends with it.
        response = await HTTPClient(_Plain(agent)).request(
            "POST",
            self._message.url,
            data=content,
            headers=self._headers(),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        limit = self._line.limits.max_octets
        if isinstance(response.length, int) and response.length > limit:
            raise TooLargeError(limit)
        body = Body(limit)
        response.deliverBody(body)
        octets = await body.finished
        if octets is None:
            raise TooLargeError(limit)
        return Reply(
            status=response.code,
            body=octets,
            content_type=_header(response, "Content-Type"),
            retry_after=_header(response, "Retry-After"),
        )

    def _headers(self) -> Headers:
        headers = {
            "Content-Type": [self._message.content_type],
            "Accept": ["application/soap+xml, text/xml, multipart/related"],
            "User-Agent": ["oftp2d"],
        }
        if self._message.action:
            headers["SOAPAction"] = [self._message.action]
        return Headers(headers)

    def _endpoint(self, uri: URI) -> IStreamClientEndpoint:
        host, port = uri.host.decode("ascii"), uri.port
        tls, limits = self._line.tls, self._line.limits
        endpoint: IStreamClientEndpoint
        if tls.proxy:
            proxy, _, proxy_port = tls.proxy.rpartition(":")
            dialled = HostnameEndpoint(self._reactor, proxy.strip("[]"), int(proxy_port), limits.connect_seconds)
            endpoint = Tunnel(dialled, host.strip("[]"), port, self._line.proxy_login)
        else:
            endpoint = HostnameEndpoint(self._reactor, host.strip("[]"), port, limits.connect_seconds)
        return MeteredEndpoint(wrapClientTLS(self._peer, endpoint), self._meter)

    def _heard(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.reset(self._line.limits.read_seconds)

    def _too_slow(self, pending: Deferred[Any], why: str) -> None:
        self._slow = why
        pending.cancel()

    def _failed(self, error: BaseException) -> CallError:
        host = urlsplit(self._message.url).hostname or ""
        if self._meter.exceeded:
            error = TooLargeError(self._line.limits.max_octets)
        elif self._slow:
            error = SlowError(self._slow)
        sent = self._peer.complete and not self._peer.objection and not blames_us(error)
        return CallError(refused(error, host, self._peer.objection, sent=sent), sent=sent)


class _Listening(Meter):
    """A meter that tells whenever something came."""

    def __init__(self, most: int, heard: Callable[[], None]) -> None:
        super().__init__(most)
        self._heard = heard

    def count(self, octets: int) -> bool:
        self._heard()
        return super().count(octets)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, endpoint: Callable[[URI], IStreamClientEndpoint]) -> None:
        self.endpointForURI = partial(endpoint)


@implementer(IAgent)
class _Plain:
    """An agent that takes no content encoding: what unfolds in memory would not be under the meter."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803
    ) -> Deferred[IResponse]:
        plain = Headers(dict(headers.getAllRawHeaders()) if headers else {})
        plain.setRawHeaders("Accept-Encoding", ["identity"])
        requested: Deferred[IResponse] = self._agent.request(method, uri, plain, bodyProducer)
        return requested.addCallback(_unencoded)


def _unencoded(response: IResponse) -> IResponse:
    if any(
        each.strip().lower() not in {b"", b"identity"}
        for each in response.headers.getRawHeaders(b"Content-Encoding", [])
    ):
        raise EncodedError
    return response


def _header(response: IResponse, name: str) -> str:
    values: list[str] = response.headers.getRawHeaders(name, [""])
    return values[0][:1000]
