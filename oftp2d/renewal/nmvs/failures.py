"""Why a call brought no answer, in words, and whether it may be tried again by itself.

Trouble that passes (no connection, time-outs, an answer that was lost) is RETRY. What stays wrong until somebody has done
something is FATAL, which is asked again the next day at most: a server that is not trusted, a certificate of ours that the server
refuses, a proxy that wants a login, an answer beyond all bounds. None of these costs a try of the password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError  # noqa: A004

from oftp2.values import Role
from oftp2d.handshakes import explain
from oftp2d.renewal.interface import Refusal, Verdict
from oftp2d.renewal.nmvs.tunnel import ProxyRefusedError

_ALERT: Final = re.compile(r"\balert (.+)$")
_OURS: Final = {
    "unknown ca": "it does not know the authority of our certificate",
    "bad certificate": "it refuses our certificate",
    "unsupported certificate": "it cannot use our certificate",
    "certificate revoked": "our certificate was revoked",
    "certificate expired": "our certificate is outside its period",
    "certificate unknown": "it refuses our certificate",
    "certificate required": "it demands a certificate, and none was shown",
    "access denied": "it does not let our certificate in",
}
"""What a server says of our certificate, by OpenSSL's name of the alert (RFC 8446 section 6.2)."""
_BACK: Final = (
    "see 'oftp2d renew status' and compare the url in the profile with the one you were given; if the certificate was revoked or"
    " has ended, ask the help desk of your national medicines verification organisation for a new TAN, then"
    " 'oftp2d renew run {name} --tan'"
)
_NETWORK: Final = "if it stays so, compare the url in the profile, and ask whoever runs your firewall"
_PROXY: Final = "ask whoever runs the proxy, and compare tls.proxy of the profile"


class TooLargeError(Exception):
    """An answer has more than ``limit`` octets."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class EncodedError(Exception):
    """An answer came in a content encoding that was not asked for."""


class SlowError(Exception):
    """A time ran out; the text says which."""


def refused(error: BaseException, host: str, objection: str, *, sent: bool) -> Refusal:
    """What went wrong with a call to ``host``.

    ``objection`` says why its certificate was not taken, ``sent`` whether the request may have reached it.
    """
    verdict, text, advice = _in_words(error, host, objection)
    if sent and verdict is Verdict.RETRY:
        text = f"{text}; the request was sent, and its answer is lost"
    return Refusal(verdict=verdict, text=text, advice=advice)


def blames_us(error: BaseException) -> bool:
    """Whether the server broke off because of our certificate: then it has not looked at the request."""
    return any(_alert(each) in _OURS for each in _causes(error))


def _in_words(error: BaseException, host: str, objection: str) -> tuple[Verdict, str, str]:
    if objection:
        advice = (
            "if that is the right server, write the file with its authority into tls.ca_bundle of the profile; if its certificate"
            " has ended, call the help desk. It is never asked without that"
        )
        return Verdict.FATAL, f"{host} is not trusted: {objection}", advice
    for cause in _causes(error):
        if found := _cause(cause, host):
            return found
    return Verdict.RETRY, f"the connection to {host} broke, or what came is not HTTP", _NETWORK


def _cause(cause: BaseException, host: str) -> tuple[Verdict, str, str] | None:  # noqa: C901, PLR0911 - one of each kind
    match cause:
        case TooLargeError():
            what = f"the answer of {host} has more than the {cause.limit} octets that are allowed"
            return (
                Verdict.FATAL,
                what,
                "real ones have some 10 KiB; if yours has more, raise limits.max_octets in the profile",
            )
        case EncodedError():
            return Verdict.FATAL, f"{host} answered in a content encoding that was not asked for", "call the help desk"
        case SlowError():
            return Verdict.RETRY, f"{host} {cause}", _NETWORK
        case ProxyRefusedError():
            return _of_proxy(cause.status, host)
        case DNSLookupError():
            return Verdict.RETRY, f"the host {host} is not known", _NETWORK
        case ConnectionRefusedError():
            return Verdict.RETRY, f"{host} refused the connection", _NETWORK
        case TimeoutError():
            return Verdict.RETRY, f"{host} took no connection in time", _NETWORK
        case ConnectError():
            return Verdict.RETRY, f"{host} cannot be reached", _NETWORK
        case SSL.Error():
            if ours := _OURS.get(_alert(cause)):
                return Verdict.FATAL, f"{host} refused us: {ours}", _BACK
            failed = explain(cause, Role.INITIATOR)
            return Verdict.RETRY, f"TLS with {host} failed{f': {failed.what}' if failed else ''}", _NETWORK
    return None


def _of_proxy(status: int, host: str) -> tuple[Verdict, str, str]:
    if status == 407:
        what = f"the proxy wants a login before it leads to {host}"
        return Verdict.FATAL, what, "write proxy_user and proxy_password into the credential set, or correct them"
    if status == 0:
        return Verdict.FATAL, "what is said to be the proxy does not answer as one", _PROXY
    what = f"the proxy does not lead to {host} (it answers {status})"
    return (Verdict.RETRY if status >= 500 else Verdict.FATAL), what, _PROXY


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that Twisted has wrapped in it."""
    for failure in getattr(error, "reasons", None) or ():
        yield from _causes(failure.value)
    yield error


def _alert(error: BaseException) -> str:
    match error:
        case SSL.Error(args=(list(entries), *_)):
            found = (_ALERT.search(str(entry[-1])) for entry in entries)
            return next((match[1] for match in found if match), "")
    return ""
