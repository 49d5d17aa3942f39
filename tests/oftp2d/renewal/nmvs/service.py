"""A small TLS server on loopback that gives the answers a test tells it, and a proxy; and a plugin with a profile for it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from oftp2d.renewal.interface import Case, Held, House
from oftp2d.renewal.material import Material
from oftp2d.renewal.nmvs.account import Account
from oftp2d.renewal.nmvs.plugin import Nmvs
from oftp2d.vault import Secret
from oftp2d.workers import Workers
from tests import pki

NOW = datetime.now(UTC)
PASSWORD = "Pa55&<word>'\""
GIVEN = "geheim&amp;1"
"""A passphrase as it stands in XML."""


@dataclass
class Kept:
    """Secrets as a store has them, and all that was done with them."""

    values: dict[str, str] = field(default_factory=lambda: {"password": PASSWORD, "proxy_password": "pr0xy"})
    changed_at: datetime | None = None
    proposed: str | None = None
    done: list[str] = field(default_factory=list)

    async def get(self, name: str) -> Secret[str]:
        return Secret(self.values[name])

    async def held(self, name: str) -> Held:  # noqa: ARG002
        return Held(changed_at=self.changed_at, proposed_at=NOW if self.proposed else None)

    async def propose(self, name: str, value: Secret[str]) -> None:  # noqa: ARG002
        self.proposed = value.reveal()
        self.done.append("proposed")

    async def settle(self, name: str, *, accepted: bool) -> None:
        self.done.append("accepted" if accepted else "forgotten")
        if accepted:
            assert self.proposed is not None
            self.values[name] = self.proposed
        self.proposed = None


class Served(Protocol):
    """One connection: reads a request, and answers as it is told."""

    factory: Service

    def connectionMade(self) -> None:  # noqa: N802
        self.request = b""
        self.factory.open.append(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.request += data
        head, complete, body = self.request.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if complete and len(body) >= length:
            self.factory.requests.append(self.request)
            self.request = b""
            self.factory.answer(self)

    def connectionLost(self, _reason: Any = None) -> None:  # noqa: N802
        self.factory.open.remove(self)

    def say(self, octets: bytes) -> None:
        self.transport.write(octets)
        self.transport.loseConnection()


@implementer(IOpenSSLServerConnectionCreator)
class _Tls:
    def __init__(self, service: Service) -> None:
        self._service = service

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: ARG002, N802, N803
        service = self._service
        tls = SSL.Context(SSL.TLS_SERVER_METHOD)
        tls.set_max_proto_version(service.newest)
        tls.use_certificate(service.identity.certificate)
        tls.use_privatekey(service.identity.key)
        for above in service.identity.chain:
            tls.add_extra_chain_cert(above.certificate)
        if service.clients is not None:
            tls.get_cert_store().add_cert(crypto.X509.from_cryptography(service.clients))
            tls.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, service.saw)
        return SSL.Connection(tls, None)


class Service(Factory):
    """A TLS server; ``clients`` is the authority whose certificates it demands."""

    protocol = Served
    noisy = False

    def __init__(self, identity: pki.Issued | None = None, clients: Any = None) -> None:
        self.identity = identity or server_identity()
        self.clients = clients
        self.newest = SSL.TLS1_3_VERSION
        self.requests: list[bytes] = []
        self.shown: list[x509.Certificate] = []
        self.open: list[Served] = []
        self.answer: Callable[[Served], None] = lambda served: served.say(http(envelope("NMVS_SUCCESS")))
        self.port = reactor.listenTCP(0, TLSMemoryBIOFactory(_Tls(self), False, self), interface="127.0.0.1")

    @property
    def number(self) -> int:
        return int(self.port.getHost().port)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.number}/service"

    def answers(self, octets: bytes) -> None:
        self.answer = lambda served: served.say(octets)

    def saw(self, _connection: Any, certificate: Any, _error: int, depth: int, ok: int) -> bool:
        if depth == 0 and ok:
            self.shown.append(certificate.to_cryptography())
        return bool(ok)

    async def stop(self) -> None:
        if self.port.connected:
            await self.port.stopListening()
        for each in list(self.open):
            each.transport.abortConnection()


class Proxied(Protocol):
    """One connection at a proxy that takes CONNECT."""

    factory: Proxy

    def connectionMade(self) -> None:  # noqa: N802
        self.head = b""
        self.onward: Any = None
        self.factory.open.append(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.onward is not None:
            self.onward.write(data)
            return
        self.head += data
        if not self.head.endswith(b"\r\n\r\n"):
            return
        self.factory.heads.append(self.head)
        if self.factory.refusal:
            self.transport.write(self.factory.refusal)
            return
        near = self

        class Behind(Protocol):
            def connectionMade(self) -> None:  # noqa: N802
                near.onward = self.transport
                near.transport.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")

            def dataReceived(self, data: bytes) -> None:  # noqa: N802
                near.transport.write(data)

            def connectionLost(self, _reason: Any = None) -> None:  # noqa: N802
                near.transport.loseConnection()

        onward = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.factory.target), Behind())
        onward.addErrback(lambda _: self.transport.loseConnection())

    def connectionLost(self, _reason: Any = None) -> None:  # noqa: N802
        self.factory.open.remove(self)
        if self.onward is not None:
            self.onward.loseConnection()


class Proxy(Factory):
    """A proxy that leads everywhere to one port of this machine."""

    protocol = Proxied
    noisy = False

    def __init__(self, target: int, refusal: bytes = b"") -> None:
        self.target = target
        self.refusal = refusal
        self.heads: list[bytes] = []
        self.open: list[Proxied] = []
        self.port = reactor.listenTCP(0, self, interface="127.0.0.1")

    async def stop(self) -> None:
        await self.port.stopListening()
        for each in list(self.open):
            each.transport.abortConnection()


# --- what is said ---------------------------------------------------------------------------------------------------


def envelope(
    code: str | None,
    *,
    cert: str = "",
    desc: str = "",
    version: str = "5.0",
    response: str = "G615Response",
    header: str = "",
    trxid: str = "0123456789ABCDEF0123456789ABCDEF",
) -> bytes:
    """An answer of the service, with prefixes of its own."""
    returned = f'<a:ReturnCode a:code="{code}" a:desc="{desc}"/>' if code is not None else ""
    return (
        '<S:Envelope xmlns:S="http://www.w3.org/2003/05/soap-envelope"><S:Body>'
        f'<b:{response} xmlns:b="urn:wsdltypes.nmvs.eu:v{version}" xmlns:a="urn:types.nmvs.eu:v{version}">'
        f"<a:Header><a:Transaction><a:NMVSTrxId>{trxid}</a:NMVSTrxId></a:Transaction>{header}</a:Header>"
        f"<a:Body>{cert}{returned}</a:Body></b:{response}></S:Body></S:Envelope>"
    ).encode()


def cert(content: bytes, passphrase: str | None = GIVEN) -> str:
    """The element of a certificate; the passphrase as it stands in XML."""
    given = "" if passphrase is None else f' a:passphrase="{passphrase}"'
    return f'<a:Cert a:name="new.p12"{given}>{base64.encodebytes(content).decode()}</a:Cert>'


def http(
    body: bytes, status: str = "200 OK", kind: str = "application/soap+xml; charset=utf-8", *headers: str
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# --- certificates ---------------------------------------------------------------------------------------------------


def server_identity(**changed: Any) -> pki.Issued:
    return pki.make(**{"subject": "CN=localhost", "issuer": pki.issuing("A"), "hosts": ("localhost",), **changed})


def client_identity(hierarchy: str = "B", **changed: Any) -> pki.Issued:
    return pki.make(**{"subject": "CN=PHARMACY-1,O=Test", "issuer": pki.issuing(hierarchy), "hosts": (), **changed})


def material(issued: pki.Issued) -> Material:
    return Material(
        certificate=issued.certificate, key=issued.key, chain=tuple(each.certificate for each in issued.chain)
    )


# --- the plugin -----------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A home folder with a profile, and a plugin in it."""

    home: Path
    workers: Workers
    secrets: Kept = field(default_factory=Kept)
    current: Material | None = None
    account: dict[str, Any] = field(default_factory=dict)

    def profile(self, text: str) -> None:
        folder = self.home / "renewal" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "here.toml").write_text(text)
        (self.home / "authorities.pem").write_bytes(pki.root("A").pem)

    @property
    def plugin(self) -> Nmvs:
        return Nmvs(House(reactor=reactor, workers=self.workers, home=self.home))

    @property
    def case(self) -> Case:
        given = {"profile": "here", "client_login_id": "PHARMACY-1", "user_id": "USER0001", "password": "store"}
        options = Account(**{**given, **self.account})
        return Case(
            name="pharmacy-1",
            options=options,
            terms=Nmvs.terms,
            demands=Nmvs.demands,
            current=self.current,
            secrets=self.secrets,
        )


USUAL = "read_seconds = 20\ntotal_seconds = 30"


def trusting(
    url: str, more: str = "", *, tan: str = "", probe: str = "", password: str = "", limits: str = USUAL
) -> str:
    """A profile that leads to a service of a test, with the test's authority; ``more`` begins in the section of TLS."""
    return (
        f'description = "of a test"\n[renew]\nurl = "{url}"\n[tan]\nurl = "{tan}"\n[probe]\nurl = "{probe}"\n'
        f'[password]\nurl = "{password}"\n[limits]\n{limits}\n[tls]\nca_bundle = "authorities.pem"\n{more}'
    )
