"""The administration interface for tests: the real server with the real ledger, spool and certificates.

What the rooms above do (calling, the exchange, sessions) is only written down.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from oftp2.certs.usages import Usage
from oftp2d import config
from oftp2d.admin import AdminServer, Desk, ListenerView, SessionView
from oftp2d.certificates import Certificates
from oftp2d.cli.app import execute
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Terminal
from oftp2d.client import AdminClient
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.fetching import Fetcher
from oftp2d.ledger import (
    Direction,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    Kind,
    Ledger,
    NewIncoming,
    Partner,
    Station,
    StoredCertificate,
    Transfer,
)
from oftp2d.metrics import Metrics
from oftp2d.offers import Route
from oftp2d.probe import TestReport, TestStep
from oftp2d.renewal.consumers import Consumers
from oftp2d.renewal.interface import House as RenewalHouse
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.renewer import Renewer
from oftp2d.renewals import Renewals
from oftp2d.revocation import Lists
from oftp2d.revocations import Revocations
from oftp2d.spool import Spool, inbox_name
from oftp2d.trace import Traces
from oftp2d.trustlists import TrustLists
from oftp2d.vault import Vault
from oftp2d.workers import Workers

OURS = "O0013000001TEST"
THEIRS = "O0013000002PART"
STARTED = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@dataclass
class RecordingDialler:
    """Writes down who was called."""

    calls: list[str] = field(default_factory=list)
    nudges: list[int] = field(default_factory=list)
    report: TestReport = field(
        default_factory=lambda: TestReport(ok=True, steps=(TestStep(step="tcp", ok=True, text="connected"),))
    )

    async def call(self, partner: Partner) -> None:
        if partner.host is None:
            raise OperatorError(f"{partner.code} has no address", "set --host")
        self.calls.append(partner.code)

    async def test(self, partner: Partner) -> TestReport:
        self.calls.append(f"test {partner.code}")
        return self.report

    def nudge(self, partner_id: int) -> None:
        self.nudges.append(partner_id)


@dataclass
class RecordingSecuring:
    """Counts how often it was nudged, and writes down what was abandoned."""

    nudges: int = 0
    abandoned: list[str] = field(default_factory=list)

    def nudge(self) -> None:
        self.nudges += 1

    def abandon(self, transfer_id: str) -> None:
        self.abandoned.append(transfer_id)


@dataclass
class RecordingExchange:
    """Writes down what was to be exchanged, and answers with a record of it."""

    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    routes: list[Route | None] = field(default_factory=list)
    came: list[str] = field(default_factory=list)

    async def deliver(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        return self._record(ExchangeMessage.DELIVER, partner, certificate, previous, route)

    async def request(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        return self._record(ExchangeMessage.REQUEST, partner, certificate, previous, route)

    async def recall(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        return self._record(ExchangeMessage.REPLACE, partner, certificate, previous, route)

    async def accept(self, exchange_id: int, usages: frozenset[Usage] | None = None) -> ExchangeRecord:
        raise NotImplementedError

    async def reject(self, exchange_id: int, text: str = "") -> ExchangeRecord:
        raise NotImplementedError

    async def certificate_came(self, partner: Partner) -> None:
        self.came.append(partner.code)

    def _record(
        self,
        message: ExchangeMessage,
        partner: Partner,
        certificate: StoredCertificate | None,
        previous: StoredCertificate | None,
        route: Route | None,
    ) -> Sequence[ExchangeRecord]:
        names = (certificate.alias if certificate else None, previous.alias if previous else None)
        self.routes.append(route)
        self.asked.append((message, partner.code, *names))
        return [
            ExchangeRecord(
                id=1,
                partner_id=partner.id,
                direction=Direction.OUT,
                message=message,
                transfer_id="T",
                fingerprint=certificate.fingerprint if certificate else None,
                state=ExchangeState.QUEUED,
                text="",
                created_at=STARTED,
                answered_at=None,
            )
        ]


@dataclass
class QuietHouse:
    """A daemon with one listener and one session."""

    moved: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    changes: int = 0
    successors: list[tuple[str, str]] = field(default_factory=list)
    fails: bool = False

    def listeners(self) -> Sequence[ListenerView]:
        if self.fails:
            raise RuntimeError("hush")
        return [ListenerView(transport="tls", host="127.0.0.1", port=6619)]

    def sessions(self) -> Sequence[SessionView]:
        return [SessionView(partner=THEIRS, role="responder", state="idle", since=STARTED, remote="192.0.2.1:5")]

    def warnings(self) -> Sequence[str]:
        return ["certificate station ends on 2026-02-01"]

    def progress(self, transfer_id: str) -> int | None:
        return self.moved.get(transfer_id)

    def trouble(self, transfer_id: str) -> str | None:
        return self.troubles.get(transfer_id)

    def certificates_changed(self) -> None:
        self.changes += 1

    def successor_came(self, old: StoredCertificate, new: StoredCertificate) -> None:
        self.successors.append((old.alias, new.alias))


@dataclass
class Office:
    """A running interface, and both ways to use it."""

    home: Path
    ledger: Ledger
    spool: Spool
    dialler: RecordingDialler
    exchange: RecordingExchange
    securing: RecordingSecuring
    traces: Traces
    house: QuietHouse
    metrics: Metrics
    renewals: Renewals
    renewer: Renewer

    async def ask(self, method: str, *arguments: Any, **parameters: Any) -> dict[str, Any]:
        """Call a method of the client in a thread."""

        def talk() -> dict[str, Any]:
            with AdminClient(self.home / "admin.sock") as client:
                answer: dict[str, Any] = getattr(client, method)(*arguments, **parameters)
                return answer

        result: dict[str, Any] = await deferToThread(talk)
        return result

    async def send(self, content: bytes, **parameters: str) -> dict[str, Any]:
        """Upload a file."""
        source = io.BytesIO(content)
        return await self.ask("upload", "/v1/transfers", source, len(content), lambda _moved: None, **parameters)

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Carry out a command line in a thread: exit code, standard output, standard error output."""
        out, err = io.StringIO(), io.StringIO()
        terminal = Terminal(
            out=lambda: Screen(file=out, width=220), err=lambda: Screen(file=err, width=220), serve=lambda _config: 0
        )
        code: int = await deferToThread(execute, arguments, terminal)
        return code, out.getvalue(), err.getvalue()


