"""The server of the administration interface: all routes, on a UNIX socket only its owner can open."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from klein import Klein
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from oftp2d.errors import OperatorError

from . import (
    certificates,
    credentials,
    exchanges,
    inbox,
    overview,
    partners,
    planning,
    renewals,
    traces,
    transfers,
    trust,
)
from .bodies import room_for
from .collaborators import Desk
from .routing import answer_unrouted

IDLE_SECONDS = 600
"""An idle connection is closed after so long; a large upload over a slow disk must not be idle."""


PARTS: Final = (
    overview,
    partners,
    certificates,
    planning,
    exchanges,
    renewals,
    credentials,
    transfers,
    inbox,
    traces,
    trust,
)
"""The modules with the routes: each adds its own."""


class AdminSite(Site):
    """The site, with bodies kept on the file system of the spool.

    Its routes are made with the first request: they take longer than anything else at the start of a daemon.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__(Resource(), timeout=IDLE_SECONDS)  # type: ignore[no-untyped-call]  # Twisted gives none
        self._desk = desk
        self._routed = False

    def getResourceFor(self, request: Request) -> IResource:  # noqa: N802 - Twisted's name
        """What answers a request."""
        if not self._routed:
            self._routed = True
            self.resource = _routes(self._desk)
        found: IResource = super().getResourceFor(request)  # type: ignore[no-untyped-call]  # Twisted gives none
        return found

    def getContentFile(self, length: int | None) -> IO[bytes]:  # noqa: N802 - Twisted's name
        """Where the body of a request goes."""
        return room_for(length, self._desk.upload_folder, self._desk.limits.max_file_octets)

    def log(self, request: object) -> None:
        """Requests of administrators are not logged; what they do is in the audit trail."""


class AdminServer:
    """Serves the desk on the socket at this path, from ``start`` to ``stop``."""

    def __init__(self, reactor: IReactorUNIX, path: Path, desk: Desk) -> None:
        self._reactor = reactor
        self._path = path
        site = AdminSite(desk)
        # The wrapper knows the open connections, which must be closed at the end.
        self._connections = WrappingFactory(site)  # type: ignore[no-untyped-call]  # Twisted gives none
        site.noisy = self._connections.noisy = False
        self._port: IListeningPort | None = None
        self._lock: IO[bytes] | None = None

    def claim(self) -> None:
        """Take the lock of the home folder, so that what the last daemon left may be touched; no listening yet.

        Raises:
            OperatorError: another daemon runs in this home folder.
        """
        if self._lock is None:
            self._lock = _locked(self._path.with_name(f"{self._path.name}.lock"))

    def start(self) -> None:
        """Listen, with the lock of the home folder.

        An upload may be in the spool for a moment before the ledger knows it: sweep the spool before, after ``claim``.

        Raises:
            OperatorError: another daemon runs in this home folder, or the socket can't be made.
        """
        self.claim()
        with suppress(FileNotFoundError):
            self._path.unlink()  # left by a daemon that was killed; the lock says that none runs
        try:
            wrapped = self._connections
            self._port = self._reactor.listenUNIX(os.fspath(self._path), wrapped, mode=0o600)  # type: ignore[arg-type]  # as in Twisted
        except CannotListenError as error:
            self._release()
            raise OperatorError(
                f"the socket {self._path} can't be made ({error.socketError})", "check the home folder"
            ) from None

    async def stop(self) -> None:
        """Listen no longer, and close what is open. Harmless when it was never started."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
            for connection in list(self._connections.protocols):
                connection.abortConnection()
        self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()


def _routes(desk: Desk) -> IResource:
    """Everything that can be asked of the desk."""
    app = Klein()
    answer_unrouted(app)
    for part in PARTS:
        part.add_routes(app, desk)
    found: IResource = app.resource()
    return found


def _locked(path: Path) -> IO[bytes]:
    """The lock of the home folder; the kernel lets go of it when the process ends, however it ends."""
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise OperatorError(f"{path} can't be made ({error.strerror})", "check the home folder") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OperatorError(
            "a daemon runs in this home folder already", "stop it first, or set OFTP2D_HOME to another folder"
        ) from None
    return lock
