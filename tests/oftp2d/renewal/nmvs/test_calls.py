"""Calls over real TLS on loopback: who is trusted, what is shown, and servers that do all they can not to answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from oftp2d.renewal.interface import Answer, Refusal, Verdict
from oftp2d.renewal.nmvs.reply import Reply
from tests import pki
from tests.oftp2d.renewal.nmvs.service import (
    NOW,
    PASSWORD,
    USUAL,
    Proxy,
    Served,
    Service,
    Site,
    client_identity,
    envelope,
    http,
    material,
    server_identity,
    trusting,
)

QUICK = "connect_seconds = 1\nread_seconds = 1\ntotal_seconds = 2"
LOST = "the request was sent, and its answer is lost"


async def called(site: Site, url: str, more: str = "", limits: str = USUAL) -> Answer | Refusal:
    site.profile(trusting(url, more, limits=limits))
    return await site.plugin.fetch(site.case, NOW)


async def failed(site: Site, url: str, more: str = "", limits: str = USUAL) -> Refusal:
    found = await called(site, url, more, limits)
    assert isinstance(found, Refusal), found
    assert PASSWORD not in repr(found)
    assert "PRIVATE KEY" not in repr(found)
    assert len(found.transaction) == 32
    return found


def stopped(service: Service | Proxy) -> None:
    pytest_twisted.blockon(Deferred.fromCoroutine(service.stop()))


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes services with other certificates."""
    made: list[Service | Proxy] = []

    def make(service: Service | Proxy) -> Any:
        made.append(service)
        return service

    yield make
    for each in made:
        stopped(each)


# --- what goes out --------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_request_is_a_post_that_remembers_and_accepts_nothing(site: Site, service: Service) -> None:
    service.answers(http(envelope("NMVS_FE_PKI_07"), "200 OK", "text/xml", "Set-Cookie: a=b"))
    for _ in range(2):
        assert isinstance(await called(site, service.url), Answer)
    for request in service.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /service HTTP/1.1"
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        assert fields[b"content-type"].startswith(b'application/soap+xml; charset=utf-8; action="urn:G615')
        assert fields[b"accept-encoding"] == b"identity"
        assert fields[b"connection"] == b"close"
        assert not {b"cookie", b"authorization", b"soapaction"} & set(fields)
        assert b"Pa55&amp;&lt;word&gt;'\"</types:Password>" in body
    assert len({request.partition(b"ClientTrxId>")[2].partition(b"<")[0] for request in service.requests}) == 2


@pytest_twisted.ensureDeferred
async def test_soap_1_1_has_its_action_in_a_header(site: Site, service: Service) -> None:
    await called(site, service.url, '[soap]\nversion = "1.1"\ncontent_type = "text/xml"\n')
    head, _, body = service.requests[0].partition(b"\r\n\r\n")
    assert b'SOAPAction: "urn:G615DownloadClientCertificate"'.lower() in head.lower()
    assert b"http://schemas.xmlsoap.org/soap/envelope/" in body


@pytest_twisted.ensureDeferred
async def test_the_key_is_shown_and_never_written(site: Site, service: Service) -> None:
    await called(site, service.url)
    assert site.current is not None
    assert service.shown == [site.current.certificate]
    written = {path.name for path in site.home.rglob("*") if path.is_file()}
    assert written == {"here.toml", "authorities.pem"}


# --- who is trusted ---------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_server_of_an_authority_that_nobody_knows_gets_nothing(site: Site, other: Any) -> None:
    service = other(Service(server_identity(issuer=pki.issuing("outside"))))
    found = await failed(site, service.url)
    assert (found.verdict, "localhost is not trusted: its certificate" in found.text) == (Verdict.FATAL, True)
    assert "ca_bundle" in found.advice
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_without_a_bundle_the_authorities_of_the_system_count(site: Site, service: Service) -> None:
    site.profile(f'[renew]\nurl = "{service.url}"\n')
    found = await site.plugin.fetch(site.case, NOW)
    assert isinstance(found, Refusal)
    assert "is not trusted" in found.text
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_server_with_the_certificate_of_another_host_gets_nothing(site: Site, other: Any) -> None:
    service = other(Service(server_identity(hosts=("elsewhere.test",))))
    found = await failed(site, service.url)
    assert (found.verdict, found.text) == (
        Verdict.FATAL,
        "localhost is not trusted: its certificate is not for localhost",
    )
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_number_is_no_name_of_a_certificate(site: Site, service: Service) -> None:
    found = await failed(site, service.url.replace("localhost", "127.0.0.1"))
    assert found.text.startswith("127.0.0.1 is not trusted: its certificate")
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_server_whose_certificate_has_ended_gets_nothing(site: Site, other: Any) -> None:
    service = other(Service(server_identity(days=(-20, -10))))
    assert "its certificate is outside its period" in (await failed(site, service.url)).text
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_server_that_speaks_only_older_tls_gets_nothing(site: Site, service: Service) -> None:
    service.newest = SSL.TLS1_2_VERSION
    found = await failed(site, service.url, 'minimum = "1.3"\n')
    assert found.text.startswith("TLS with localhost failed")
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_bundle_that_cannot_be_read_is_named(site: Site, service: Service) -> None:
    site.profile(trusting(service.url))
    (site.home / "authorities.pem").write_text("nothing")
    with pytest.raises(Exception, match=r"no authorities can be read from .*authorities\.pem"):
        await site.plugin.fetch(site.case, NOW)


