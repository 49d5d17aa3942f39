"""The virtual clock: it stands still until it is moved, so that two years pass in a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class VirtualClock:
    """All the stand-in does counts by it, the validity of certificates in TLS handshakes included."""

    def __init__(self, now: datetime) -> None:
        self._now = _utc(now)

    def now(self) -> datetime:
        """UTC, whole seconds: certificates know no smaller unit."""
        return self._now

    def set(self, now: datetime) -> None:
        """Any time between 2000 and 2049; it may go back, as clocks do."""
        self._now = _utc(now)

    def advance(self, span: timedelta) -> None:
        """Go on by so much."""
        self._now = _utc(self._now + span)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time of the virtual clock needs a zone, such as 2026-03-01T12:00:00Z")
    found = moment.astimezone(UTC).replace(microsecond=0)
    if not 2000 <= found.year < 2050:
        raise ValueError("the virtual clock goes from 2000 to 2049 only")
    return found
