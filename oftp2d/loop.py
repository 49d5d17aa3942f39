"""The event loop: uvloop under Twisted's asyncio reactor, and the one thing the two do not tell each other.

When a connection is reset, libuv stops to watch its descriptor after one last call, even if there is more to read; Twisted
reads one piece, waits for the next call, and never learns of the reset (uvloop issue 552). The session would stay until it
times out, with its claim on the file. So whenever a read or write leaves a descriptor in error, it is watched anew: the
next call comes at once, until everything is read and the reset is told. Costs one poll(2) for each piece read.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives the reactor no types.

from __future__ import annotations

import asyncio
import select
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor


class Reactor(AsyncioSelectorReactor):
    """The asyncio reactor, which never loses sight of a connection that was reset."""

    def _readOrWrite(self, selectable: Any, read: bool) -> None:  # noqa: FBT001, N802 - Twisted's signature
        super()._readOrWrite(selectable, read)
        number = selectable.fileno()
        if number != -1 and _in_error(number):
            self._watch_anew(selectable)

    def _watch_anew(self, selectable: Any) -> None:
        reading, writing = selectable in self.getReaders(), selectable in self.getWriters()
        if reading:
            self.removeReader(selectable)
            self.addReader(selectable)
        if writing:
            self.removeWriter(selectable)
            self.addWriter(selectable)


def _in_error(number: int) -> bool:
    """Whether the descriptor is reset or hung up; asks for no event, so it answers only that."""
    watch = select.poll()
    watch.register(number, 0)
    return bool(watch.poll(0))


def install() -> None:
    """Make it the global reactor; to be called once, before anything imports that."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    installReactor(Reactor(loop))