# --- who we are -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(
    ("identity", "why"),
    [
        (client_identity("outside"), "authority of our certificate"),
        (client_identity(days=(-20, -10)), "our certificate is outside its period"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_server_that_refuses_our_certificate_is_understood(
    site: Site, service: Service, identity: pki.Issued, why: str, newest: int
) -> None:
    service.newest = newest
    site.profile(trusting(service.url))
    site.current = material(identity)
    # The server's clock is the right one: ours believes that the certificate is valid still.
    found = await site.plugin.fetch(site.case, identity.certificate.not_valid_before_utc)
    assert isinstance(found, Refusal)
    assert found.verdict is Verdict.FATAL
    assert found.text.startswith("localhost refused us: ")
    assert why in found.text
    assert LOST not in found.text
    assert "renew run pharmacy-1 --tan" in found.advice
    assert not service.requests


# --- the network --------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_port_where_nobody_listens_is_tried_again(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await failed(site, f"https://127.0.0.1:{port}/")
    assert (found.verdict, found.text) == (Verdict.RETRY, "127.0.0.1 refused the connection")


@pytest_twisted.ensureDeferred
async def test_a_host_that_is_not_known_is_tried_again(site: Site) -> None:
    site.profile("verified = true\n" + trusting("https://nowhere.invalid:8458/"))
    found = await site.plugin.fetch(site.case, NOW)
    assert isinstance(found, Refusal)
    assert (found.verdict, found.text) == (Verdict.RETRY, "the host nowhere.invalid is not known")


class Mute(Protocol):
    """Takes a connection, and says what it is told to, which is no TLS."""

    said = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002, N802
        if self.said:
            self.transport.write(self.said)
            self.transport.loseConnection()


@pytest.fixture(params=[b"", b"HTTP/1.0 400 Bad Request\r\n\r\n"], ids=["nothing", "plain HTTP"])
def mute(request: pytest.FixtureRequest) -> Iterator[int]:
    factory = Factory.forProtocol(type("Said", (Mute,), {"said": request.param}))
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    yield port.getHost().port
    pytest_twisted.blockon(port.stopListening())


@pytest_twisted.ensureDeferred
async def test_what_does_not_speak_tls_is_tried_again(site: Site, mute: int) -> None:
    found = await failed(site, f"https://localhost:{mute}/", limits=QUICK)
    assert found.verdict is Verdict.RETRY
    assert "said nothing" in found.text or "does not speak TLS" in found.text
    assert LOST not in found.text


# --- what comes back ----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_server_that_never_answers_is_left(site: Site, service: Service) -> None:
    service.answer = lambda _: None
    found = await failed(site, service.url, limits=QUICK)
    assert (found.verdict, found.text) == (Verdict.RETRY, f"localhost said nothing for 1 seconds; {LOST}")


@pytest_twisted.ensureDeferred
async def test_a_server_that_answers_octet_by_octet_is_left_at_last(site: Site, service: Service) -> None:
    def drip(served: Served) -> None:
        if served in service.open:
            served.transport.write(b"H" if not served.request else b"x")
            served.request = b"begun"
            reactor.callLater(0.2, drip, served)

    def begin(served: Served) -> None:
        served.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        served.request = b"begun"
        drip(served)

    service.answer = begin
    found = await failed(site, service.url, limits=QUICK)
    assert (found.verdict, found.text) == (Verdict.RETRY, f"localhost did not answer within 2 seconds; {LOST}")


@pytest.mark.parametrize("whole", [http(b"x" * 300)[:-100], b"HTTP/1.1 200 OK\r\nContent-", b"", b"nonsense\r\n\r\n"])
@pytest_twisted.ensureDeferred
async def test_an_answer_that_breaks_off_is_lost(site: Site, service: Service, whole: bytes) -> None:
    service.answers(whole)
    found = await failed(site, service.url)
    assert found.verdict is Verdict.RETRY
    assert LOST in found.text


@pytest_twisted.ensureDeferred
async def test_a_chunked_answer_that_breaks_off_is_lost(site: Site, service: Service) -> None:
    service.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert LOST in (await failed(site, service.url)).text


TINY = "max_octets = 2000"


@pytest.mark.parametrize(
    "octets",
    [
        http(b"x" * 2001),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\n" + b"X-Junk: x\r\n" * 20_000,
    ],
    ids=["told", "until the end", "in chunks", "headers"],
)
@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_too_large_is_not_read_to_its_end(site: Site, service: Service, octets: bytes) -> None:
    service.answer = lambda served: served.transport.write(octets)
    found = await failed(site, service.url, limits=TINY)
    assert (found.verdict, "more than the 2000 octets" in found.text) == (Verdict.FATAL, True)
    assert "limits.max_octets" in found.advice


@pytest_twisted.ensureDeferred
async def test_an_answer_that_never_ends_is_cut(site: Site, service: Service) -> None:
    def pour(served: Served) -> None:
        if served in service.open:
            served.transport.write(b"x" * 10_000)
            reactor.callLater(0, pour, served)

    def begin(served: Served) -> None:
        served.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        pour(served)

    service.answer = begin
    assert "more than the 2000 octets" in (await failed(site, service.url, limits=TINY)).text
    while service.open:
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_unfolds_in_memory_is_refused(site: Site, service: Service) -> None:
    service.answers(http(b"\x1f\x8b\x08\x00", "200 OK", "text/xml", "Content-Encoding: gzip"))
    found = await failed(site, service.url)
    assert (found.verdict, "content encoding" in found.text) == (Verdict.FATAL, True)


@pytest_twisted.ensureDeferred
async def test_nobody_is_followed_elsewhere(site: Site, service: Service, other: Any) -> None:
    elsewhere = other(Service())
    service.answers(http(b"", "302 Found", "text/plain", f"Location: {elsewhere.url}"))
    answer = await called(site, service.url)
    assert isinstance(answer, Answer)
    assert Reply.of(answer.content.reveal()).status == 302
    assert not elsewhere.requests


# --- through a proxy ----------------------------------------------------------------------------------------------------


def through(proxy: Proxy) -> str:
    return f'proxy = "127.0.0.1:{proxy.port.getHost().port}"\n'


@pytest_twisted.ensureDeferred
async def test_a_proxy_leads_to_the_server_and_sees_nothing_of_it(site: Site, service: Service, other: Any) -> None:
    proxy = other(Proxy(service.number))
    assert isinstance(await called(site, service.url, through(proxy)), Answer)
    assert proxy.heads == [
        f"CONNECT localhost:{service.number} HTTP/1.1\r\nHost: localhost:{service.number}\r\n\r\n".encode()
    ]
    assert site.current is not None
    assert service.shown == [site.current.certificate]


@pytest_twisted.ensureDeferred
async def test_a_proxy_gets_the_login_that_is_meant_for_it(site: Site, service: Service, other: Any) -> None:
    proxy = other(Proxy(service.number))
    site.account = {"proxy_user": "edi", "proxy_password": "store"}
    assert isinstance(await called(site, service.url, through(proxy)), Answer)
    assert b"\r\nProxy-Authorization: Basic ZWRpOnByMHh5\r\n" in proxy.heads[0]
    assert b"ZWRpOnByMHh5" not in service.requests[0]


@pytest_twisted.ensureDeferred
async def test_the_server_behind_a_proxy_is_verified_all_the_same(site: Site, other: Any) -> None:
    service = other(Service(server_identity(hosts=("elsewhere.test",))))
    proxy = other(Proxy(service.number))
    assert "its certificate is not for localhost" in (await failed(site, service.url, through(proxy))).text
    assert not service.requests


@pytest.mark.parametrize(
    ("refusal", "verdict", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Verdict.FATAL, "the proxy wants a login"),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            Verdict.FATAL,
            "does not lead to localhost (it answers 403)",
        ),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", Verdict.RETRY, "does not lead to localhost (it answers 502)"),
        (b"SSH-2.0-OpenSSH_9.0 and more of it\r\n", Verdict.FATAL, "does not answer as one"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03", Verdict.FATAL, "does not answer as one"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4000, Verdict.FATAL, "does not answer as one"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_proxy_that_does_not_lead_on_is_named(
    site: Site, other: Any, refusal: bytes, verdict: Verdict, text: str
) -> None:
    proxy = other(Proxy(1, refusal))
    found = await failed(site, "https://localhost:1/", through(proxy))
    assert (found.verdict, text in found.text) == (verdict, True)
    assert LOST not in found.text
    while proxy.open:
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_a_proxy_that_says_nothing_is_left(site: Site, other: Any) -> None:
    proxy = other(Proxy(1, b"H"))
    found = await failed(site, "https://localhost:1/", through(proxy), limits=QUICK)
    assert (found.verdict, found.text) == (Verdict.RETRY, "localhost said nothing for 1 seconds")
    while proxy.open:
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_a_proxy_where_nobody_listens_is_tried_again(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await failed(site, "https://localhost:1/", f'proxy = "127.0.0.1:{port}"\n')
    assert (found.verdict, "refused the connection" in found.text) == (Verdict.RETRY, True)
