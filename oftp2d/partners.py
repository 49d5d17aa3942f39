"""Who may connect, and how: codes, passwords, the transport they came by, and how often one may guess.

A wrong code is answered with ESID 03, a wrong password with 04. Both count as a bad attempt of the address they
came from; after too many the address is not answered any more for a while. A peer that never identified itself
learns nothing else.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from oftp2.commands import Ssid
from oftp2.reasons import EndSessionReason
from oftp2.values import Level, Mode, clip
from oftp2d.acquaintance import Acquaintance
from oftp2d.agreement import needs_level_5
from oftp2d.context import Context
from oftp2d.ledger import Partner, Traffic, Transport
from oftp2d.line import Line

MAX_ADDRESSES = 10_000
"""Addresses whose bad attempts are remembered; the oldest is forgotten first."""


MODES: Final[Mapping[Traffic, Mode]] = {
    Traffic.BOTH: Mode.BOTH,
    Traffic.SEND: Mode.SENDER,
    Traffic.RECEIVE: Mode.RECEIVER,
}
"""The direction of files with a partner, as SSIDSR has it."""


def least_level(partner: Partner) -> Level:
    """The lowest release level at which this partner's security can be had: all of it came with level 5.

    Where session authentication is prepared as well, or a caller that offers less could keep it from ever being switched on.
    """
    return Level.REVISION_2_0 if needs_level_5(partner) else Level.REVISION_1_2


def highest_level(partner: Partner) -> Level:
    """The highest release level to offer this partner; never below what its security needs."""
    return max(Level.up_to(partner.level), least_level(partner))


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
        if self._attempts.blocked(line.address, self._context.reactor.seconds()):
            # It was let in before it had used up its attempts in other sessions.
            text = "too many wrong codes or passwords from this address"
            return Denial(reason=EndSessionReason.RESOURCES_NOT_AVAILABLE, text=text)
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
                reason=EndSessionReason.USER_CODE_NOT_KNOWN,
                text=f"{partner.code} was called, {ssid.code or 'nobody'} answered",
            )
        return await self._check(partner, ssid, line)

    async def _check(self, partner: Partner | None, ssid: Ssid, line: Line) -> Denial | None:
        if partner is None or not partner.active:
            return Denial(
                reason=EndSessionReason.USER_CODE_NOT_KNOWN,
                text="the identification code is not known here",
                guess=True,
            )
        if not hmac.compare_digest(self._password(partner), ssid.password.encode()):
            return Denial(reason=EndSessionReason.INVALID_PASSWORD, text="the password is wrong", guess=True)
        if partner.transport is Transport.TLS and line.tls is None:
            return Denial(reason=EndSessionReason.INCOMPATIBLE, text="this partner must use TLS")
        if partner.client_certificate and (why := await unproven_by_tls(self._context, partner, line)):
            return Denial(
                reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE,
                text=clip(f"a TLS certificate of this partner is required: {why}"),
            )
        # One that is not demanded need not be known; but none is let in with one that its authority has taken back.
        if why := await _barred_by_tls(self._context, partner, line):
            return Denial(reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE, text=clip(f"TLS: {why}"))
        return None

    def _password(self, partner: Partner) -> bytes:
        return self._context.vault.open_sealed(partner.password_theirs) if partner.password_theirs else b""


async def proven_by_tls(context: Context, partner: Partner, line: Line) -> bool:
    """Whether the peer showed a TLS certificate that is valid, trusted, and bound to this partner."""
    return await unproven_by_tls(context, partner, line) is None


async def unproven_by_tls(context: Context, partner: Partner, line: Line) -> str | None:
    """Why TLS does not prove that the peer is this partner; None when it does."""
    if line.tls is None or line.tls.certificate is None:
        return "it showed none"
    acquaintance = await context.workers.database(Acquaintance.of, context.certificates, partner, context.now())
    objection = await context.workers.crypto(acquaintance.objection, line.tls.certificate, line.tls.chain)
    return None if objection is None else objection.what


async def _barred_by_tls(context: Context, partner: Partner, line: Line) -> str | None:
    """Why the certificate that the peer showed is good for nothing any more, such as that it was revoked."""
    if line.tls is None or line.tls.certificate is None:
        return None
    acquaintance = await context.workers.database(Acquaintance.of, context.certificates, partner, context.now())
    objection = await context.workers.crypto(acquaintance.bar, line.tls.certificate, line.tls.chain)
    return None if objection is None else objection.what
