"""Whole stations in this process: the real daemon with its own home, real sockets, real TLS, and what it logged.

``Station`` is one of them, not yet started; it can be told of partners before and asked for everything while it runs.
``introduce`` makes two of them partners that know nothing but identification data.
"""

from __future__ import annotations

import gc
import io
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from oftp2.certs.usages import Usage
from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.cli.app import execute
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Terminal
from oftp2d.client import AdminClient
from oftp2d.config import LogFormat
from oftp2d.daemon import Daemon
from oftp2d.ledger import (
    AcxMode,
    AuditEntry,
    Authentication,
    ExchangeRecord,
    Holder,
    Kind,
    Ledger,
    NewOutgoing,
    NewPartner,
    Partner,
    Slot,
    StoredCertificate,
    Transfer,
    Transport,
)
from oftp2d.ledger import Station as StationRecord
from oftp2d.logs import LineObserver
from oftp2d.vault import MASTER_KEY_OCTETS, Vault
from tests import pki
from tests.pki import Issued

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which what is waited for will not happen any more."""

CLOCK: IReactorTime = reactor  # type: ignore[assignment]  # the module stands for the reactor

CODE_A = "O0013000001TESTA0"
CODE_B = "O0013000002TESTB"
PASSWORD_A = "ALPHA-8Z"
PASSWORD_B = "BRAVO-7Y"

_TRACE = re.compile(r"Traceback|File \"")


@dataclass
class Log:
    """What the stations of a test logged: the events, and the lines an operator would read."""

    events: list[LogEvent] = field(default_factory=list)
    _stream: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self._lines = LineObserver(self._stream, config.LogLevel.INFO, LogFormat.TEXT)

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)
        self._lines(event)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self, *words: str) -> list[str]:
        """The lines with all these words in them."""
        return [line for line in self.text.splitlines() if all(word in line for word in words)]

    def complaints(self) -> list[str]:
        """The lines above level info."""
        return [line for line in self.text.splitlines() if line.split()[1] in {"warn", "error", "critical"}]

    def check(self) -> None:
        """Nothing broke that nobody had thought of."""
        broken = [
            event for event in self.events if event.get("log_level") is LogLevel.critical or event.get("log_failure")
        ]
        assert not broken, self.text[-4000:]
        assert not _TRACE.search(self.text), self.text[-4000:]


@contextmanager
def watching() -> Iterator[Log]:
    """Collect what is logged; at the end nothing critical and no traceback may be in it."""
    log = Log()
    globalLogPublisher.addObserver(log)
    try:
        yield log
    finally:
        # What went wrong in a Deferred that nobody waits for is told when it is collected.
        gc.collect()
        globalLogPublisher.removeObserver(log)
    log.check()


async def eventually(what: str, true: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """Wait until it is true; returns what it said."""
    until = CLOCK.seconds() + seconds
    between = 0.002
    while not (found := await true()):
        if CLOCK.seconds() > until:
            raise AssertionError(f"{what} did not come within {seconds} seconds")
        await pause(between)
        # Most of it comes soon; what takes its time must not be slowed down by the asking.
        between = min(between * 1.5, 0.02)
    return found


async def pause(seconds: float) -> None:
    await deferLater(CLOCK, seconds, lambda: None)


class Station:
    """One station: a home folder and, while it runs, the daemon."""

    def __init__(
        self,
        home: Path,
        code: str,
        certificate: Issued,
        *,
        settings: str = "",
        anchors: Sequence[Issued] | None = None,
    ) -> None:
        self.home = home
        self.code = code
        self.certificate = certificate
        self.settings = settings
        self.daemon: Daemon | None = None
        home.mkdir(mode=0o700)
        self.master_key = os.urandom(MASTER_KEY_OCTETS)
        (home / "master.key").write_bytes(self.master_key)
        (home / "master.key").chmod(0o600)
        self.vault = Vault.open(home / "master.key")
        with self._closed() as (ledger, store):
            ledger.stations.add(StationRecord(code=code, name=code, main=True))
            self._furnish(store, certificate, anchors)

    def _furnish(self, store: Certificates, certificate: Issued, anchors: Sequence[Issued] | None) -> None:
        now = datetime.now(UTC)
        trusted = (pki.issuing("A"), pki.issuing("B")) if anchors is None else anchors
        for name, anchor in zip(("ca-a", "ca-b"), trusted, strict=False):
            store.import_anchors(anchor.pem, now=now, alias=name)
        store.adopt(certificate.key, certificate.certificate, alias="station", now=now, station=self.code)

    @contextmanager
    def _closed(self) -> Iterator[tuple[Ledger, Certificates]]:
        """The ledger of a station that does not run."""
        assert self.daemon is None
        ledger = Ledger.open(self.config.database_url)
        try:
            yield ledger, Certificates(ledger, self.vault)
        finally:
            ledger.close()

    @property
    def config(self) -> config.Config:
        listeners = "".join(
            f'[[listeners]]\ntransport = "{transport}"\nhost = "127.0.0.1"\nport = 0\n' for transport in ("tls", "tcp")
        )
        given = self.settings
        usual = (
            ("retry", "first_seconds = 1"),
            ("spool", "free_octets_reserved = 0"),
            ("revocation", 'mode = "off"\nallow_local = true'),
        )
        for section, line in usual:
            if f"[{section}]" not in given:
                given += f"\n[{section}]\n{line}\n"
        return config.parse(listeners + given, self.home)

    # --- running --------------------------------------------------------------------------------------------

    async def start(self) -> Station:
        daemon = Daemon(reactor, self.config)
        await daemon.start()
        self.daemon = daemon
        return self

    async def stop(self, seconds: float = 1.0) -> None:
        daemon, self.daemon = self.daemon, None
        if daemon is not None:
            await daemon.stop(seconds=seconds)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def running(self) -> Daemon:
        assert self.daemon is not None, "the station does not run"
        return self.daemon

    @property
    def ledger(self) -> Ledger:
        return self.running.context.ledger

    def port(self, transport: str = "tls") -> int:
        return next(each.port for each in self.running.listeners() if each.transport == transport)

    async def db(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with the ledger in its thread."""
        return await self.running.context.workers.database(work, *args, **kwargs)

    async def idle(self) -> None:
        """Wait until no session is open."""

        async def none() -> bool:
            return not self.running.sessions()

        await eventually("the end of all sessions", none)

    # --- partners -------------------------------------------------------------------------------------------

    def add_partner(
        self,
        code: str,
        *,
        password_ours: str = "",
        password_theirs: str = "",
        announce: str | None = None,
        issuer: str | None = None,
        **settings: Any,
    ) -> Partner:
        """Before it starts: enter a partner, and with ``announce`` the common name of its certificate to come."""
        wanted = {
            "station": self.code,
            "transport": Transport.TLS,
            "acx": AcxMode.ANNOUNCED,
            "authentication": Authentication.OFF,
        } | settings
        now = datetime.now(UTC)
        with self._closed() as (ledger, store):
            partner = ledger.partners.add(
                NewPartner(
                    code=code,
                    name=code,
                    password_ours=self.vault.seal(password_ours.encode()) if password_ours else b"",
                    password_theirs=self.vault.seal(password_theirs.encode()) if password_theirs else b"",
                    **wanted,
                ),
                now,
            )
            if announce is not None:
                store.announce(partner_id=partner.id, now=now, common_name=announce, issuer=issuer)
        return partner

    def hold(self, partner: Partner, certificate: Issued, *, usages: frozenset[Usage] | None = None) -> None:
        """Before it starts: the operator imports a certificate of the partner."""
        with self._closed() as (_, store):
            store.import_partner(
                certificate.der, partner_id=partner.id, station=partner.code, now=datetime.now(UTC), usages=usages
            )

    def confirm(self, partner: Partner) -> None:
        """Before it starts: the operator says that the partner has our certificate."""
        with self._closed() as (ledger, _):
            ledger.certificates.confirm(partner.id, self.certificate.fingerprint, datetime.now(UTC), "manual")

    async def partner(self, code: str) -> Partner:
        found = await self.db(self.ledger.partners.by_code, code)
        assert found is not None
        return found

    async def set(self, code: str, **settings: Any) -> Partner:
        return await self.db(self.ledger.partners.change, (await self.partner(code)).id, **settings)

    # --- what is in it --------------------------------------------------------------------------------------

    async def certificates(self, code: str) -> list[StoredCertificate]:
        """What it holds of a partner."""
        partner = await self.partner(code)
        return list(await self.db(self.ledger.certificates.list, Holder.PARTNER, partner.id))

    async def slots(self, code: str) -> dict[Slot, set[str]]:
        """What the station holds of a partner: slot -> fingerprints."""
        found: dict[Slot, set[str]] = {}
        for held in await self.certificates(code):
            found.setdefault(held.slot, set()).add(held.fingerprint)
        return found

    async def exchanges(self) -> list[ExchangeRecord]:
        """The messages, oldest first."""
        return list(reversed(await self.db(self.ledger.exchanges.list)))

    async def audit(self, event: str | None = None) -> list[AuditEntry]:
        """The audit trail, oldest first."""
        return list(reversed(await self.db(self.ledger.audit.list, None, event, limit=1000)))

    async def transfers(self, kind: Kind | None = None) -> list[Transfer]:
        """All transfers, oldest first."""
        return list(reversed(await self.db(self.ledger.transfers.list, kind=kind)))

    def inbox(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in (self.home / "spool" / "inbox").iterdir())

    # --- what it is asked -----------------------------------------------------------------------------------

    async def queue(self, code: str, content: bytes, dataset: str = "ORDERS", **done: Any) -> Transfer:
        """Queue a file without calling, and nudging nobody; ``done``: what is to be done to it before it goes."""
        context, partner = self.running.context, await self.partner(code)
        staged = await context.workers.disk(context.spool.stage, io.BytesIO(content))
        new = NewOutgoing(
            kind=Kind.FILE,
            partner_id=partner.id,
            dataset=dataset,
            originator=self.code,
            destination=code,
            octets=staged.octets,
            spool_name=staged.name,
            **done,
        )
        return await self.db(self.ledger.transfers.queue, new, datetime.now(UTC))

    async def call(self, code: str) -> Partner:
        """Call the partner once; returns what is known of it when the call and its sessions are over."""
        before = await self.partner(code)
        # The dialler looks now and then by itself for what waits, and may have been quicker.
        if before.id not in self.running.dialler._calling:
            await self.running.dialler.call(before)

        async def called() -> bool:
            after = await self.partner(code)
            return after.last_call_at != before.last_call_at and not self.running.dialler._calling

        await eventually(f"the call to {code}", called)
        await self.idle()
        return await self.partner(code)

    async def test(self, code: str) -> dict[str, tuple[bool, str]]:
        """``partner test``: the steps with what they say."""
        report = await self.running.dialler.test(await self.partner(code))
        await self.idle()
        return {step.step: (step.ok, step.text) for step in report.steps}

    async def ask(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Ask the administration interface over its socket."""

        def talk() -> dict[str, Any]:
            with AdminClient(self.config.socket_path) as client:
                return client.get(path, **parameters)

        answer: dict[str, Any] = await deferToThread(talk)
        return answer

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Carry out a command line: exit code, and all that was printed."""
        out = io.StringIO()
        terminal = Terminal(
            out=lambda: Screen(file=out, width=400), err=lambda: Screen(file=out, width=400), serve=lambda _: 0
        )
        before = os.environ.get("OFTP2D_HOME")
        os.environ["OFTP2D_HOME"] = str(self.home)
        try:
            code: int = await deferToThread(execute, arguments, terminal)
        finally:
            if before is None:
                del os.environ["OFTP2D_HOME"]
            else:
                os.environ["OFTP2D_HOME"] = before
        return code, out.getvalue()


def station_a(folder: Path, *, settings: str = "", certificate: Issued | None = None, **more: Any) -> Station:
    return Station(folder / "a", CODE_A, certificate or pki.certificate("CA01"), settings=settings, **more)


def station_b(folder: Path, *, settings: str = "", certificate: Issued | None = None, **more: Any) -> Station:
    return Station(folder / "b", CODE_B, certificate or pki.certificate("CB01"), settings=settings, **more)


def introduce(a: Station, b: Station, **settings: Any) -> None:
    """Tell each of two stations the other's code, passwords and identification data; settings are of both sides.

    One that begins with ``a_`` or ``b_`` is what that station knows of the other.
    """
    common = {name: value for name, value in settings.items() if name[:2] not in {"a_", "b_"}}

    def of(side: str) -> dict[str, Any]:
        return common | {name[2:]: value for name, value in settings.items() if name.startswith(side)}

    a.add_partner(
        CODE_B,
        **{"password_ours": PASSWORD_A, "password_theirs": PASSWORD_B, "announce": "b.test", "issuer": "ca-b"}
        | {"host": "127.0.0.1", "server_name": "b.test"}
        | of("a_"),
    )
    b.add_partner(
        CODE_A,
        **{"password_ours": PASSWORD_B, "password_theirs": PASSWORD_A, "announce": "a0.test", "issuer": "ca-a"}
        | {"host": "127.0.0.1", "server_name": "a0.test"}
        | of("b_"),
    )


async def start(a: Station, b: Station) -> None:
    """Start both and tell each the other's port."""
    await a.start()
    await b.start()
    await rewire(a, b)


async def rewire(a: Station, b: Station) -> None:
    """Each learns the port of the other, which is a new one after every start."""
    for station, other in ((a, b), (b, a)):
        partner = await station.partner(other.code)
        await station.set(other.code, port=other.port(partner.transport.value))
