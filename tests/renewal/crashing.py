"""A station's credential sets in a process of their own that is killed at any point: ``python -m tests.renewal.crashing``.

It reads one order a line from its standard input, as JSON: the home folder, the time of day, and the point at which to kill. For
each it forks, so that nothing has to be imported again; the child has the real renewer with ledger, vault and consumers, does
what is due, and ends, or dies of SIGKILL at a *point*: in front of and behind each commit, at the begin and at the end of each
step of the plugin and of each telling. How the child ended is written to the standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import Lock
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from oftp2d import loop
from oftp2d.certificates import Certificates
from oftp2d.config import Config, LogFormat, LogLevel
from oftp2d.context import Context
from oftp2d.ledger import Ledger
from oftp2d.ledger.database import Database
from oftp2d.logs import LineObserver
from oftp2d.renewal.consumers import Consumers
from oftp2d.renewal.interface import GROUP, Answer, Case, Fetched, House, Plugin, Refusal, Trial
from oftp2d.renewal.material import Material
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.renewer import Renewer
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.telling import Activation
from oftp2d.renewal.timetable import Plan
from oftp2d.revocation import Lists
from oftp2d.revocations import Revocations
from oftp2d.settings import REQUIRED, text
from oftp2d.spool import Spool
from oftp2d.vault import Secret, Vault
from oftp2d.workers import Workers

PASSPHRASE = b"hunter2 & more"
LONGEST = 60
"""Seconds of a run; it takes one."""


class Fuse:
    """Writes down every point that is passed, and kills the process at one of them."""

    def __init__(self, home: Path, kill: int | str | None) -> None:
        self._points = os.open(home / "points", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._kill = kill
        self._lock = Lock()
        self._passed = 0

    def passes(self, point: str) -> None:
        with self._lock:
            self._passed += 1
            os.write(self._points, f"{point}\n".encode())
            if self._kill in {self._passed, point}:
                os.kill(os.getpid(), signal.SIGKILL)


@attrs.frozen(kw_only=True)
class Options:
    """Where the credentials are that the source gives, and where it counts how often it was asked."""

    folder: str = text(500, REQUIRED, "The folder.", example="/folder")


class Source(Plugin):
    """A source that gives each of its credentials once."""

    summary = "gives one credential after the other"
    options = Options
    fuse: Fuse

    async def plan(self, case: Case, now: datetime) -> Plan:
        found = await super().plan(case, now)
        self.fuse.passes("plan")
        return found

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:  # noqa: ARG002
        answer = self._next(Path(case.options.folder))
        self.fuse.passes("fetch")
        return answer

    def _next(self, folder: Path) -> Answer:
        asked = folder / "asked"
        number = len(asked.read_bytes()) if asked.exists() else 0
        with asked.open("ab") as file:
            file.write(b"+")
        return Answer(
            content=Secret((folder / f"{number}.p12").read_bytes()),
            passphrase=Secret(PASSPHRASE),
            transaction=f"T{number}",
        )

    async def read(self, case: Case, answer: Answer, now: datetime) -> Fetched | Refusal:
        found = await super().read(case, answer, now)
        self.fuse.passes("read")
        return found

    async def stage(self, case: Case, new: Material, now: datetime) -> None:
        await super().stage(case, new, now)
        self.fuse.passes("stage")

    async def validate(self, case: Case, new: Material, now: datetime) -> Sequence[Problem]:
        found = await super().validate(case, new, now)
        self.fuse.passes("validate")
        return found

    async def probe(self, case: Case, new: Material, now: datetime) -> Trial:  # noqa: ARG002
        self.fuse.passes("probe")
        return Trial(ok=True, text="it answers")

    async def activate(self, case: Case, new: Material, now: datetime) -> str:  # noqa: ARG002
        with (Path(case.options.folder) / "confirmed").open("a") as file:
            file.write(f"{new.fingerprint}\n")
        self.fuse.passes("activate")
        return "it knows"


class Told(Consumers):
    """The consumers of the station, with a point behind each telling."""

    fuse: Fuse

    async def tell(self, consumer: str, telling: Activation) -> str:
        said = await super().tell(consumer, telling)
        self.fuse.passes(f"tell {consumer}")
        return said


class Nobody:
    """There are no partners to offer a certificate to."""

    def successor_came(self, old: object, new: object) -> None:
        pass

    def taken_back(self, fingerprint: str, why: str) -> int:  # noqa: ARG002
        return 0


def _watch_commits(fuse: Fuse) -> None:
    writing = Database.writing

    @contextmanager
    def watched(self: Database, *, durable: bool = True) -> Iterator[Any]:
        with writing(self, durable=durable) as connection:
            yield connection
        fuse.passes("commit")

    Database.writing = watched  # type: ignore[method-assign]


async def _live(reactor: Any, home: Path, now: datetime, fuse: Fuse, first: bytes | None) -> None:
    """One run of a station: do what is due, and end."""
    config = Config(home=home)
    workers, vault = Workers(reactor), Vault.open(home / "master.key")
    workers.start()
    ledger = Ledger.open(config.database_url)
    lists = Lists(config.revocation.mode, timedelta(seconds=config.revocation.max_age_seconds))
    certificates = Certificates(ledger, vault, lists=lists)
    context = Context(
        reactor=reactor,
        config=config,
        ledger=ledger,
        spool=Spool(config.spool_path),
        workers=workers,
        vault=vault,
        certificates=certificates,
        revocations=Revocations(reactor, workers, ledger, certificates, lists, settings=config.revocation),
        clock=lambda: now,
    )
    _watch_commits(fuse)
    Source.fuse = Told.fuse = fuse
    house = House(reactor=reactor, workers=workers, home=home)
    entry = EntryPoint(name="source", value=f"{__name__}:Source", group=GROUP)
    consumers = Told(context, Nobody(), changed=lambda: None)
    renewer = Renewer(context, consumers, registry=Registry(house, [entry]))
    await renewer.start()
    if first is not None:
        await renewer.bring("site-1", Secret(first), Secret(PASSPHRASE))
    await renewer.run_due()
    await renewer.stop()
    await workers.stop()
    ledger.close()


def _child(order: dict[str, Any]) -> int:
    home = Path(order["home"])
    log = (home / "log").open("a")
    globalLogBeginner.beginLoggingTo([LineObserver(log, LogLevel.DEBUG, LogFormat.TEXT)], redirectStandardIO=False)
    loop.install()
    from twisted.internet import reactor

    failures: list[object] = []
    running: Any = reactor
    live: Coroutine[Any, Any, None] = _live(
        running,
        home,
        datetime.fromisoformat(order["now"]),
        Fuse(home, order.get("kill")),
        Path(order["first"]).read_bytes() if "first" in order else None,
    )

    def begin() -> None:
        Deferred.fromCoroutine(live).addErrback(failures.append).addCallback(lambda _: running.stop())

    running.callWhenRunning(begin)
    running.run()
    for failure in failures:
        print(failure, file=log, flush=True)
    return 1 if failures else 0


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            # A run that hangs is a death of another kind: SIGALRM.
            signal.alarm(LONGEST)
            code = 2
            try:
                code = _child(json.loads(line))
            finally:
                # Not by way of the caller: its standard input and output are the parent's.
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
