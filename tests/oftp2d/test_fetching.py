"""Documents are fetched from servers that behave, and from servers that do all they can not to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor, ssl
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.web.client import BrowserLikePolicyForHTTPS
from zope.interface import implementer

from oftp2d.fetching import Fetcher, FetchError, is_local
from tests import pki

LIMIT = 100_000
FETCHER = Fetcher(reactor, allow_local=True)
"""As for addresses that an administrator has set: what serves here is on loopback."""


class Server(Protocol):
    """Answers each request as its path says, and goes away as soon as nobody reads on."""

    factory: Servers

    def connectionMade(self) -> None:  # noqa: N802
        self.request = b""
        self.babble: LoopingCall | None = None
        self.factory.open.append(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.request += data
        if b"\r\n\r\n" in self.request:
            path = self.request.split()[1].decode()
            self.factory.requests.append(self.request.decode())
            self.factory.answers[path](self)

    def connectionLost(self, _reason: Any = None) -> None:  # noqa: N802
        self.factory.open.remove(self)
        if self.babble is not None:
            self.babble.stop()

    def say(self, octets: bytes, *, more: bool = False) -> None:
        self.transport.write(octets)
        if not more:
            self.transport.loseConnection()

    def say_forever(self, octets: bytes) -> None:
        self.babble = LoopingCall(self.transport.write, octets)
        self.babble.start(0.001)


class Servers(Factory):
    """A server on a port of its own, with an answer for each path."""

    protocol = Server
    noisy = False

    def __init__(self, context: Any = None) -> None:
        self.answers: dict[str, Callable[[Server], None]] = {}
        self.requests: list[str] = []
        self.open: list[Server] = []
        listen = reactor.listenSSL if context else reactor.listenTCP
        self.port = listen(0, self, *([context] if context else []), interface="127.0.0.1")
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port.getHost().port}"

    def answers_with(self, path: str, octets: bytes, *, more: bool = False) -> str:
        self.answers[path] = lambda server: server.say(octets, more=more)
        return self.url + path


@pytest.fixture
def server() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    pytest_twisted.blockon(servers.port.stopListening())
    for connection in servers.open:
        connection.transport.abortConnection()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def refused(url: str, *, seconds: float = 20.0, fetcher: Fetcher = FETCHER) -> str:
    with pytest.raises(FetchError) as error:
        await fetcher.get(url, limit=LIMIT, seconds=seconds)
    text = str(error.value)
    assert text.isprintable()
    assert len(text) < 600
    return text


@pytest_twisted.ensureDeferred
async def test_a_document_comes_as_it_is_and_nothing_is_told_of_who_asks(server: Servers) -> None:
    body = bytes(range(256)) * 300

    assert await FETCHER.get(server.answers_with("/list", ok(body)), limit=LIMIT, seconds=20) == body

    asked = server.requests[0].lower()
    assert asked.startswith("get /list http/1.1")
    assert not any(header in asked for header in ("cookie", "authorization", "referer", "from:"))


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
    ],
    ids=["in chunks", "of untold length"],
)
async def test_a_document_may_come_without_its_length(server: Servers, answer: bytes) -> None:
    assert await FETCHER.get(server.answers_with("/list", answer), limit=LIMIT, seconds=20) == b"abcde"


@pytest_twisted.ensureDeferred
async def test_a_document_of_exactly_the_limit_is_taken_and_an_octet_more_is_not(server: Servers) -> None:
    assert len(await FETCHER.get(server.answers_with("/fit", ok(bytes(LIMIT))), limit=LIMIT, seconds=20)) == LIMIT

    told = await refused(server.answers_with("/told", ok(bytes(LIMIT + 1)), more=True))
    untold = await refused(server.answers_with("/untold", b"HTTP/1.0 200 OK\r\n\r\n" + bytes(LIMIT + 1)))

    assert "more than the 100000 octets" in told
    assert "more than the 100000 octets" in untold


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", bytes(50_000)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 8000),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: of it\r\n" * 4000),
        (b"HTTP/1.1 ", b"2" * 50_000),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    ],
    ids=["body", "chunks", "headers", "status", "continue"],
)
async def test_what_never_ends_is_cut_off_and_the_connection_with_it(
    server: Servers, beginning: bytes, piece: bytes
) -> None:
    def answer(connection: Server) -> None:
        connection.say(beginning, more=True)
        connection.say_forever(piece)

    server.answers["/endless"] = answer

    text = await refused(server.url + "/endless")

    assert "more than the 100000 octets" in text or "not HTTP" in text
    await gone(server)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"], ids=["head", "body"])
async def test_who_is_slow_is_not_waited_for(server: Servers, beginning: bytes) -> None:
    assert "within 0.2 seconds" in await refused(server.answers_with("/slow", beginning, more=True), seconds=0.2)
    await gone(server)


@pytest_twisted.ensureDeferred
async def test_the_time_is_that_of_all_redirects_together(server: Servers) -> None:
    server.answers["/again"] = lambda connection: reactor.callLater(0.15, connection.say, redirect("/again"))

    assert "within 0.2 seconds" in await refused(server.url + "/again", seconds=0.2)


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_followed_to_another_place(server: Servers) -> None:
    server.answers_with("/old", redirect("/new?of=today"))
    server.answers_with("/new?of=today", ok(b"the list"))

    assert await FETCHER.get(server.url + "/old", limit=LIMIT, seconds=20) == b"the list"


@pytest_twisted.ensureDeferred
async def test_redirects_in_a_circle_end(server: Servers) -> None:
    assert "one redirect too many" in await refused(server.answers_with("/circle", redirect("/circle")))
    assert len(server.requests) == 4


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/list", "ldap://127.0.0.1/", "", "http://[", "data:,x"]
)
async def test_a_redirect_leads_nowhere_but_to_http(server: Servers, location: str) -> None:
    assert "not http or https" in await refused(server.answers_with("/away", redirect(location)))


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("location", ["http://user:secret@127.0.0.1/list", "http://127.0.0.1:0/", "http://a b/"])
async def test_a_redirect_to_an_address_that_is_not_asked_is_refused(server: Servers, location: str) -> None:
    text = await refused(server.answers_with("/away", redirect(location)))

    assert "credentials" in text or "not an address" in text
    assert "secret" not in text


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ldap://ldap.test/cn=list",
        "http://",
        "http://user:secret@127.0.0.1/list",
        "http://127.0.0.1/a\r\nX-Smuggled: yes",
        "http://127.0.0.1/\u00e4",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://127.0.0.1/" + "a" * 3000,
        "",
    ],
)
async def test_only_plain_addresses_are_asked(url: str) -> None:
    assert "secret" not in await refused(url)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.9.9.9", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"],  # noqa: S104
)
async def test_this_machine_is_not_asked_by_whatever_name_unless_that_is_allowed(server: Servers, host: str) -> None:
    server.answers_with("/list", ok(b"the list"))

    text = await refused(f"http://{host}:{server.port.getHost().port}/list", fetcher=Fetcher(reactor))

    assert "is of this machine or its link" in text or "its host is not known" in text
    assert (server.open, server.requests) == ([], [])


@pytest_twisted.ensureDeferred
async def test_a_redirect_does_not_lead_to_this_machine_either(
    server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oftp2d.fetching.is_local", lambda address: address == "127.0.0.2")
    server.answers_with("/list", redirect(f"http://127.0.0.2:{server.port.getHost().port}/secret"))

    text = await refused(server.url + "/list", fetcher=Fetcher(reactor))

    assert "its address 127.0.0.2 is of this machine or its link" in text
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("169.254.169.254", True),
        ("224.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 - not to listen on
        ("::1", True),
        ("::", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("ff02::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("fd00::1", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
    ],
)
def test_private_networks_are_not_local_but_this_machine_and_its_link_are(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered with 404"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "answered with 204"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", "answered with 206"),
        (ok(b"x", "Content-Encoding: gzip"), "content encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\nabc", "not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46 rubbish\r\n\r\n", "not HTTP"),
        (b"", "the connection broke"),
    ],
    ids=["404", "empty", "part", "packed", "cut short", "odd length", "rubbish", "silent"],
)
async def test_what_is_no_document_is_refused_in_one_sentence(server: Servers, answer: bytes, why: str) -> None:
    assert why in await refused(server.answers_with("/list", answer))


@pytest_twisted.ensureDeferred
async def test_nobody_there_is_said_so() -> None:
    closed = Servers()
    await closed.port.stopListening()

    assert "takes no connection" in await refused(closed.url + "/list")


@pytest_twisted.ensureDeferred
async def test_over_https_the_certificate_counts() -> None:
    shown = pki.make(subject="CN=localhost", hosts=("localhost",))
    servers = Servers(Contexts(shown))
    servers.answers_with("/list", ok(b"the list"))
    url = f"https://localhost:{servers.port.getHost().port}/list"
    anchors = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(shown.pem)])

    assert "certificate is not trusted" in await refused(url)
    trusting = Fetcher(reactor, BrowserLikePolicyForHTTPS(anchors), allow_local=True)
    assert await trusting.get(url, limit=LIMIT, seconds=20) == b"the list"
    await servers.port.stopListening()


@pytest_twisted.ensureDeferred
async def test_https_is_not_left_for_http(server: Servers) -> None:
    shown = pki.make(subject="CN=localhost", hosts=("localhost",))
    servers = Servers(Contexts(shown))
    servers.answers_with("/list", redirect(server.answers_with("/list", ok(b"the list"))))
    anchors = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(shown.pem)])
    url = f"https://localhost:{servers.port.getHost().port}/list"

    with pytest.raises(FetchError, match="from https to http"):
        await Fetcher(reactor, BrowserLikePolicyForHTTPS(anchors), allow_local=True).get(url, limit=LIMIT, seconds=20)
    assert server.requests == []
    await servers.port.stopListening()


@implementer(IOpenSSLServerConnectionCreator)
class Contexts:
    """The server side of TLS with one certificate."""

    def __init__(self, shown: pki.Issued) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.use_certificate(shown.certificate)
        self._context.use_privatekey(shown.key)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: ARG002, N802, N803
        return SSL.Connection(self._context, None)


async def gone(server: Servers) -> None:
    """Wait until no connection is left."""
    while server.open:
        await deferLater(reactor, 0.01, lambda: None)
