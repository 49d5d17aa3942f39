"""Documents of other people's web servers: trust lists and revocation lists (acx.md section 10).

Whoever serves them is not trusted: what is fetched proves itself by its signature. So it is bounded here what a server
can cost: in size, from its first octet on, in time as a whole, and in the places it sends us to. Whoever names an address may
mean a service that only we can reach, so this machine itself and its link are not asked, unless that is allowed; what counts
is the address that is connected to, not the name of it. Nothing is sent along
that tells who asks: no cookies, no credentials. Over https the server must have a certificate that the operating system
trusts.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives its HTTP client no types.

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS, IResponse
from zope.interface import directlyProvides, implementer, providedBy

from oftp2d.metering import Body, Meter, MeteredEndpoint

REDIRECTS: Final = 3
"""Times a server may send us elsewhere."""
LONGEST_URL: Final = 2000

_OVERHEAD: Final = 64 * 1024
"""Octets that a server may send around a document: its headers, and how it divides the document into chunks."""
_REDIRECTED: Final = (301, 302, 303, 307, 308)


class FetchError(Exception):
    """A document could not be had; the text is one sentence that says why."""


class _LocalError(Exception):
    """An address is not asked because of where it leads."""


def is_local(address: str) -> bool:
    """Whether a numeric address is of this machine, of its link, or of no single machine: none that the world is served from.

    Private networks (RFC 1918, RFC 4193) are not: the authorities of companies serve their lists there.
    """
    try:
        numeric = ip_address(address)
    except ValueError:
        return True
    if isinstance(numeric, IPv6Address) and numeric.ipv4_mapped is not None:
        numeric = numeric.ipv4_mapped
    return numeric.is_loopback or numeric.is_link_local or numeric.is_multicast or numeric.is_unspecified


class Fetcher:
    """Gets documents by http and https, one connection for each.

    ``allow_local``: also from addresses that are :func:`is_local`, as for those that an administrator has set himself.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS | None = None, *, allow_local: bool = False) -> None:
        self._reactor = reactor if allow_local else _Outward(reactor)
        self._policy = policy or BrowserLikePolicyForHTTPS()

    async def get(self, url: str, *, limit: int, seconds: float) -> bytes:
        """The document at ``url``: at most ``limit`` octets, in at most ``seconds`` from the name to its last octet.

        Raises:
            FetchError: it is not to be had, within these bounds.
        """
        pending = Deferred.fromCoroutine(self._follow(url, limit))
        slow = self._reactor.callLater(seconds, pending.cancel)
        try:
            return await pending
        except FetchError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a server makes Twisted raise is one sentence
            why = _reason(error) if slow.active() else f"it was not there within {seconds:g} seconds"
            raise FetchError(f"{_shown(url)} cannot be had: {why}") from None
        finally:
            if slow.active():
                slow.cancel()

    async def _follow(self, url: str, limit: int) -> bytes:
        for _ in range(1 + REDIRECTS):
            document = await self._ask(_checked(url), limit)
            if isinstance(document, bytes):
                return document
            url = _onward(url, document.elsewhere)
        raise FetchError(f"{_shown(url)} is one redirect too many, at most {REDIRECTS} are followed")

    async def _ask(self, url: str, limit: int) -> bytes | _Elsewhere:
        meter = Meter(limit + limit // 8 + _OVERHEAD)
        agent = Agent.usingEndpointFactory(self._reactor, _Endpoints(self._reactor, self._policy, meter))
        headers = Headers({"User-Agent": ["oftp2d"], "Accept": ["*/*"], "Accept-Encoding": ["identity"]})
        try:
            response = await agent.request(b"GET", url.encode("ascii"), headers)
            if response.code in _REDIRECTED:
                return _Elsewhere(response)
            _accept(url, response, limit)
            return await _body(response, url, limit)
        except FetchError:
            raise
        except Exception:
            if meter.exceeded:
                raise FetchError(_too_large(url, limit)) from None
            raise
        finally:
            meter.cut()


class _Elsewhere:
    """Where a redirect leads."""

    def __init__(self, response: IResponse) -> None:
        places = response.headers.getRawHeaders(b"Location", [])
        self.elsewhere = places[0].decode("latin-1") if places else ""


def _checked(url: str) -> str:
    """The address, if it is one that we ask at."""
    try:
        parts = urlsplit(url)
        odd = parts.scheme not in {"http", "https"} or not parts.hostname or (parts.port is not None and parts.port < 1)
    except ValueError:
        odd = True
    if odd or len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise FetchError(f"{_shown(url)} is not an address of http or https that can be asked")
    if parts.username is not None or parts.password is not None:
        raise FetchError("the address names a user, and nothing is fetched with credentials")
    return url


def _onward(url: str, location: str) -> str:
    try:
        onward = urljoin(url, location)
        scheme = urlsplit(onward).scheme
    except ValueError:
        onward, scheme = location, ""
    if not location or scheme not in {"http", "https"}:
        raise FetchError(f"{_shown(url)} redirects to {_shown(location)}, which is not http or https")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise FetchError(f"{_shown(url)} redirects from https to {_shown(onward)}")
    return onward


def _accept(url: str, response: IResponse, limit: int) -> None:
    if response.code != 200:
        raise FetchError(f"{_shown(url)} was answered with {response.code}")
    if isinstance(response.length, int) and response.length > limit:
        raise FetchError(_too_large(url, limit))
    if response.headers.hasHeader(b"Content-Encoding"):
        raise FetchError(f"{_shown(url)} came in a content encoding that was not asked for")


async def _body(response: IResponse, url: str, limit: int) -> bytes:
    body = Body(limit)
    response.deliverBody(body)
    octets = await body.finished
    if octets is None:
        raise FetchError(_too_large(url, limit))
    return octets


def _too_large(url: str, limit: int) -> str:
    return f"{_shown(url)} has more than the {limit} octets that are allowed"


def _reason(error: Exception) -> str:
    """What went wrong, without what a server can write: the innermost failure of those that Twisted wraps."""
    match error:
        case DNSLookupError():
            return "its host is not known"
        case _LocalError():
            return f"its address {error} is of this machine or its link, and is not asked (allow_local in [revocation])"
        case ConnectError():
            return "its host takes no connection"
    reasons = getattr(error, "reasons", None)
    inner = reasons[0].value if reasons else None
    if type(inner).__module__.startswith("OpenSSL"):
        return "its certificate is not trusted, or TLS fails"
    return "the connection broke, or what came is not HTTP"


def _shown(url: str) -> str:
    """An address as a log can bear it."""
    short = url if len(url) <= 200 else f"{url[:197]}..."
    return "".join(character if character.isprintable() else "?" for character in short) or "nowhere"


class _Outward:
    """A reactor that connects to no local address, whatever name, number or redirect led there."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, *arguments: Any, **more: Any) -> Any:  # noqa: N802 - Twisted's name
        """Connect to a resolved address; the endpoint makes a failed attempt of the error."""
        if is_local(host):
            raise _LocalError(host)
        return self._reactor.connectTCP(host, *arguments, **more)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, meter: Meter) -> None:
        self._reactor = reactor
        self._policy = policy
        self._meter = meter

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        """Where the agent connects to, under the meter."""
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, uri.host.decode("ascii"), uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return MeteredEndpoint(endpoint, self._meter)
