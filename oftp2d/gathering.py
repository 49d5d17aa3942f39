"""Work that need not be waited for one by one: what comes while some of it is done is done together next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Gathering(Generic[T]):
    """Does ``act`` for items in their order, as many at once as have come since it was last begun.

    ``act`` is never run twice at a time. When it raises, nothing more is done, and whoever adds or settles is told.
    """

    def __init__(self, act: Callable[[list[T]], Awaitable[object]]) -> None:
        self._act = act
        self._items: list[T] = []
        self._busy = False
        self._idle: list[Deferred[None]] = []
        self._error: Exception | None = None

    def add(self, item: T) -> None:
        """Have ``item`` done soon. Raises what an earlier ``act`` raised."""
        if self._error is not None:
            raise self._error
        self._items.append(item)
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._run())

    async def settle(self) -> None:
        """Wait until everything is done. Raises what ``act`` raised."""
        if self._busy:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        if self._error is not None:
            raise self._error

    async def _run(self) -> None:
        try:
            while self._items:
                items, self._items = self._items, []
                await self._act(items)
        except Exception as error:  # noqa: BLE001 - told to whoever adds or settles
            self._error = error
        finally:
            self._busy = False
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)
