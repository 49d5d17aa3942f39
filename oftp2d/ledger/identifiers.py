"""Identifiers of transfers: twelve characters that sort by time and can be read out over the telephone.

Forty bits of milliseconds since 2024 and twenty of chance, in Crockford's base 32 (no I, L, O, U). Within one
process they strictly ascend, so that "oldest first" is simply their order.
"""

from __future__ import annotations

import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

LENGTH: Final = 12
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)
_CHANCE_BITS: Final = 20
_LIMIT: Final = 1 << (5 * LENGTH)


class Identifiers:
    """A source of ascending identifiers, for use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = -1

    def next(self, now: datetime) -> str:
        """A new identifier for something that begins now."""
        fresh = (now - _EPOCH) // timedelta(milliseconds=1) << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)
        with self._lock:
            # A clock that stands still or steps back must not make a younger transfer look older.
            self._last = max(fresh, self._last + 1) % _LIMIT
            return encode(self._last)


def encode(number: int) -> str:
    """The number in base 32, with leading zeros so that text sorts as the numbers do."""
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
