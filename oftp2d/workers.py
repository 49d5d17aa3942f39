"""Threads for work that blocks: the disk, cryptography and the database, each kind with a pool of its own.

A slow disk cannot keep a signature waiting, nor a signature a commit. The database pool has exactly one thread, so
that the transactions of this process queue there and not inside the database. The reactor is injected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

DISK_THREADS: Final = 4
CRYPTO_THREADS: Final = 2
DATABASE_THREADS: Final = 1


class WorkersStoppedError(RuntimeError):
    """Work was given to pools that are not running."""


class Workers:
    """The three pools of the daemon, from ``start`` to ``stop``."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._disk = _Pool(reactor, "disk", DISK_THREADS)
        self._crypto = _Pool(reactor, "crypto", CRYPTO_THREADS)
        self._database = _Pool(reactor, "database", DATABASE_THREADS)

    def start(self) -> None:
        """Start the threads."""
        for pool in (self._disk, self._crypto, self._database):
            pool.start()

    async def stop(self) -> None:
        """Take no more work, wait for all that was taken, and end the threads.

        The database goes last: what the disk and cryptography are still doing may end in a commit only if its
        caller asks in time, which is why the daemon stops its sessions before its workers.
        """
        for pool in (self._disk, self._crypto, self._database):
            await pool.stop()

    async def disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a disk thread. Raises what it raises, and WorkersStoppedError."""
        return await self._disk.run(work, *args, **kwargs)

    async def crypto(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a cryptography thread. Raises what it raises, and WorkersStoppedError."""
        return await self._crypto.run(work, *args, **kwargs)

    async def database(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in the one database thread. Raises what it raises, and WorkersStoppedError."""
        return await self._database.run(work, *args, **kwargs)


class _Pool:
    """One pool and the count of what it has to do."""

    def __init__(self, reactor: IReactorFromThreads, name: str, threads: int) -> None:
        self._reactor = reactor
        self._name = name
        self._threads = ThreadPool(minthreads=0, maxthreads=threads, name=f"oftp2d-{name}")
        self._running = 0
        self._accepting = False
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        self._threads.start()
        self._accepting = True

    async def stop(self) -> None:
        """Wait for the work in hand. It goes on even where its caller was cancelled, so it is counted here."""
        self._accepting = False
        if self._running:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        if self._threads.started:
            self._threads.stop()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        if not self._accepting:
            raise WorkersStoppedError(f"the {self._name} workers are not running")
        outcome: Deferred[T] = Deferred()

        def done(success: bool, result: object) -> None:  # noqa: FBT001 (called by the thread pool)
            self._reactor.callFromThread(self._finish, outcome, success, result)

        self._running += 1
        self._threads.callInThreadWithCallback(done, work, *args, **kwargs)
        return outcome

    def _finish(self, outcome: Deferred[T], success: bool, result: object) -> None:  # noqa: FBT001
        """Back in the reactor's thread: hand over the result, then tell who waits for the last of them."""
        self._running -= 1
        if success:
            outcome.callback(cast("T", result))
        else:
            outcome.errback(cast("Failure", result))
        if not self._running:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)
