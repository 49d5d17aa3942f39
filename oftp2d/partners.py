"""Who may connect, and how: identification codes, passwords, the transport they came by, and how often one may guess.

A wrong code is answered with ESID 03, a wrong password with 04. Both count as a bad attempt of the address they came from; after
too many the address is not answered any more for a while. A peer that never identified itself learns nothing else.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict, deque
from dataclasses import dataclass

from oftp2.commands import Ssid
from oftp2.reasons import EndSessionReason
from oftp2d.certificates import CertificateStore
from oftp2d.context import Context
from oftp2d.ledger import Partner, Transport
from oftp2d.line import Line

MAX_ADDRESSES = 10_000
"""Addresses whose bad attempts are remembered; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Why there will be no session, and what ESID says. ``guess``: whether it counts as a bad attempt."""

    reason: EndSessionReason
    text: str
    guess: bool = False


class BadAttempts:
    """Wrong codes and passwords by address, within a sliding period of seconds."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str, now: float) -> None:
        """One more from this address."""
        attempts = self._seen.setdefault(address, deque(maxlen=self._limit))
        attempts.append(now)
        self._seen.move_to_end(address)
        while len(self._seen) > MAX_ADDRESSES:
            self._seen.popitem(last=False)

    def blocked(self, address: str, now: float) -> bool:
        """Whether this address has used up its attempts."""
        attempts = self._seen.get(address)
        if attempts is None:
            return False
        while attempts and attempts[0] <= now - self._seconds:
            attempts.popleft()
        if not attempts:
            del self._seen[address]
        return len(attempts) >= self._limit


class Gate:
    """Decides who a caller is, and whether the one we called is who we wanted."""

    def __init__(self, context: Context, attempts: BadAttempts) -> None:
        self._context = context
        self._attempts = attempts

    async def admit(self, ssid: Ssid, line: Line) -> Partner | Denial:
        """The partner that called, if it may."""
        partner = await self._context.workers.database(self._context.ledger.partners.by_code, ssid.code)
        denial = await self._check(partner, ssid, line)
        if denial is None:
            assert partner is not None  # noqa: S101 - an unknown one is denied
            return partner
        if denial.guess:
            self._attempts.note(line.address, self._context.reactor.seconds())
        return denial

    async def expect(self, partner: Partner, ssid: Ssid, line: Line) -> Denial | None:
        """Whether the one that answered our call is the partner we called."""
        if ssid.code != partner.code:
            return Denial(
                reason=EndSessionReason.USER_CODE_NOT_KNOWN, text=f"{partner.code} was called, {ssid.code or 'nobody'} answered"
            )
        return await self._check(partner, ssid, line)

    async def _check(self, partner: Partner | None, ssid: Ssid, line: Line) -> Denial | None:
        if partner is None or not partner.active:
            return Denial(
                reason=EndSessionReason.USER_CODE_NOT_KNOWN, text="the identification code is not known here", guess=True
            )
        if not hmac.compare_digest(self._password(partner), ssid.password.encode()):
            return Denial(reason=EndSessionReason.INVALID_PASSWORD, text="the password is wrong", guess=True)
        if partner.transport is Transport.TLS and line.tls is None:
            return Denial(reason=EndSessionReason.INCOMPATIBLE, text="this partner must use TLS")
        if partner.client_certificate and not await self._proven(partner, line):
            return Denial(
                reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE, text="a TLS certificate of this partner is required"
            )
        return None

    def _password(self, partner: Partner) -> bytes:
        return self._context.vault.open_sealed(partner.password_theirs) if partner.password_theirs else b""

    async def _proven(self, partner: Partner, line: Line) -> bool:
        return await proven_by_tls(self._context, partner, line)


async def proven_by_tls(context: Context, partner: Partner, line: Line) -> bool:
    """Whether the peer showed a TLS certificate that is valid, trusted, and bound to this partner."""
    if line.tls is None or line.tls.certificate is None:
        return False
    store: CertificateStore = context.certificates
    return await context.workers.crypto(
        store.is_partners_tls, partner, line.tls.certificate, line.tls.chain, context.now()
    )
