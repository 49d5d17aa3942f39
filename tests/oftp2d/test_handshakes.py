"""Why a handshake failed: real handshakes between two ends in memory, and what either end makes of the error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost

from oftp2.values import Role
from oftp2d.handshakes import broken_off, explain, too_slow
from tests import pki
from tests.pki import Issued

Shape = Callable[[SSL.Context], object]
Ends = tuple[SSL.Context, SSL.Context]

OLD = b"ALL:@SECLEVEL=0"


def end(certificate: Issued | None = None, *shapes: Shape) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    for shape in shapes:
        shape(context)
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
    return context


def at_most(version: int) -> Shape:
    return lambda context: context.set_max_proto_version(version)


def at_least(version: int) -> Shape:
    return lambda context: context.set_min_proto_version(version)


def suites(names: bytes) -> Shape:
    return lambda context: context.set_cipher_list(names)


def refusing(*errors: int) -> Shape:
    """An end that demands a certificate, and refuses it in the moment of such an error."""
    mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    return lambda context: context.set_verify(mode, lambda _c, _x, error, _depth, _ok: error not in errors)


def station() -> Issued:
    return pki.certificate("CB01")


def shake(client: SSL.Context, server: SSL.Context) -> tuple[str, str]:
    """What each end says of a handshake that fails: the client, and the server."""
    ends = {Role.INITIATOR: SSL.Connection(client, None), Role.RESPONDER: SSL.Connection(server, None)}
    ends[Role.INITIATOR].set_connect_state()
    ends[Role.RESPONDER].set_accept_state()
    said: dict[Role, str] = {}
    for _ in range(6):
        for role, other in ((Role.INITIATOR, Role.RESPONDER), (Role.RESPONDER, Role.INITIATOR)):
            if role not in said:
                step(role, ends[role], said)
            with suppress(SSL.WantReadError):
                ends[other].bio_write(ends[role].bio_read(65536))
    return said[Role.INITIATOR], said[Role.RESPONDER]


def step(role: Role, own: SSL.Connection, said: dict[Role, str]) -> None:
    try:
        own.do_handshake()
        # With TLS 1.3 a client is through before the server has looked at its certificate.
        own.recv(1)
    except SSL.WantReadError:
        pass
    except SSL.Error as error:
        said[role] = str(explain(error, role))


def short() -> SSL.Context:
    """A server whose key is too short for anybody but itself."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is what is refused
    return end(pki.make(key=key, issuer=pki.issuing("B")), suites(OLD))


FAILURES: dict[str, tuple[Callable[[], Ends], str, str]] = {
    "a caller of old versions alone": (
        lambda: (
            end(None, suites(OLD), at_least(SSL.TLS1_VERSION), at_most(SSL.TLS1_1_VERSION)),
            end(station(), at_least(SSL.TLS1_2_VERSION)),
        ),
        "takes none of the TLS versions that are offered here",
        "speaks none of the TLS versions that are allowed here",
    ),
    "a server of new versions alone": (
        lambda: (end(None, at_most(SSL.TLS1_2_VERSION)), end(station(), at_least(SSL.TLS1_3_VERSION))),
        "takes none of the TLS versions that are offered here",
        "speaks none of the TLS versions that are allowed here",
    ),
    "no common cipher suite": (
        lambda: (
            end(None, at_most(SSL.TLS1_2_VERSION), suites(b"AES256-SHA")),
            end(station(), suites(b"ECDHE+AESGCM")),
        ),
        "no common cipher suite, or it wants a certificate",
        "offers no cipher suite that is taken here",
    ),
    "no certificate where one is demanded": (
        lambda: (end(), end(station(), refusing())),
        "demands a certificate, and none was shown",
        "the peer showed no certificate",
    ),
    "no certificate where one is demanded, before TLS 1.3": (
        lambda: (end(None, at_most(SSL.TLS1_2_VERSION)), end(station(), refusing())),
        "or it wants a certificate that we did not show",
        "the peer showed no certificate",
    ),
    "an authority that the caller does not know": (
        lambda: (end(None, refusing(20)), end(station())),
        "the peer's certificate is not acceptable",
        "it does not know its authority",
    ),
    "an authority that the server does not know": (
        lambda: (end(pki.certificate("CA01")), end(station(), refusing(20))),
        "it does not know its authority",
        "the peer's certificate is not acceptable",
    ),
    "an expired certificate": (
        lambda: (end(None, refusing(10)), end(pki.make(issuer=pki.issuing("B"), days=(-30, -1)))),
        "the peer's certificate is not acceptable",
        "our certificate is outside its period",
    ),
    "a short key": (
        lambda: (end(None, refusing(66)), short()),
        "the peer's certificate is not acceptable",
        "the peer refuses our certificate",
    ),
}


