"""Why TLS failed, in words, and what to do: the errors of OpenSSL and the alerts of a peer (RFC 8446 section 6.2).

OpenSSL tells in one row what it found wrong itself and what the peer said: an alert has the word in it. An alert names hardly
ever the whole reason, and the log of the peer does; so what is advised is often to ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost

from oftp2.values import Role

_ALERT = re.compile(r"(?:\balert |^tlsv1 (?!alert ))(?P<name>.+)$")


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong, and what to do about it."""

    what: str
    advice: str

    def __str__(self) -> str:
        return f"TLS failed: {self.what}; {self.advice}"


_VERSION = "TLS 1.2 and 1.3 are spoken here, or 1.3 alone where oftp2d.toml says [tls] minimum"
_CIPHERS = "suites with forward secrecy (ECDHE with AES-GCM, AES or ChaCha20) are needed"
_KNOW_US = (
    "give the partner the certificate that 'oftp2d cert list' shows for TLS, or that of its authority; if it has them, its log"
    " says what is wrong"
)
_RENEW = "see 'oftp2d cert list', and bring a valid one with 'oftp2d cert import'"
_ASK = "ask the partner what its log says of this call"
_NOT_TLS: Final = {
    Role.INITIATOR: Failed(
        "what answers there does not speak TLS",
        "call the partner's TLS port, often 6619, or agree on plain TCP with 'oftp2d partner change --transport tcp'",
    ),
    Role.RESPONDER: Failed(
        "what the caller sent is no TLS",
        "plain OFTP has a port of its own ([[listeners]] with transport tcp); if it is no partner, it is a scanner",
    ),
}
_SILENT: Final = {
    Role.INITIATOR: Failed(
        "the peer broke off in the middle of the handshake without a word",
        "it may want a certificate of ours that it knows, or a firewall is between; " + _ASK,
    ),
    Role.RESPONDER: Failed(
        "the peer broke off in the middle of the handshake without a word",
        "it may not trust our certificate, or it is a scanner; " + _ASK,
    ),
}

_ALERTS: Final[Mapping[str, Failed]] = {
    "handshake failure": Failed(
        "the peer finds no way that both sides can go: no common cipher suite, or it wants a certificate that we did not show",
        f"{_CIPHERS}; if the partner demands a certificate, have one with the usage tls_client: 'oftp2d cert list'",
    ),
    "insufficient security": Failed("the peer wants stronger cipher suites than we have in common", _CIPHERS),
    "protocol version": Failed("the peer takes none of the TLS versions that are offered here", _VERSION),
    "inappropriate fallback": Failed("the peer suspects that somebody lowers the TLS version on the way", _ASK),
    "unknown ca": Failed(
        "the peer does not trust our certificate: it does not know its authority, or something else speaks against it",
        _KNOW_US,
    ),
    "bad certificate": Failed("the peer refuses our certificate", _KNOW_US),
    "unsupported certificate": Failed(
        "the peer can't use our certificate, by its kind or by the purposes written in it",
        "it needs the key usages digitalSignature and keyEncipherment, and serverAuth and clientAuth",
    ),
    "certificate revoked": Failed("the peer says that our certificate was revoked", _RENEW),
    "certificate expired": Failed("the peer says that our certificate is outside its period", _RENEW),
    "certificate unknown": Failed("the peer refuses our certificate", _KNOW_US),
    "certificate required": Failed(
        "the peer demands a certificate, and none was shown",
        "have one with the usage tls_client: 'oftp2d cert list'",
    ),
    "no certificate": Failed(
        "the peer has no certificate to show", "a partner that is to show one has to be given one"
    ),
    "access denied": Failed("the peer knows our certificate and does not let us in", _ASK),
    "unrecognized name": Failed(
        "the peer does not know the host name that was asked for",
        "give the right one with 'oftp2d partner change --server-name'",
    ),
    "decrypt error": Failed(
        "the peer could not verify a signature of ours", "key and certificate may not fit; " + _ASK
    ),
    "internal error": Failed(
        "the peer broke off for a reason of its own, which may be that it does not take our certificate",
        _ASK,
    ),
    "user canceled": Failed("the peer was stopped in the middle of the handshake", "try again"),
    "user cancelled": Failed("the peer was stopped in the middle of the handshake", "try again"),
    "no renegotiation": Failed("the peer wanted to negotiate anew in the session, which is not done", _ASK),
}
"""What a peer says, by OpenSSL's name of the alert."""

