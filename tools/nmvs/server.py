"""The listeners: TLS by the virtual clock, HTTP, and the answers that no honest server gives (nmvs.md 8.3 points 1 and 8)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cryptography.x509 import Certificate
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IPullProducer
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from . import messages
from .authority import Authorities
from .clock import VirtualClock
from .faults import Fault, Faults, Planned
from .habits import Habits, Refusal
from .issuing import Issuing
from .processes import Place, Processes

MAX_REQUEST: Final = 1_048_576
MAX_OVERSIZE: Final = 256 * 1_048_576
"""Octets after which even an oversize answer ends."""
_ALERT_SENT = SSL.SSL_CB_ALERT | SSL.SSL_CB_WRITE
_FATAL = 2


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that came, without its secrets."""

    at: datetime
    place: str
    path: str
    content_type: str
    soap_action: str | None
    wrapper: str
    process: str
    login: str
    user: str
    transaction: str
    tan: str
    """``absent``, ``empty`` or ``there``."""
    certificate: str
    """The serial number of the client's, in hexadecimal; empty without one."""
    code: str
    """The return code of the answer; empty where there was none."""
    status: int
    fault: str
    text: str = field(repr=False)


class Diary:
    """What happened, for whoever asks."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.seen: deque[Seen] = deque(maxlen=10_000)

    def refused(self, why: str) -> None:
        """A TLS handshake was refused."""
        self.counters["handshakes refused"] += 1
        self.counters[f"handshakes refused: {why}"] += 1


@implementer(IOpenSSLServerConnectionCreator)
class Handshakes:
    """A new context for each connection, because the clock, the authorities and the habits may have changed."""

    def __init__(
        self,
        authorities: Authorities,
        clock: VirtualClock,
        diary: Diary,
        *,
        wants_client: Callable[[], Refusal | None],
    ) -> None:
        self._authorities = authorities
        self._clock = clock
        self._diary = diary
        self._wants_client = wants_client

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002, N802
        """One connection."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        server = self._authorities.server
        context.use_privatekey(server.key)
        context.use_certificate(server.certificate)
        refusal = self._wants_client()
        if refusal is not None:
            self._want(context, refusal)
        context.set_info_callback(self._watch())
        return SSL.Connection(context, None)

    def _want(self, context: SSL.Context, refusal: Refusal) -> None:
        store = context.get_cert_store()
        assert store is not None
        for root in self._authorities.roots:
            store.add_cert(_as_openssl(root.certificate))
        now = self._clock.now()
        store.set_time(now)
        if self._authorities.revoked:
            for each in self._authorities.lists(now):
                store.add_crl(each)
            store.set_flags(X509StoreFlags.CRL_CHECK)
        if refusal is Refusal.HANDSHAKE:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        else:
            # What came is judged by whoever answers the request.
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)

    def _watch(self) -> Callable[[SSL.Connection, int, int], None]:
        """Notes the alert with which a handshake ends; later ones are about connections that were cut."""
        done = False

        def told(_: SSL.Connection, where: int, value: int) -> None:
            nonlocal done
            done = done or bool(where & SSL.SSL_CB_HANDSHAKE_DONE)
            if not done and where & _ALERT_SENT == _ALERT_SENT and value >> 8 == _FATAL:
                self._diary.refused(_ALERTS.get(value & 255, f"alert {value & 255}"))

        return told


_ALERTS: Final = {
    40: "handshake failure",
    42: "bad certificate",
    44: "revoked",
    45: "expired",
    48: "unknown authority",
    116: "none",
}