@pytest.mark.parametrize("what", FAILURES)
def test_both_ends_say_in_words_why_a_handshake_failed_and_what_to_do(what: str) -> None:
    make, caller, server = FAILURES[what]
    said = shake(*make())
    for text, expected in zip(said, (caller, server), strict=True):
        assert expected in text
        what_failed, advice = text.removeprefix("TLS failed: ").split("; ", 1)
        assert what_failed
        assert advice


@pytest.mark.parametrize(
    "octets",
    [b"\x10\x00\x00\x17IODETTE FTP READY \r", b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 300, b"\xff" * 300],
    ids=["OFTP", "HTTP", "zeros", "ones"],
)
@pytest.mark.parametrize("role", Role)
def test_what_is_no_tls_is_called_so_with_where_to_go_instead(role: Role, octets: bytes) -> None:
    own = SSL.Connection(end(station()), None)
    (own.set_connect_state if role is Role.INITIATOR else own.set_accept_state)()
    own.bio_write(octets)
    with pytest.raises(SSL.Error) as raised:
        own.do_handshake()
    text = str(explain(raised.value, role))
    assert ("does not speak TLS" if role is Role.INITIATOR else "is no TLS") in text
    assert "plain" in text


ALERTS = {
    20: "the alert 'bad record mac'",
    42: "refuses our certificate",
    43: "can't use our certificate",
    44: "our certificate was revoked",
    45: "outside its period",
    46: "refuses our certificate",
    48: "does not know its authority",
    49: "does not let us in",
    51: "could not verify a signature",
    70: "takes none of the TLS versions",
    71: "stronger cipher suites",
    80: "a reason of its own",
    86: "lowers the TLS version",
    90: "was stopped",
    112: "does not know the host name",
    116: "demands a certificate",
}


@pytest.mark.parametrize("code", ALERTS)
def test_an_alert_of_the_peer_is_decoded(code: int) -> None:
    own = SSL.Connection(end(), None)
    own.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        own.do_handshake()
    own.bio_write(b"\x15\x03\x03\x00\x02\x02" + bytes([code]))
    with pytest.raises(SSL.Error) as raised:
        own.do_handshake()
    assert ALERTS[code] in str(explain(raised.value, Role.INITIATOR))


@pytest.mark.parametrize("role", Role)
def test_a_peer_that_leaves_in_the_middle_of_a_handshake_has_no_reason_but_one_that_leaves_a_session_has(
    role: Role,
) -> None:
    for left in (ConnectionDone(), ConnectionLost()):
        assert "without a word" in str(broken_off(left, role))
        assert explain(left, role) is None
    for error in (SSL.ZeroReturnError(), SSL.SysCallError(-1, "Unexpected EOF"), SSL.Error()):
        assert "without a word" in str(broken_off(error, role))
    unexpected = SSL.Error([("SSL routines", "", "unexpected eof while reading")])
    assert "without a word" in str(explain(unexpected, role))


def test_what_has_no_words_of_its_own_is_told_as_openssl_has_it() -> None:
    odd = SSL.Error([("SSL routines", "", "length mismatch"), ("SSL routines", "", "bad extension")])
    assert "length mismatch; bad extension" in str(explain(odd, Role.INITIATOR))
    assert broken_off(ValueError("something else"), Role.INITIATOR) is None


def test_a_caller_that_says_nothing_may_wait_to_be_greeted_without_tls() -> None:
    assert "a caller without TLS waits to be greeted" in str(too_slow(5, Role.RESPONDER))
    assert "may not speak TLS" in str(too_slow(5, Role.INITIATOR))
    assert "took more than 5 seconds" in str(too_slow(5.0, Role.INITIATOR))