@asynccontextmanager
async def open_office(
    home: Path, limits: config.Limits | None = None, registry: Callable[[RenewalHouse], Registry] | None = None
) -> AsyncIterator[Office]:
    """Serve the interface in this home folder for as long as the block lasts; with renewal plugins of a test, if any."""
    vault = Vault.create(home / "master.key")
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    ledger.stations.add(Station(code=OURS, name="Test Ltd", main=True))
    workers = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
    workers.start()
    spool, dialler, exchange, house = Spool(home / "spool"), RecordingDialler(), RecordingExchange(), QuietHouse()
    settings = config.Config(home=home)
    lists = Lists(settings.revocation.mode, timedelta(seconds=settings.revocation.max_age_seconds))
    certificates = Certificates(ledger, vault, lists=lists)
    context = Context(
        reactor=reactor,  # type: ignore[arg-type]  # as above
        config=settings,
        ledger=ledger,
        spool=spool,
        workers=workers,
        vault=vault,
        certificates=certificates,
        revocations=Revocations(reactor, workers, ledger, certificates, lists, settings=settings.revocation),
    )
    renewals = Renewals(context, exchange, nudge=dialler.nudge, changed=house.certificates_changed)
    renewal_house = RenewalHouse(reactor=reactor, workers=workers, home=home)  # type: ignore[arg-type]  # as above
    consumers = Consumers(context, renewals, changed=house.certificates_changed)
    office = Office(
        home=home,
        ledger=ledger,
        spool=spool,
        dialler=dialler,
        exchange=exchange,
        securing=RecordingSecuring(),
        traces=Traces(reactor, workers, home / "traces"),  # type: ignore[arg-type]  # as above
        house=house,
        renewals=renewals,
        renewer=Renewer(context, consumers, registry=registry(renewal_house) if registry else None),
        metrics=Metrics(),
    )
    desk = Desk(
        ledger=ledger,
        spool=office.spool,
        workers=workers,
        vault=vault,
        certificates=context.certificates,
        dialler=office.dialler,
        exchange=office.exchange,
        renewals=office.renewals,
        renewer=office.renewer,
        securing=office.securing,
        traces=office.traces,
        trust_lists=TrustLists(
            reactor,  # type: ignore[arg-type]  # as above
            config.TrustListSettings(),
            ledger=ledger,
            workers=workers,
            authorities=context.certificates.authorities,
            fetcher=Fetcher(reactor, allow_local=True),
            now=lambda: datetime.now(UTC),
            changed=office.house.certificates_changed,
        ),
        revocations=context.revocations,
        house=office.house,
        metrics=office.metrics,
        limits=limits or config.Limits(),
        upload_folder=home,
        started_at=STARTED,
        version="0.1.0",
        now=lambda: datetime.now(UTC),
    )
    server = AdminServer(reactor, home / "admin.sock", desk)  # type: ignore[arg-type]  # as above
    server.start()
    try:
        yield office
    finally:
        await server.stop()
        await office.renewer.stop()
        await office.renewals.stop()
        await office.traces.finish()
        await workers.stop()
        ledger.close()


def begin(office: Office, partner_id: int, number: int = 1, security: int = 0) -> Transfer:
    """A file that begins to arrive."""
    new = NewIncoming(
        kind=Kind.FILE,
        partner_id=partner_id,
        dataset="../INVOICE",
        date="20260102",
        time=f"030405{number:04}",
        originator=THEIRS,
        destination=OURS,
        security=security,
    )
    opened = office.ledger.transfers.open_incoming(new, datetime.now(UTC), "session", timedelta(minutes=5))
    assert isinstance(opened, Transfer)
    return opened


def deliver(office: Office, partner_id: int, content: bytes) -> Transfer:
    """A file that arrived, as a session leaves it."""
    opened = begin(office, partner_id)
    with office.spool.part(opened.id) as part:
        part.write(content)
        staged = part.seal_ready()
    name = inbox_name(opened.id, "../INVOICE")
    delivered = office.ledger.transfers.received_and_delivered(
        opened.id, staged.octets, staged.sha256, name, datetime.now(UTC), receipt=None
    )
    office.spool.place(opened.id, name)
    return delivered


def refuse(
    office: Office,
    partner_id: int,
    content: bytes,
    reason: int = 33,
    *,
    number: int = 1,
    ago: timedelta = timedelta(),
    security: int = 0,
) -> Transfer:
    """A file that arrived some time ago and could not be opened, kept as it came."""
    opened = begin(office, partner_id, number, security)
    with office.spool.part(opened.id) as part:
        part.write(content)
        staged = part.seal()
    now = datetime.now(UTC) - ago
    office.ledger.transfers.received(opened.id, staged.octets, staged.sha256, staged.name, now)
    text = "the content cannot be decrypted"
    refused = office.ledger.transfers.refuse(opened.id, f"NERP {reason}", text, now, None, raw_name=staged.name)
    office.spool.refuse(staged.name)
    return refused
