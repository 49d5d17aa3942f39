"""Threads for work that blocks: the disk, cryptography and the database, each kind with a pool of its own.

A slow disk cannot keep a signature waiting, nor a signature a commit. What is done to large files (RFC 5024 section 6) is
apart from the cryptography of sessions and of small files: a file of 10 GiB keeps no challenge waiting, and no file of an
octet. The database pool has exactly one thread, so that the transactions of this process queue there and not inside the
database. The reactor is injected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")

_Work = Callable[[], None]

DISK_THREADS: Final = 4
CRYPTO_THREADS: Final = 2
SECURITY_THREADS: Final = 3
DATABASE_THREADS: Final = 1

SMALL: Final = 1 << 20
"""Octets up to which a file takes its cryptography a few milliseconds."""


def is_small(octets: int) -> bool:
    """Whether the cryptography of a file of that size is done with that of sessions."""
    return octets <= SMALL


class WorkersStoppedError(RuntimeError):
    """Work was given to pools that are not running."""


class Workers:
    """The pools of the daemon, from ``start`` to ``stop``."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._disk = _Pool(reactor, "disk", DISK_THREADS)
        self._crypto = _Pool(reactor, "crypto", CRYPTO_THREADS)
        self._security = _Pool(reactor, "security", SECURITY_THREADS)
        self._database = _Pool(reactor, "database", DATABASE_THREADS)
        self._all = (self._disk, self._crypto, self._security, self._database)

    def start(self) -> None:
        """Start the threads."""
        for pool in self._all:
            pool.start()

    async def stop(self) -> None:
        """Take no more work, wait for all that was taken, and end the threads.

        The database goes last: what the disk and cryptography are still doing may end in a commit only if its
        caller asks in time, which is why the daemon stops its sessions before its workers.
        """
        for pool in self._all:
            await pool.stop()

    async def disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a disk thread. Raises what it raises, and WorkersStoppedError."""
        return await self._disk.run(work, *args, **kwargs)

    def strand(self) -> Strand:
        """A strand of work in the disk threads."""
        return Strand(self._disk)

    async def crypto(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a cryptography thread. Raises what it raises, and WorkersStoppedError."""
        return await self._crypto.run(work, *args, **kwargs)

    async def security(self, octets: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on a whole file of so many octets for as long as it takes: in a security thread, if it is not small.

        It ends early only where it looks for that itself. Raises what it raises, and WorkersStoppedError.
        """
        pool = self._crypto if is_small(octets) else self._security
        return await pool.run(work, *args, **kwargs)

    async def database(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in the one database thread. Raises what it raises, and WorkersStoppedError."""
        return await self._database.run(work, *args, **kwargs)


class Strand:
    """Work on one matter: done in the order it is given, one piece at a time, the next without a hop between.

    While there is always more of it, it shares its thread with whatever else waits for one.
    """

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._lock = Lock()
        self._waiting: deque[_Work] = deque()
        self._running = False

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``work`` behind all that was given before. Fires with what it returns or raises. Raises WorkersStoppedError."""
        outcome, item = self._pool.item(work, *args, **kwargs)
        with self._lock:
            self._waiting.append(item)
            begin, self._running = not self._running, True
        if begin:
            self._pool.put(self._serve)
        return outcome

    def _serve(self) -> None:
        while True:
            with self._lock:
                item = self._waiting.popleft()
            item()
            del item
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
            if self._pool.waited_for:
                self._pool.put(self._serve)
                return


class _Pool:
    """One queue of work, the threads that do it, and the count of what is not yet told.

    A hop to a thread and back is what most of the work of a small file consists of, so there is nothing between
    the queue and the thread: Twisted's own pool coordinates several threads for each piece of work.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str, threads: int) -> None:
        self._reactor = reactor
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._serve, name=f"oftp2d-{name}-{number}", daemon=True) for number in range(threads)
        ]
        self._running = 0
        self._accepting = False
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._accepting = True

    async def stop(self) -> None:
        """Wait for the work in hand. It goes on even where its caller was cancelled, so it is counted here."""
        was_accepting, self._accepting = self._accepting, False
        if self._running:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        if was_accepting:
            for _ in self._threads:
                self._queue.put(None)
            for thread in self._threads:
                thread.join()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        outcome, item = self.item(work, *args, **kwargs)
        self.put(item)
        return outcome

    def item(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[Deferred[T], _Work]:
        """Work that counts as begun, and what tells its outcome; to be put into the queue by the caller."""
        if not self._accepting:
            raise WorkersStoppedError(f"the {self._name} workers are not running")
        outcome: Deferred[T] = Deferred()
        self._running += 1
        return outcome, partial(self._do, outcome, partial(work, *args, **kwargs))

    def put(self, item: _Work) -> None:
        """Have a thread do it."""
        self._queue.put(item)

    @property
    def waited_for(self) -> bool:
        """Whether there is work that no thread has taken up."""
        return not self._queue.empty()

    def _serve(self) -> None:
        """What each thread does until there is nothing more to come."""
        while (item := self._queue.get()) is not None:
            item()
            # What was done must not be kept alive until there is more to do.
            del item

    def _do(self, outcome: Deferred[Any], work: Callable[[], object]) -> None:
        try:
            result = work()
        except BaseException:  # noqa: BLE001 - whatever it is, it is the caller's
            result = Failure()  # type: ignore[no-untyped-call]
        self._reactor.callFromThread(self._finish, outcome, result)

    def _finish(self, outcome: Deferred[Any], result: object) -> None:
        """Back in the reactor's thread: hand over the result, then tell who waits for the last of them."""
        self._running -= 1
        outcome.callback(result)
        if not self._running:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)
