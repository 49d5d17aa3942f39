"""Mutual TLS for one call: our certificate and key from memory, their certificate verified, with its name.

The key is never written anywhere: it goes from the store of this station into OpenSSL's context, which lives as long as the
call. The server must have a certificate that leads to an authority of the operating system, or of the bundle of the profile, and
that is for the host that is called; there is no way around it.
"""

# mypy: disallow-untyped-calls=False
# pyOpenSSL and service-identity give few types.

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final

from OpenSSL import SSL, crypto
from OpenSSL.SSL import X509VerificationCodes as Codes
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.exceptions import CertificateError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from oftp2d.config import TlsVersion
from oftp2d.errors import OperatorError
from oftp2d.renewal.material import Material
from oftp2d.tls import CIPHERS

_VERSIONS: Final = {TlsVersion.V1_2: SSL.TLS1_2_VERSION, TlsVersion.V1_3: SSL.TLS1_3_VERSION}
_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION
_OF_TIME: Final = frozenset({Codes.ERR_CERT_NOT_YET_VALID, Codes.ERR_CERT_HAS_EXPIRED})


def context(identity: Material | None, minimum: TlsVersion, bundle: Path | None) -> SSL.Context:
    """A context with our certificate, and with the authorities that count. Blocks: it reads them.

    Raises:
        OperatorError: the bundle cannot be read, or certificate and key cannot be used for TLS.
    """
    tls = SSL.Context(SSL.TLS_CLIENT_METHOD)
    tls.set_min_proto_version(_VERSIONS[minimum])
    tls.set_options(_OPTIONS)
    tls.set_cipher_list(CIPHERS)
    tls.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if bundle is None:
        tls.set_default_verify_paths()
    else:
        _trust(tls, bundle)
    if identity is not None:
        try:
            tls.use_certificate(identity.certificate)
            for above in identity.chain:
                tls.add_extra_chain_cert(above)
            tls.use_privatekey(identity.key)
            tls.check_privatekey()
        except (SSL.Error, ValueError, TypeError):
            advice = "bring another one with 'oftp2d renew import'"
            raise OperatorError("the certificate in use and its key cannot be used for TLS", advice) from None
    return tls


def _trust(tls: SSL.Context, bundle: Path) -> None:
    try:
        tls.load_verify_locations(str(bundle))
    except SSL.Error:
        advice = "write the path of a PEM file with certificates of authorities into tls.ca_bundle of the profile"
        raise OperatorError(f"no authorities can be read from {bundle}", advice) from None


@implementer(IOpenSSLClientConnectionCreator)
class Peer:
    """The server of one call; afterwards it is known here why its certificate was not taken, and how far TLS came."""

    def __init__(self, tls: SSL.Context, host: str) -> None:
        self._tls = tls
        self._host = host
        self.objection = ""
        """Why the certificate of the server was not taken; empty if it was, or never came."""
        self.complete = False
        """Whether the handshake came to its end: what is sent may have reached the server then."""
        tls.set_verify(SSL.VERIFY_PEER, self._verify)
        tls.set_info_callback(self._informed)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's names
        """A connection that names the host it wants (SNI), where it has a name."""
        connection = SSL.Connection(self._tls, None)
        if not _is_numeric(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection

    def _informed(self, _connection: SSL.Connection, where: int, _result: int) -> None:
        if where & SSL.SSL_CB_HANDSHAKE_DONE:
            self.complete = True

    def _verify(self, _connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if not ok:
            self.objection = self.objection or _in_words(error, depth)
            return False
        if depth == 0:
            self.objection = _misnamed(certificate, self._host)
        return not self.objection


def _in_words(error: int, depth: int) -> str:
    whose = "its certificate" if depth == 0 else "a certificate of its authorities"
    if error in _OF_TIME:
        return f"{whose} is outside its period"
    if error == Codes.ERR_CERT_REVOKED:
        return f"{whose} was revoked"
    if error in {Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT, Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN}:
        return "its certificate leads to an authority that is not trusted here"
    if error in {Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE}:
        return "its certificate was issued by an authority that is not known here"
    return f"{whose} is not acceptable (OpenSSL error {error})"


def _misnamed(certificate: crypto.X509, host: str) -> str:
    """Why a certificate is not one of this host; empty if it is."""
    verify = verify_certificate_ip_address if _is_numeric(host) else verify_certificate_hostname
    try:
        verify(certificate.to_cryptography(), host)
    except VerificationError:
        return f"its certificate is not for {host}"
    except (CertificateError, ValueError):
        return "its certificate names no host that can be compared"
    return ""


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
