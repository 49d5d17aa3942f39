"""The event loop: uvloop under Twisted's asyncio reactor, and what stands between the two.

When a connection is reset, libuv stops to watch its descriptor after one last call, even if there is more to read; Twisted
reads one piece, waits for the next call, and never learns of the reset (uvloop issue 552). The session would stay until it
times out, with its claim on the file. So whenever a read or write leaves a descriptor in error, it is watched anew: the
next call comes at once, until everything is read and the reset is told. To look a moment later would be too late: until then
whatever is written meets uvloop's closed handle. Costs one poll(2) for each read or write.

What a thread has done is told in the next turn of the loop, without the timer that Twisted sets for it.

That a program has ended (SIGCHLD) Twisted learns from a descriptor to which Python writes the number of the signal. uvloop puts
its own in the place of that one when it begins to run, so here the signal's handler tells it.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives the reactor no types.

from __future__ import annotations

import asyncio
import select
import signal
from collections.abc import Callable
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor
from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger


class Reactor(AsyncioSelectorReactor):
    """The asyncio reactor, which loses sight neither of a connection that was reset nor of a program that has ended."""

    log = Logger(namespace="loop")

    def startRunning(self, installSignalHandlers: bool = True) -> None:  # noqa: FBT001, FBT002, N802, N803 - Twisted's signature
        """Begin to run; behind Twisted's handlers, ours."""
        super().startRunning(installSignalHandlers)
        if installSignalHandlers:
            signal.signal(signal.SIGCHLD, lambda _number, _frame: self.callFromThread(reapAllProcesses))

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
