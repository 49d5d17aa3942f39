"""Whose file is worked on next: of each kind of work so many files at once, and partners take turns among those that wait.

Small files and large ones have places of their own, so that neither a message of an octet nor its partner waits for another's
gibibytes. Of large ones fewer are worked on at once than there are threads for them: whatever one kind of work has to do,
there is a thread that another kind finds. In the reactor's thread, and without a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from twisted.internet.defer import Deferred

from oftp2d.workers import SECURITY_THREADS, is_small

LARGE_AT_ONCE: Final = SECURITY_THREADS - 1
SMALL_AT_ONCE: Final = 4
"""So many that the disk, which each of them waits for, keeps the others busy; few enough for a challenge to wait behind."""


class Turns:
    """The files of one kind of work."""

    def __init__(self) -> None:
        self._large = Places(LARGE_AT_ONCE)
        self._small = Places(SMALL_AT_ONCE)

    @asynccontextmanager
    async def turn(self, partner_id: int, octets: int) -> AsyncIterator[None]:
        """Wait for the turn of a partner's file of that size; it is over behind the block."""
        places = self._small if is_small(octets) else self._large
        await places.take(partner_id)
        try:
            yield
        finally:
            places.give_back()


class Places:
    """A number of places, and who waits for one."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: dict[int, deque[Deferred[None]]] = {}
        """Of each partner what waits, in its order; the partner whose turn is next comes first."""
        self._handing_out = False

    def take(self, partner_id: int) -> Deferred[None]:
        """Fires when there is a place. What has taken one gives it back; the waiting is not to be cancelled."""
        taken: Deferred[None] = Deferred()
        self._waiting.setdefault(partner_id, deque()).append(taken)
        self._hand_out()
        return taken

    def give_back(self) -> None:
        """A place is free again."""
        self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Not from within itself: many that want nothing with their place any more would nest too deeply."""
        if self._handing_out:
            return
        self._handing_out = True
        while self._free and self._waiting:
            self._free -= 1
            partner_id, waiting = next(iter(self._waiting.items()))
            taken = waiting.popleft()
            del self._waiting[partner_id]
            if waiting:
                self._waiting[partner_id] = waiting
            taken.callback(None)
        self._handing_out = False
