"""How far partners have taken up a certificate of ours that follows another: pure, over what the ledger says.

Each partner that takes part in a renewal stands somewhere on the way from the offer to its EERP (acx.md 3.8). Where it stays
behind, the account says what an administrator has to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from shlex import quote
from typing import Final

from oftp2d.ledger import AcxMode, ExchangeRecord, ExchangeState, Partner, RenewalPart, TransferState

LEVEL: Final = 5
"""The release level from which certificates are exchanged: SFIDDESC exists only there (acx.md 3.6)."""


class Stage(StrEnum):
    """Where a partner stands. Those before ``WAITING`` need somebody's hand."""

    REFUSED = "refused"
    """Its NERP came."""
    FAILED = "failed"
    """The message could not be sent, and is not tried any more."""
    OUT_OF_REACH = "out of reach"
    """The message waits, and calls fail."""
    BY_HAND = "by hand"
    """It cannot be offered by the exchange."""
    WAITING = "waiting"
    """It will be offered."""
    OFFERED = "offered"
    """The message waits for a session."""
    SENT = "sent"
    """It has the message; its EERP is to come."""
    INACTIVE = "inactive"
    """The partner is switched off: it does not count."""
    CONFIRMED = "confirmed"
    """It has the certificate: by its EERP, or by an operator's word."""


STUCK: Final = frozenset({Stage.REFUSED, Stage.FAILED, Stage.OUT_OF_REACH, Stage.BY_HAND})
"""Where nothing goes on by itself."""
OVER: Final = frozenset({Stage.CONFIRMED, Stage.INACTIVE})
"""Where nothing is waited for any more."""

_ORDER: Final = {stage: index for index, stage in enumerate(Stage)}
_FAILED: Final = frozenset({TransferState.FAILED, TransferState.CANCELLED, TransferState.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptake:
    """Where one partner stands, since when, and what there is to do."""

    partner: Partner
    stage: Stage
    since: datetime | None = None
    text: str = ""
    advice: str = ""
    message: ExchangeRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where all partners of a renewal stand, those that need a hand first."""

    uptakes: tuple[Uptake, ...]

    @property
    def missing(self) -> tuple[Uptake, ...]:
        """Those that are still waited for."""
        return tuple(each for each in self.uptakes if each.stage not in OVER)

    @property
    def to_offer(self) -> tuple[Uptake, ...]:
        """Those that it has to be offered to."""
        return tuple(each for each in self.uptakes if each.stage is Stage.WAITING)

    @property
    def complete(self) -> bool:
        """Whether every partner that counts has the certificate."""
        return not self.missing

    @property
    def counts(self) -> dict[Stage, int]:
        """How many partners stand where; all stages are named."""
        found = Counter(each.stage for each in self.uptakes)
        return {stage: found[stage] for stage in Stage}


def progress(parts: Iterable[RenewalPart], alias: str) -> Progress:
    """The account of all partners; ``alias`` is how the certificate is called in what there is to do."""
    called = quote(alias)
    uptakes = (uptake(part, called) for part in parts)
    return Progress(uptakes=tuple(sorted(uptakes, key=lambda each: (_ORDER[each.stage], each.partner.code))))


def why_by_hand(partner: Partner) -> str | None:
    """Why the certificate exchange cannot offer anything to a partner; None where it can."""
    if partner.acx is AcxMode.OFF:
        return "the certificate exchange is off for it"
    if partner.level < LEVEL:
        return f"it speaks OFTP level {partner.level}, which has no certificate exchange"
    return None


def uptake(part: RenewalPart, alias: str) -> Uptake:
    """Where one partner stands; ``alias`` as a shell takes it."""
    partner, message = part.partner, part.message
    if part.confirmation is not None:
        how = "its EERP" if part.confirmation.how == "EERP" else "entered by hand"
        return Uptake(
            partner=partner,
            stage=Stage.CONFIRMED,
            since=part.confirmation.confirmed_at,
            text=how,
            message=message,
        )
    if not partner.active:
        return Uptake(
            partner=partner,
            stage=Stage.INACTIVE,
            text="it is switched off, and is not waited for",
            advice=f"when it comes back: oftp2d exchange deliver {partner.code} --certificate {alias}",
            message=message,
        )
    return _without(part, alias) if message is None else _with(part, message, alias)


def _without(part: RenewalPart, alias: str) -> Uptake:
    why = why_by_hand(part.partner)
    if why is None:
        return Uptake(partner=part.partner, stage=Stage.WAITING, text="it will be offered")
    return Uptake(
        partner=part.partner,
        stage=Stage.BY_HAND,
        text=why,
        advice=f"give it the certificate, and when it has it: oftp2d cert confirm {part.partner.code} {alias}",
    )


def _with(part: RenewalPart, message: ExchangeRecord, alias: str) -> Uptake:
    partner = part.partner
    if message.state is ExchangeState.REFUSED:
        return Uptake(
            partner=partner,
            stage=Stage.REFUSED,
            since=message.answered_at,
            text=message.text or "without a reason",
            advice=f"clear it up with the partner, then: oftp2d exchange deliver {partner.code} --certificate {alias}",
            message=message,
        )
    if part.transfer in _FAILED:
        return Uptake(
            partner=partner,
            stage=Stage.FAILED,
            since=message.created_at,
            text=part.trouble or f"the message was {part.transfer}",
            advice=f"oftp2d exchange deliver {partner.code} --certificate {alias}",
            message=message,
        )
    if message.state is not ExchangeState.QUEUED:
        return Uptake(
            partner=partner,
            stage=Stage.SENT,
            since=part.sent_at or message.created_at,
            text="its EERP is awaited",
            message=message,
        )
    if partner.call_failures:
        return Uptake(
            partner=partner,
            stage=Stage.OUT_OF_REACH,
            since=message.created_at,
            text=partner.last_error or "calls fail",
            advice=f"oftp2d partner test {partner.code}",
            message=message,
        )
    calls = partner.host is None or partner.wait_for_calls
    return Uptake(
        partner=partner,
        stage=Stage.OFFERED,
        since=message.created_at,
        text="it goes when the partner calls" if calls else "it goes with the next session",
        message=message,
    )


def names(uptakes: Sequence[Uptake], most: int = 3) -> str:
    """The first partners by code, and how many there are beside them."""
    codes = ", ".join(each.partner.code for each in uptakes[:most])
    return codes if len(uptakes) <= most else f"{codes} and {len(uptakes) - most} more"
