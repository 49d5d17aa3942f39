"""The event loop: uvloop under Twisted's asyncio reactor, and what stands between the two.

When a connection is reset, libuv stops to watch its descriptor after one last call, even if there is more to read; Twisted
reads one piece, waits for the next call, and never learns of the reset (uvloop issue 552). The session would stay until it
times out, with its claim on the file. So a moment after a read or write it is looked whether that left the descriptor in
error; then it is watched anew: the next call comes at once, until everything is read and the reset is told.

What a thread has done is told in the next turn of the loop, without the timer that Twisted sets for it.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives the reactor no types.

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger

MOMENT = 0.05
"""Seconds until it is looked again at descriptors that were read from or written to: once for all of them."""


class Reactor(AsyncioSelectorReactor):
    """The asyncio reactor, which never loses sight of a connection that was reset."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._suspects: set[Any] = set()

    log = Logger(namespace="loop")

    def callFromThread(  # type: ignore[override]  # noqa: N802 - Twisted's name, of an argument it gives two names
        self,
        callable: Callable[..., Any],  # noqa: A002 - one of them
        *args: object,
        **kwargs: object,
    ) -> None:
        """Make the call in the thread of the reactor, soon."""
        self._asyncioEventloop.call_soon_threadsafe(self._call, callable, args, kwargs)

    def _call(self, act: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        try:
            act(*args, **kwargs)
        except Exception:  # noqa: BLE001 - one call that fails must not stop the others
            self.log.failure("a call from a thread failed")

    def _readOrWrite(self, selectable: Any, read: bool) -> None:  # noqa: FBT001, N802 - Twisted's signature
        super()._readOrWrite(selectable, read)
        if not self._suspects:
            self._asyncioEventloop.call_later(MOMENT, self._look)
        self._suspects.add(selectable)

    def _look(self) -> None:
        suspects, self._suspects = self._suspects, set()
        watch = select.poll()
        for number in (suspect.fileno() for suspect in suspects):
            if number != -1:
                # No event is asked for, so only a reset or hang-up is told.
                watch.register(number, 0)
        in_error = {number for number, _ in watch.poll(0)}
        for suspect in suspects:
            if suspect.fileno() in in_error:
                self._watch_anew(suspect)

    def _watch_anew(self, selectable: Any) -> None:
        reading, writing = selectable in self.getReaders(), selectable in self.getWriters()
        if reading:
            self.removeReader(selectable)
            self.addReader(selectable)
        if writing:
            self.removeWriter(selectable)
            self.addWriter(selectable)


def install() -> None:
    """Make it the global reactor; to be called once, before anything imports that."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    installReactor(Reactor(loop))
