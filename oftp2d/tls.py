"""TLS: contexts made from the certificate store, one per call, so that new certificates need no restart.

Offered are TLS 1.2 and 1.3 with forward secrecy, without compression, renegotiation and session tickets. OpenSSL
does the handshake; whether the peer's certificate is acceptable is decided by ``acquaintance``, the same rules as for
certificates that arrive by the exchange. As client that happens inside the handshake. As server we do
not know yet who calls: any certificate is let through the handshake, and ``partners.Gate`` looks at it when the
partner has said who it is.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL, crypto
from OpenSSL.SSL import X509VerificationCodes as Codes
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from oftp2.certs.usages import Usage
from oftp2d.acquaintance import Acquaintance, Objection
from oftp2d.config import TlsVersion
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.holdings import Credential
from oftp2d.ledger import Partner

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!MD5:!PSK:!SRP"

_VERSIONS = {TlsVersion.V1_2: SSL.TLS1_2_VERSION, TlsVersion.V1_3: SSL.TLS1_3_VERSION}
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE

_OF_TIME = frozenset({Codes.ERR_CERT_NOT_YET_VALID, Codes.ERR_CERT_HAS_EXPIRED})
_ALONE = frozenset(
    {
        Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
        Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
    }
)
"""What OpenSSL finds wrong with a certificate that came without any above it."""

Verify = Callable[[SSL.Connection, crypto.X509, int, int, int], bool]


class BarredError(OperatorError):
    """All certificates of ours for TLS are used for nothing, such as because they were revoked."""


@implementer(IOpenSSLServerConnectionCreator)
class Servers:
    """Makes the server side of TLS connections, with our certificate of the moment."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tls: SSL.Context | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a certificate to answer with."""
        return self._tls is not None

    async def refresh(self) -> None:
        """Take up what the certificate store says now. Raises ``OperatorError`` without a certificate for TLS.

        ``BarredError`` where there is one that must not be used: until there is another, no call is answered.
        """
        try:
            credential = await self._context.workers.database(self._credential)
        except BarredError:
            self._tls = None
            raise
        self._tls = _new_context(self._context, credential, lambda *_: True)

    def _credential(self) -> Credential:
        store, now = self._context.certificates, self._context.now()
        stations = self._context.ledger.stations.list()
        main = next((station for station in stations if station.main), None)
        if main and (found := store.own(Usage.TLS_SERVER, station=main.code, now=now)):
            return found
        advice = "make one with 'oftp2d cert generate', or import one"
        considered = store.explain_own(Usage.TLS_SERVER, station=main.code, now=now).considered if main else ()
        if barred := next((item.entry.barred for item in considered if item.entry.barred), None):
            raise BarredError(f"our certificate for TLS is used for nothing: {barred}, so nobody can call", advice)
        raise OperatorError("there is no valid certificate of ours for TLS", advice)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's names
        """A connection with the context of the moment."""
        assert self._tls is not None  # noqa: S101 - listeners look whether it is ready
        return SSL.Connection(self._tls, None)


@implementer(IOpenSSLClientConnectionCreator)
class Client:
    """Makes the client side of one call to one partner; ``objection`` says afterwards why its certificate was not taken."""

    def __init__(self, context: Context, partner: Partner, credential: Credential | None, known: Acquaintance) -> None:
        self._partner = partner
        self._known = known
        self._shown: dict[int, bytes] = {}
        self._judged = False
        self.objection: Objection | None = None
        self._tls = _new_context(context, credential, self._verify)

    @classmethod
    async def to(cls, context: Context, partner: Partner) -> Client:
        """For a call to ``partner``."""

        def read() -> tuple[Credential | None, Acquaintance]:
            now = context.now()
            ours = context.certificates.own(Usage.TLS_CLIENT, station=partner.station, now=now, partner_id=partner.id)
            return ours, Acquaintance.of(context.certificates, partner, now)

        return cls(context, partner, *(await context.workers.database(read)))

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's names
        """A connection that names the host it wants (SNI) where it has a name."""
        connection = SSL.Connection(self._tls, None)
        name = self._partner.server_name or self._partner.host or ""
        if name and not name.replace(".", "").isdigit() and ":" not in name:
            connection.set_tlsext_host_name(name.encode("idna"))
        return connection

    def _verify(self, _connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        # OpenSSL shows the chain from its top to the leaf, and objects to this and that on the way. Our rules decide, not its
        # own; but what it objects to in the moment when we refuse is what the peer gets to hear.
        self._shown[depth] = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if depth or not (ok or error in _OF_TIME or error in _ALONE):
            return True
        if not self._judged:
            self._judged = True
            above = [shown for at, shown in self._shown.items() if at]
            self.objection = self._known.objection(self._shown[0], above, SERVER_AUTH)
        return self.objection is None or (self.objection.of_time and error in _ALONE)


def _new_context(context: Context, credential: Credential | None, verify: Verify) -> SSL.Context:
    tls = SSL.Context(SSL.TLS_METHOD)
    tls.set_min_proto_version(_VERSIONS[context.config.tls.minimum])
    tls.set_options(_OPTIONS)
    tls.set_cipher_list(CIPHERS)
    tls.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    tls.set_mode(SSL.MODE_RELEASE_BUFFERS)
    tls.set_verify(SSL.VERIFY_PEER, verify)
    if credential is not None:
        tls.use_certificate(credential.certificate)
        for above in credential.chain:
            tls.add_extra_chain_cert(above)
        tls.use_privatekey(credential.key)
        tls.check_privatekey()
    return tls