class Service(Resource):
    """One path of one listener."""

    isLeaf = True

    def __init__(
        self,
        place: Place,
        *,
        processes: Processes,
        issuing: Issuing,
        clock: VirtualClock,
        habits: Callable[[], Habits],
        faults: Faults,
        diary: Diary,
    ) -> None:
        super().__init__()
        self._place = place
        self._processes = processes
        self._issuing = issuing
        self._clock = clock
        self._habits = habits
        self._faults = faults
        self._diary = diary

    def render(self, request: HttpRequest) -> Any:
        """Any method; only POST is understood."""
        content = request.content.read(MAX_REQUEST + 1)
        if request.method != b"POST" or len(content) > MAX_REQUEST:
            request.setResponseCode(405 if request.method != b"POST" else 413)
            return b""
        call = _Call(http=request, content=content, certificate=_peer(request))
        read = messages.Request()
        if why := self._objection(call.certificate):
            self._diary.counters[f"forbidden: {why}"] += 1
            self._note(call, read, "", 403, None)
            request.setResponseCode(403)
            request.setHeader("Content-Type", "text/html")
            return b"<html><body><h1>403 Forbidden</h1></body></html>"
        return self._answer(call, read)

    def _objection(self, certificate: Certificate | None) -> str:
        if self._place is Place.TAN:
            return ""
        why = self._issuing.authorities.objection(certificate, self._clock.now())
        return "" if why == "expired" and self._habits().refusal is Refusal.PROCESS else why

    def _answer(self, call: _Call, read: messages.Request) -> Any:
        habits, now = self._habits(), self._clock.now()
        serial = None if call.certificate is None else call.certificate.serial_number
        if serial is not None:
            self._processes.used(serial)
        violation = None
        try:
            messages.read(call.content, self._processes.offered(self._place), habits, read)
        except messages.Violation as found:
            violation = found
        planned = self._faults.next(read.process)
        if planned is not None and planned.fault in BEFORE:
            if read.password:
                # It was sent, and a real server would have compared it.
                self._processes.authentications += 1
            return self._misbehave(call, read, planned)
        if planned is not None and planned.fault is Fault.CODE:
            self._processes.authentications += 1
            outcome = messages.Outcome(code=planned.code, text="As asked for")
        else:
            outcome = self._outcome(read, violation, serial, planned)
        octets = messages.write(read, outcome, habits, now)
        status = 200 if outcome.code == "NMVS_SUCCESS" else habits.error_status
        self._note(call, read, outcome.code if outcome.codes else "", status, planned)
        self._begin(call, status)
        if planned is not None and planned.fault is Fault.CUT_OFF:
            return self._cut_off(call, octets)
        return octets

    def _outcome(
        self, read: messages.Request, violation: messages.Violation | None, serial: int | None, planned: Planned | None
    ) -> messages.Outcome:
        try:
            if violation is not None:
                raise violation
            return self._processes.answer(read, self._place, serial, planned)
        except messages.Violation as found:
            return messages.Outcome(code=found.code, text=str(found))

    def _misbehave(self, call: _Call, read: messages.Request, planned: Planned) -> Any:
        """Answers that have nothing to do with the request."""
        fault, habits = planned.fault, self._habits()
        status = {Fault.HTTP_503: 503, Fault.HTTP_500: 500, Fault.REDIRECT: 307, Fault.SOAP_FAULT: 500}.get(fault, 200)
        self._note(call, read, "", 0 if fault in {Fault.HANG, Fault.CLOSE} else status, planned)
        match fault:
            case Fault.HANG:
                return NOT_DONE_YET
            case Fault.CLOSE:
                call.http.channel.loseConnection()
                return NOT_DONE_YET
            case Fault.OVERSIZE:
                self._begin(call, status)
                call.http.registerProducer(_Oversize(call.http), streaming=False)
                return NOT_DONE_YET
            case Fault.REDIRECT:
                call.http.setHeader("Location", call.http.path + b"?again")
                # The second request has to be answered well, or nobody would see that it was followed.
        self._begin(call, status, "text/html" if fault in {Fault.HTTP_503, Fault.HTTP_500, Fault.HTML} else "")
        return _content(fault, messages.fault(habits, "The service is out of order"))

    def _cut_off(self, call: _Call, octets: bytes) -> Any:
        call.http.setHeader("Content-Length", str(len(octets)))
        call.http.write(octets[: len(octets) // 2])
        call.http.channel.loseConnection()
        return NOT_DONE_YET

    def _begin(self, call: _Call, status: int, kind: str = "") -> None:
        call.http.setResponseCode(status)
        usual = "application/soap+xml; charset=utf-8" if self._habits().soap == "1.2" else "text/xml; charset=utf-8"
        call.http.setHeader("Content-Type", kind or usual)

    def _note(self, call: _Call, read: messages.Request, code: str, status: int, planned: Planned | None) -> None:
        http, certificate = call.http, call.certificate
        self._diary.counters["requests"] += 1
        self._diary.counters[f"requests: {self._place}"] += 1
        if read.process:
            self._diary.counters[f"requests: {read.process}"] += 1
        if code:
            self._diary.counters[f"answers: {code}"] += 1
        self._diary.seen.append(
            Seen(
                at=self._clock.now(),
                place=self._place,
                path=http.uri.decode("ascii", "replace"),
                content_type=http.getHeader("Content-Type") or "",
                soap_action=http.getHeader("SOAPAction"),
                wrapper=read.wrapper,
                process=read.process,
                login=read.login,
                user=read.user,
                transaction=read.transaction,
                tan="absent" if read.tan is None else "there" if read.tan else "empty",
                certificate="" if certificate is None else f"{certificate.serial_number:x}",
                code=code,
                status=status,
                fault="" if planned is None else planned.fault,
                text=messages.masked(call.content, read.secrets),
            )
        )


BEFORE: Final = frozenset(list(Fault)[: list(Fault).index(Fault.CODE)])
"""The faults that answer without asking anybody."""


@dataclass(kw_only=True)
class _Call:
    http: Any
    content: bytes = field(repr=False)
    certificate: Certificate | None


@implementer(IPullProducer)
class _Oversize:
    """An answer that does not end, or hardly."""

    PIECE: Final = b"<!-- " + b"x" * 65_000 + b" -->"

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._left = MAX_OVERSIZE
        request.write(b"<?xml version='1.0'?>")

    def resumeProducing(self) -> None:  # noqa: N802
        """The next piece."""
        self._left -= len(self.PIECE)
        if self._left < 0:
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._request.write(self.PIECE)

    def stopProducing(self) -> None:  # noqa: N802
        """The client left."""
        self._left = 0


def _content(fault: Fault, soap_fault: bytes) -> bytes:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    deep = 50_000
    return {
        Fault.HTTP_503: b"<html><body>Service Unavailable</body></html>",
        Fault.HTTP_500: b"<html><body>Internal Server Error</body></html>",
        Fault.HTML: b"<!DOCTYPE html><html><body><p>Planned maintenance<br></body></html>",
        Fault.NOT_XML: b"\x00\x01 this is < no XML \xff",
        Fault.SOAP_FAULT: soap_fault,
        Fault.DTD: b'<!DOCTYPE Envelope SYSTEM "http://127.0.0.1:9/envelope.dtd">' + _without_declaration(soap_fault),
        Fault.ENTITY_BOMB: f'<!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]><x>&a11;</x>'.encode(),
        Fault.EXTERNAL_ENTITY: b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        Fault.DEEP: b"<x>" * deep + b"</x>" * deep,
        Fault.OTHER_ELEMENT: soap_fault.replace(b"Fault", b"G110Response"),
    }.get(fault, b"")


def _without_declaration(octets: bytes) -> bytes:
    return octets.partition(b"?>")[2]


def _peer(request: HttpRequest) -> Certificate | None:
    found = request.channel.transport.getPeerCertificate()
    return None if found is None else found.to_cryptography()


def _as_openssl(certificate: Certificate) -> X509:
    return X509.from_cryptography(certificate)
