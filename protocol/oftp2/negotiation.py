"""What two locations agree upon in their SSIDs (RFC 5024 section 5.3.2). Pure: our capabilities and their SSID in, terms out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oftp2.commands import Ssid
from oftp2.reasons import EndSessionReason
from oftp2.values import MIN_BUFFER_SIZE, Level, Mode, check_window


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this location can do in a session; the constants of RFC 5024 section 9.7."""

    level: Level = Level.REVISION_2_0
    """The highest release level we offer."""

    lowest_level: Level = Level.REVISION_1_2
    """The lowest release level we accept. Where authentication is required that is 5, whatever stands here."""

    mode: Mode = Mode.BOTH
    """Send, receive, or both."""

    buffer_size: int = 65_535
    """The longest Data Exchange Buffer we take, 128 to 99,999 octets."""

    credit: int = 64
    """The longest run of Data Exchange Buffers without a credit, 1 to 999."""

    compression: bool = False
    """Whether we handle compression of Data Exchange Buffers."""

    restart: bool = False
    """Whether we can go on with a file that was cut off."""

    authentication: bool = False
    """As Initiator: whether we require secure authentication. A Responder says so when it accepts the session."""

    user: str = ""
    """SSIDUSER, up to 8 characters."""

    def __post_init__(self) -> None:
        check_window(self.buffer_size, self.credit)
        if self.level < self.least_level:
            raise ValueError(f"level is {self.least_level} or more, not {self.level}")

    @property
    def least_level(self) -> Level:
        """The lowest release level at which we can do what we must: authentication came with level 5."""
        return Level.REVISION_2_0 if self.authentication else self.lowest_level


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds in this session, on both sides; ``mode`` is ours."""

    level: Level
    mode: Mode
    buffer_size: int
    credit: int
    compression: bool
    restart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Why there will be no session, and the reason that ESID gives."""

    reason: EndSessionReason
    text: str


_OPPOSITE: Final = {Mode.SENDER: Mode.RECEIVER, Mode.RECEIVER: Mode.SENDER}


def negotiate(ours: Capabilities, theirs: Ssid) -> Terms | Disagreement:
    """The terms of a session, or the reason to end it.

    Every number becomes the smaller of the two and every ability needs both sides. Special logic is for X.25 and never
    agreed. A buffer size or credit outside the RFC's range is invalid data; a level that does not exist (3), or is lower
    than what we need, and two senders or two receivers, are incompatible. A level above 5 comes down to ours.
    """
    if theirs.level not in tuple(Level) and theirs.level < max(Level):
        return Disagreement(reason=EndSessionReason.INCOMPATIBLE, text=f"release level {theirs.level} does not exist")
    level = Level(min(theirs.level, ours.level))
    if level < ours.least_level:
        return Disagreement(
            reason=EndSessionReason.INCOMPATIBLE,
            text=f"release level {level} is not enough here, level {ours.least_level} is required",
        )
    if theirs.buffer_size < MIN_BUFFER_SIZE:
        return Disagreement(
            reason=EndSessionReason.INVALID_DATA,
            text=f"SSIDSDEB is {theirs.buffer_size}, it must be {MIN_BUFFER_SIZE} or more",
        )
    if not theirs.credit:
        return Disagreement(reason=EndSessionReason.INVALID_DATA, text="SSIDCRED is 0, it must be 1 or more")
    mode = _common_mode(ours.mode, theirs.mode)
    if mode is None:
        return Disagreement(
            reason=EndSessionReason.INCOMPATIBLE,
            text=f"both locations only {'send' if ours.mode is Mode.SENDER else 'receive'}",
        )
    return Terms(
        level=level,
        mode=mode,
        buffer_size=min(ours.buffer_size, theirs.buffer_size),
        credit=min(ours.credit, theirs.credit),
        compression=ours.compression and theirs.compression,
        restart=ours.restart and theirs.restart,
    )


def _common_mode(ours: Mode, theirs: Mode) -> Mode | None:
    """What we do in the session when they can do ``theirs``; None when nothing could ever be sent."""
    if theirs is Mode.BOTH:
        return ours
    return _OPPOSITE[theirs] if ours in {Mode.BOTH, _OPPOSITE[theirs]} else None