_FOUND: Final[Mapping[str, Failed]] = {
    "no shared cipher": Failed("the caller offers no cipher suite that is taken here", _CIPHERS),
    "no ciphers available": Failed("no cipher suite is left for this version of TLS", _VERSION),
    "wrong cipher returned": Failed("the peer chose a cipher suite that was not offered", _ASK),
    "unsupported protocol": Failed("the peer speaks none of the TLS versions that are allowed here", _VERSION),
    "no protocols available": Failed("the peer speaks none of the TLS versions that are allowed here", _VERSION),
    "version too low": Failed("the peer speaks only versions of TLS that are too old", _VERSION),
    "peer did not return a certificate": Failed("the peer showed no certificate", "it has to be given one"),
    "certificate verify failed": Failed("the peer's certificate is not acceptable", "import it, or its authority"),
    "ee key too small": Failed("the key of the peer's certificate is too short", "it needs one of 2048 bits or more"),
    "ca key too small": Failed(
        "the key of an authority of the peer's certificate is too short", "it needs one of 2048 bits or more"
    ),
    "ca md too weak": Failed("the peer's certificate is signed with MD5 or SHA-1", "it needs one signed with SHA-2"),
    "dh key too small": Failed("the peer's Diffie-Hellman parameters are too short", "it needs 2048 bits, or ECDHE"),
}
"""What OpenSSL finds at this end."""

_NO_TLS: Final = frozenset(
    {"wrong version number", "http request", "https proxy request", "unknown protocol", "packet length too long"}
    | {"bad record type", "record too small"}
)
_BROKEN_OFF: Final = frozenset({"unexpected eof while reading", "Unexpected EOF"})


def explain(error: BaseException, role: Role) -> Failed | None:
    """What an error of a connection says of TLS, at our end in this role; None where it is none of TLS."""
    match error:
        case SSL.ZeroReturnError() | SSL.SysCallError():
            return _SILENT[role]
        case SSL.Error(args=(list(entries), *_)) if entries:
            # OpenSSL's queue of errors: library, function, and the reason in words; the first is the cause.
            return _in_words([str(entry[-1]) for entry in entries], role)
        case SSL.Error():
            return _SILENT[role]
    return None


def broken_off(error: BaseException, role: Role) -> Failed | None:
    """The same of a connection whose handshake was not complete: that it ended is then a failure, too."""
    return _SILENT[role] if isinstance(error, ConnectionDone | ConnectionLost) else explain(error, role)


def too_slow(seconds: float, role: Role) -> Failed:
    """The handshake was not complete within its time."""
    if role is Role.RESPONDER:
        advice = "a caller without TLS waits to be greeted, and never says a word: it needs the port for plain TCP"
    else:
        advice = "what answers there may not speak TLS, or the network loses what is sent"
    return Failed(f"the handshake took more than {seconds:g} seconds", advice)


def _in_words(reasons: list[str], role: Role) -> Failed:
    for reason in reasons:
        if reason in _NO_TLS:
            return _NOT_TLS[role]
        if reason in _BROKEN_OFF:
            return _SILENT[role]
        if alert := _ALERT.search(reason):
            name = alert["name"]
            return _ALERTS.get(name) or Failed(f"the peer broke off with the alert '{name}'", _ASK)
        if reason in _FOUND:
            return _FOUND[reason]
    return Failed("; ".join(reasons), _ASK)
