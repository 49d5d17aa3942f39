"""What every session of one daemon shares: made once by ``daemon``, handed to whoever needs it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from twisted.internet.interfaces import IReactorTime

from oftp2d.certificates import Certificates
from oftp2d.config import Config
from oftp2d.ledger import Ledger
from oftp2d.revocations import Revocations
from oftp2d.spool import Spool
from oftp2d.vault import Vault
from oftp2d.workers import Workers


def new_owner() -> str:
    """A name for this run of the daemon, under which it claims work: no other run ever has it."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


def owner_alive(owner: str) -> bool:
    """Whether the run of that name may still live; of another machine nothing is known. This run itself is not asked about."""
    host, _, rest = owner.rpartition("/")[0].rpartition("/")
    if host != socket.gethostname() or not rest.isdecimal():
        return True
    if int(rest) == os.getpid():
        # A run before this one had the same number, as in a container.
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@dataclass(slots=True, kw_only=True)
class Context:
    """The rooms of a running daemon."""

    reactor: IReactorTime
    config: Config
    ledger: Ledger
    spool: Spool
    workers: Workers
    vault: Vault
    certificates: Certificates
    revocations: Revocations
    owner: str = field(default_factory=new_owner)
    stopping: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def lease(self) -> timedelta:
        """How long a claim on a transfer holds without being renewed: no living session is ever silent for so long."""
        return timedelta(seconds=max(120, 2 * self.config.session.inactivity_seconds))

    def now(self) -> datetime:
        """The time of day, UTC."""
        return self.clock()
