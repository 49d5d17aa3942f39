"""What the User Monitor sees of a connection: a session it can ask things of, and events that it awaits.

``link`` implements it on a Twisted transport. The rooms below (``monitor``, ``sending``, ``receiving``) know
nothing else of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Protocol

from oftp2.errors import LocalProtocolError
from oftp2.events import Event, Origin, SessionAborted, SessionReleased
from oftp2.reasons import EndSessionReason
from oftp2.requests import EndSession, Request
from oftp2.session import Session


class SessionOverError(Exception):
    """The session has ended: ``end`` says how. Nothing can be asked of it any more."""

    def __init__(self, end: SessionAborted | SessionReleased) -> None:
        super().__init__(str(end) if isinstance(end, SessionAborted) else "ended normally by the peer")
        self.end = end

    @property
    def by_us(self) -> bool:
        """Whether it was this side that ended it."""
        return isinstance(self.end, SessionAborted) and self.end.origin is Origin.LOCAL

    @property
    def reason(self) -> str | None:
        """The partner's ESID, such as ``ESID 08``, where it ended the session before its time."""
        if isinstance(self.end, SessionAborted) and self.end.origin is Origin.PEER:
            return f"ESID {self.end.reason:02}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTls:
    """What TLS told about the peer."""

    version: str
    cipher: str
    certificate: bytes | None
    """DER of the peer's certificate; None when it showed none."""
    chain: tuple[bytes, ...] = ()
    """What came with it, DER."""


def origin(host: str) -> str:
    """The address that limits and bad attempts are counted for: of IPv6 the /64, which is one customer's."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(address) if address.version == 4 else str(ip_network(f"{address}/64", strict=False))


class Line(Protocol):
    """One connection with its session, as the User Monitor uses it."""

    session: Session

    @property
    def remote(self) -> str:
        """The peer's address, for log lines."""

    @property
    def address(self) -> str:
        """Where the peer calls from, as ``origin`` counts it."""

    @property
    def tls(self) -> PeerTls | None:
        """What TLS told; None over plain TCP."""

    @property
    def waiting(self) -> bool:
        """Whether events wait to be taken: the session may be ahead of the User Monitor."""

    def give_up(self, why: str) -> None:
        """Cut the connection without a word."""

    async def event(self) -> Event:
        """The next event. Raises ``SessionOverError`` when the session has ended and all events are told."""

    def request(self, request: Request) -> None:
        """Ask the session and send what it says. Raises ``SessionOverError`` when the session has ended."""

    async def drained(self) -> None:
        """Wait until the network takes more. Raises ``SessionOverError`` when the session ends meanwhile."""


def end_politely(line: Line, reason: EndSessionReason, text: str) -> None:
    """Say ESID with ``reason`` if there is still a session to say it in, else cut the connection."""
    try:
        line.request(EndSession(reason=reason, text=text))
    except (LocalProtocolError, SessionOverError):
        line.give_up(text)
