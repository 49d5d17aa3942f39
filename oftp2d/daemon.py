"""The composition root: makes every room of a running station, starts them in order, stops them in order.

Start: ledger and what crashed sessions left, spool, TLS, administration, ports, calls. Stop: ports and calls first;
running sessions finish their file and leave, at the deadline they are ended with ESID 05; then administration,
workers, ledger. A second signal skips to the deadline. SIGHUP takes up new certificates and definitions of credential sets.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from oftp2d.admin import AdminServer, Desk
from oftp2d.admin.collaborators import ListenerView, SessionView
from oftp2d.authentication import Authentication
from oftp2d.boot import current_boot
from oftp2d.certificates import Certificates
from oftp2d.config import Config, Preference
from oftp2d.context import Context
from oftp2d.delivery import Delivery
from oftp2d.dialler import Dialler
from oftp2d.errors import OperatorError
from oftp2d.exchange import Exchange
from oftp2d.fetching import Fetcher
from oftp2d.gauges import of_ledger
from oftp2d.ledger import Direction, Kind, Ledger, Partner, StoredCertificate, Transfer, TransferState, UnknownError
from oftp2d.listeners import Listeners
from oftp2d.metrics import Metrics
from oftp2d.outlook import Outlook, of_certificates
from oftp2d.overdue import give_up_overdue
from oftp2d.partners import BadAttempts, Gate
from oftp2d.reminders import Reminders, of_exchange
from oftp2d.renewal.consumers import Consumers
from oftp2d.renewal.renewer import Renewer
from oftp2d.renewals import Renewals
from oftp2d.revocation import Lists
from oftp2d.revocations import Barred, Revocations
from oftp2d.securing import Securing
from oftp2d.sessions import Sessions
from oftp2d.spool import Spool
from oftp2d.tls import Servers
from oftp2d.trace import Traces
from oftp2d.trustlists import TrustLists
from oftp2d.vault import Vault
from oftp2d.workers import Workers

UPKEEP = timedelta(minutes=1)
"""How often it is looked after what was left over, and what will end."""
LEFT_OVER = 1000
"""Received files that are looked at each time; the next time goes on behind them."""


def usual_clock() -> datetime:
    """The time of day of the machine, UTC."""
    return datetime.now(UTC)


class Daemon:
    """One running station.

    ``clock`` tells it the time of day, UTC; ``upkeep`` is how often it looks after what was left over, UPKEEP unless given.
    """

    log = Logger(namespace="daemon")

    def __init__(
        self,
        reactor: Any,
        config: Config,
        *,
        clock: Callable[[], datetime] = usual_clock,
        upkeep: timedelta | None = None,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._clock = clock
        self._every = upkeep or UPKEEP
        self._runs = False
        self._tls_fault = ""
        """Why there is no certificate for TLS; it is told once."""
        self._looked_at = ""
        """The last file that was looked at among those that were left over."""
        self._undo: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._upkeep = LoopingCall(lambda: Deferred.fromCoroutine(self._look_after()))
        self._upkeep.clock = reactor
        self._upkeep_over: Deferred[Any] = succeed(None)
        """Fires when the upkeep was stopped, and what it had begun is done."""

    async def start(self) -> None:
        """Start everything. Raises ``OperatorError``, with everything stopped again, when something cannot be."""
        try:
            await self._start()
        except BaseException:
            await self._stop_all()
            raise

    async def _start(self) -> None:
        vault = Vault.find(self._config.home, os.environ)
        workers = Workers(self._reactor)
        workers.start()
        self._undo.append(workers.stop)
        ledger = await workers.database(Ledger.open, self._config.database_url)

        async def close_ledger() -> None:
            await workers.database(ledger.close)

        self._undo.append(close_ledger)
        certificates, revocations = self._store(workers, ledger, vault)
        self._undo.append(revocations.stop)
        self.context = context = Context(
            reactor=self._reactor,
            config=self._config,
            ledger=ledger,
            spool=await workers.disk(Spool, self._config.spool_path),
            workers=workers,
            vault=vault,
            certificates=certificates,
            revocations=revocations,
            clock=self._clock,
        )
        self.started_at = context.now()
        self._look_out(context)
        attempts = BadAttempts(self._config.limits.bad_passwords, self._config.limits.bad_password_seconds)
        self._servers = Servers(context)
        authentication = Authentication(context)
        self.exchange = Exchange(
            context,
            authentication,
            changed=self.certificates_changed,
            confirmed=lambda: self.renewals.confirmed(),  # noqa: PLW0108 - it is made behind the exchange
        )
        self._renew(context)
        self._reminders = Reminders(context, queued=self._nudge_dialler)
        self._delivery = Delivery(context, owed=self._nudge_dialler)
        self.securing = Securing(context, queued=self._nudge_dialler)
        self.traces = Traces(context.reactor, workers, self._config.home / "traces", now=context.now)
        self._undo += [self.renewals.stop, self._delivery.stop, self.securing.stop, self.traces.finish]
        self.running = Sessions(
            context,
            Gate(context, attempts),
            authentication,
            exchange=self.exchange,
            delivery=self._delivery,
            traces=self.traces,
        )
        self.dialler = Dialler(context, self._reactor, self.running, authentication)
        self._listeners = Listeners(context, self._reactor, self.running, attempts, self._servers)
        admin = AdminServer(self._reactor, self._config.socket_path, self._desk())
        # The socket's lock says that no other daemon works in this home: only then may its leavings be touched.
        admin.claim()
        self._undo.append(admin.stop)
        self._undo.append(self.trust_lists.stop)
        await self.trust_lists.load()
        await revocations.load()
        await self._recover()
        admin.start()
        await self._take_up_for_tls()
        self._undo.append(self._listeners.stop)
        self._listeners.start()
        self._undo.append(self._stop_working)
        self.dialler.start()
        self.securing.start()
        revocations.changed = self._barred_changed
        revocations.start()
        self.trust_lists.start()
        await self.renewer.start()
        await self.outlook.look()
        self.renewals.look()
        self._upkeep_over = self._upkeep.start(self._every.total_seconds(), now=False).addErrback(
            lambda failure: self.log.failure("the upkeep failed", failure)
        )
        self._runs = True
        self.log.info("the station runs, version {version}", version=version("oftp2d"))

    def _renew(self, context: Context) -> None:
        """Make what gives new certificates to partners, and what gets new credentials from their sources."""
        self.renewals = Renewals(context, self.exchange, nudge=self._nudge_dialler, changed=self.certificates_changed)
        self.outlook.add(self.renewals.concerns)
        self.renewer = Renewer(context, Consumers(context, self.renewals, changed=self.certificates_changed))
        self.outlook.add(self.renewer.concerns)
        self.metrics.add(self.renewer.gauges)
        self._undo.append(self.renewer.stop)

    def _look_out(self, context: Context) -> None:
        """Make what looks ahead, counts, and keeps the trust list."""
        self.outlook = Outlook(context.workers, context.now)
        self.outlook.add(partial(of_certificates, context.ledger))
        self.outlook.add(partial(of_exchange, context.ledger, context.certificates, self._config.acx))
        self.outlook.tell(context.revocations.warnings)
        self.metrics = Metrics()
        self.metrics.add(partial(of_ledger, context.ledger))
        self.metrics.add(self.outlook.gauges)
        self.trust_lists = TrustLists(
            self._reactor,
            self._config.trust_list,
            ledger=context.ledger,
            workers=context.workers,
            authorities=context.certificates.authorities,
            fetcher=Fetcher(self._reactor, allow_local=True),
            now=context.now,
            changed=self.certificates_changed,
        )
        self.outlook.add(self.trust_lists.concerns)
        self.metrics.add(self.trust_lists.gauges)

    def _store(self, workers: Workers, ledger: Ledger, vault: Vault) -> tuple[Certificates, Revocations]:
        """The certificate store, and what keeps the revocation lists that it asks."""
        settings = self._config.revocation
        lists = Lists(settings.mode, timedelta(seconds=settings.max_age_seconds))
        oldest = self._config.selection.prefer is Preference.OLDEST
        certificates = Certificates(ledger, vault, lists=lists, oldest=oldest)
        return certificates, Revocations(
            self._reactor, workers, ledger, certificates, lists, settings=settings, now=self._clock
        )

    def _nudge_dialler(self, partner_id: int) -> None:
        """Something became due for a partner outside of a session."""
        self.dialler.nudge(partner_id)

    async def _stop_working(self) -> None:
        """Make no more calls, and end what they have begun: nothing may use the ledger any more."""
        self.context.stopping = True
        self.dialler.stop()
        if self._upkeep.running:
            self._upkeep.stop()
        await self.running.stop(0)
        await self.dialler.finished()
        await self._upkeep_over

    async def _recover(self) -> None:
        """Bring right what the last run left behind: nothing acknowledged is lost, nothing arrives twice."""
        context = self.context
        boot = current_boot()
        rebooted = boot is None or boot != await context.workers.disk(context.spool.boot)
        moved = await context.workers.database(
            context.ledger.transfers.recover, lambda _owner: False, context.now(), rebooted=rebooted
        )
        for transfer in moved:
            if rebooted and transfer.direction is Direction.IN:
                await context.workers.disk(context.spool.discard_part, transfer.spool_name)
                self.log.info(
                    "transfer {transfer} begins anew: the machine was started since, what came of it may not be on disk",
                    transfer=transfer.id,
                )
            else:
                self.log.info("transfer {transfer} goes on: {state}", transfer=transfer.id, state=transfer.state.value)
        if rebooted and boot is not None:
            # Only now: until all of that is done, the next start has to do it.
            await context.workers.disk(context.spool.note_boot, boot)
        await self._place_left_over()
        await self._expire()
        known = await context.workers.database(context.ledger.transfers.spool_names)
        for name in await context.workers.disk(context.spool.sweep, known):
            self.log.info("removed {name} from the spool, no transfer knows it", name=name)
        await self._judge_left_over()

    async def _place_left_over(self) -> None:
        """Put into the inbox what the ledger knows as delivered, and a crash has kept from getting there."""
        context = self.context
        for name in await context.workers.disk(context.spool.ready):
            with suppress(UnknownError):
                transfer = await context.workers.database(context.ledger.transfers.get, name)
                if transfer.state is TransferState.DELIVERED:
                    await context.workers.disk(context.spool.place, transfer.id, transfer.spool_name)
                    self.log.info("transfer {transfer} is in the inbox now", transfer=transfer.id)
                elif transfer.state is TransferState.RECEIVED:
                    await context.workers.disk(context.spool.reclaim, transfer.spool_name, transfer.id)

    async def _judge_left_over(self) -> None:
        """Files that were received, and whose session ended before they were judged or delivered."""
        context = self.context
        for _ in range(LEFT_OVER):
            found = await context.workers.database(self._next_left_over)
            if found is None:
                self._looked_at = ""
                return
            partner, transfer = found
            self._looked_at = transfer.id
            if context.now() - transfer.updated_at < self._every and self._upkeep.running:
                continue
            try:
                if transfer.kind is Kind.EXCHANGE:
                    await self.exchange.judge_left_over(partner, transfer)
                else:
                    self._delivery.begin(partner, transfer)
            except OperatorError as error:
                self.log.error(
                    "transfer {transfer}: {what}; {advice}", transfer=transfer.id, what=error.what, advice=error.advice
                )
            except Exception:  # noqa: BLE001 - one file must not keep the station from starting
                self.log.failure("transfer {transfer} cannot be judged", transfer=transfer.id)

    def _next_left_over(self) -> tuple[Partner, Transfer] | None:
        """In the database worker, one by one: what ends meanwhile must not begin again as it was before."""
        ledger = self.context.ledger
        for transfer in ledger.transfers.undelivered(limit=1, after=self._looked_at):
            return ledger.partners.get(transfer.partner_id), transfer
        return None

    async def _look_after(self) -> None:
        """What has to be done now and then."""
        try:
            self.securing.retry()
            await self._judge_left_over()
            await give_up_overdue(self.context)
            await self._reminders.look()
            # A certificate becomes valid, or ends, without anybody saying so.
            await self._take_up_certificates()
            await self.exchange.held.look()
            await self._expire()
            await self.context.workers.database(self.context.certificates.prune)
            self.renewals.look()
            self.renewer.look()
        except OperatorError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)

    async def _expire(self) -> None:
        """Free the room of what partners began to send and never went on with, and of what was refused long ago."""
        for transfer in await self.context.workers.database(self._expired):
            self.log.warn(
                "{file} broke off long ago and is given up, transfer {transfer}: if it is still missed, ask the partner"
                " to send it again",
                file=transfer.dataset,
                transfer=transfer.id,
            )

        refused = await self.context.workers.database(self._forget_certificates)
        if refused:
            self.log.info("{count} certificates that were refused are kept no longer", count=refused)
        for transfer in await self._forgotten():
            self.log.info(
                "the content of {file}, transfer {transfer}, which was refused, is kept no longer",
                file=transfer.dataset,
                transfer=transfer.id,
            )

    async def _forgotten(self) -> Sequence[Transfer]:
        """What was refused and kept as it came for long enough. The files go first: their names are known until they are gone."""
        context = self.context
        before = context.now() - timedelta(hours=context.config.spool.keep_refused_hours)
        forgotten = await context.workers.database(context.ledger.transfers.raw_expired, before)
        if forgotten:
            names = [transfer.raw_name for transfer in forgotten if transfer.raw_name is not None]
            await context.workers.disk(context.spool.remove_refused, *names)
            await context.workers.database(context.ledger.transfers.forget_raw, *(each.id for each in forgotten))
        return forgotten

    def _forget_certificates(self) -> int:
        """In the database worker: what the exchange refused long ago."""
        context = self.context
        return context.ledger.exchanges.forget_refused(
            context.now() - timedelta(days=context.config.acx.keep_refused_days)
        )

    def _expired(self) -> Sequence[Transfer]:
        """In the database worker, like the beginning of a reception: none may go on before its part is gone."""
        context = self.context
        now = context.now()
        before = now - timedelta(hours=context.config.spool.keep_parts_hours)
        expired = context.ledger.transfers.expire(before, now)
        for transfer in expired:
            context.spool.discard_part(transfer.spool_name)
        return expired

    def _desk(self) -> Desk:
        context = self.context
        return Desk(
            ledger=context.ledger,
            spool=context.spool,
            workers=context.workers,
            vault=context.vault,
            certificates=context.certificates,
            dialler=self.dialler,
            exchange=self.exchange,
            renewals=self.renewals,
            renewer=self.renewer,
            securing=self.securing,
            traces=self.traces,
            trust_lists=self.trust_lists,
            revocations=context.revocations,
            house=self,
            metrics=self.metrics,
            limits=self._config.limits,
            upload_folder=self._config.spool_path,
            started_at=self.started_at,
            version=version("oftp2d"),
            now=context.now,
        )

    # --- what the administration asks of the house --------------------------------------------------------------

    def listeners(self) -> Sequence[ListenerView]:
        """What is listened on."""
        return [
            ListenerView(transport=listener.transport.value, host=listener.host, port=port)
            for listener, port in self._listeners.addresses()
        ]

    def sessions(self) -> Sequence[SessionView]:
        """The sessions that are open."""
        return [
            SessionView(
                partner=running.report.partner,
                role="initiator" if running.report.role.value == "initiator" else "responder",
                state=running.link.session.state.value,
                since=running.report.since,
                remote=running.report.remote or running.link.remote,
            )
            for running in self.running.running()
        ]

    def warnings(self) -> Sequence[str]:
        """What an administrator should look after."""
        return self.outlook.lines

    def progress(self, transfer_id: str) -> int | None:
        """Octets moved of a transfer that is under way, or worked on before it goes or when it has come."""
        rooms = (self.running, self.securing, self._delivery)
        return next((octets for room in rooms if (octets := room.progress(transfer_id)) is not None), None)

    def trouble(self, transfer_id: str) -> str | None:
        """Why a transfer waits for its next try to be secured or delivered; None of any other."""
        return self.securing.trouble(transfer_id) or self._delivery.trouble(transfer_id)

    async def _barred_changed(self, new: Sequence[Barred], gone: Sequence[Barred]) -> None:
        """Nothing more goes under certificates that count for nothing now; what waited for one that counts again goes on."""
        context = self.context
        fingerprints = [each.stored.fingerprint for each in new]
        again = context.ledger.transfers.secure_again
        for transfer in await context.workers.database(again, fingerprints, context.now()):
            await context.workers.disk(context.spool.remove_outgoing, transfer.spool_name)
            self.log.info(
                "{file} is secured anew before it goes, transfer {transfer}: a certificate that it was made with does not"
                " count any more",
                file=transfer.dataset,
                transfer=transfer.id,
            )
        self.securing.nudge()
        for partner_id in {each.stored.partner_id for each in gone if each.stored.partner_id is not None}:
            partner = await context.workers.database(context.ledger.partners.get, partner_id)
            await self.exchange.certificate_came(partner)
        await self._take_up_certificates()

    def successor_came(self, old: StoredCertificate, new: StoredCertificate) -> None:
        """A certificate of ours was imported that follows another; in the database worker."""
        self.renewals.successor_came(old, new)

    def certificates_changed(self) -> None:
        """Take up new certificates for the calls to come."""
        self.context.revocations.nudge()
        Deferred.fromCoroutine(self._take_up_certificates()).addErrback(
            lambda failure: self.log.failure("the new certificates could not be taken up", failure)
        )

    def take_up(self) -> None:
        """Take up what operators have changed on disk: certificates, and the definitions of credential sets."""
        self.certificates_changed()
        self.renewer.reread()

    async def _take_up_certificates(self) -> None:
        await self._take_up_for_tls()
        await self.outlook.look()

    async def _take_up_for_tls(self) -> None:
        # A station without a certificate for TLS runs all the same: how else would one be imported?
        try:
            await self._servers.refresh()
            self._tls_fault = ""
        except OperatorError as error:
            if error.what != self._tls_fault:
                self.log.error("{what}; {advice}", what=error.what, advice=error.advice)
            self._tls_fault = error.what

    # --- the end ------------------------------------------------------------------------------------------------

    async def stop(self, *, seconds: float | None = None) -> None:
        """Stop in order; sessions get ``seconds`` to finish, by default those of the configuration."""
        self.context.stopping = True
        self.log.info("stopping")
        self.dialler.stop()
        if self._upkeep.running:
            self._upkeep.stop()
        await self._listeners.stop()
        await self.running.stop(self._config.session.stop_seconds if seconds is None else seconds)
        await self.dialler.finished()
        await self._upkeep_over
        await self._stop_all()

    def hurry(self) -> None:
        """Give running sessions no more time."""
        if self._runs:
            self.running.cut()

    async def _stop_all(self) -> None:
        while self._undo:
            undo = self._undo.pop()
            await undo()


def run(
    reactor: Any, config: Config, *, clock: Callable[[], datetime] = usual_clock, upkeep: timedelta | None = None
) -> int:
    """Run a station on ``reactor`` until it is told to stop; the exit code."""
    service = _Service(reactor, Daemon(reactor, config, clock=clock, upkeep=upkeep))
    reactor.callWhenRunning(service.begin)
    reactor.run(installSignalHandlers=True)
    return service.code


class _Service:
    """A daemon as a process: its signals and its exit code."""

    log = Logger(namespace="daemon")

    def __init__(self, reactor: Any, daemon: Daemon) -> None:
        self.code = 0
        self._reactor = reactor
        self._daemon = daemon
        self._started: Deferred[None] = Deferred()
        self._stopping = False

    def begin(self) -> None:
        """Start, and listen to signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._from_signal(self._stop))
        signal.signal(signal.SIGHUP, self._from_signal(self._daemon.take_up))
        self._started = Deferred.fromCoroutine(self._daemon.start())
        self._started.addErrback(self._failed)

    def _from_signal(self, act: Callable[[], None]) -> Callable[[int, object], None]:
        return lambda _number, _frame: self._reactor.callFromThread(act)

    def _stop(self) -> None:
        if self.code:
            return
        if self._stopping:
            self._daemon.hurry()
            return
        self._stopping = True
        # A station that is still starting is stopped when it has.
        self._started.addCallback(lambda _: None if self.code else Deferred.fromCoroutine(self._daemon.stop()))
        self._started.addCallbacks(lambda _: None if self.code else self._reactor.stop(), self._failed)

    def _failed(self, failure: Failure) -> None:
        if self.code:
            return
        self.code = 1
        match failure.value:
            case OperatorError(what=what, advice=advice):
                self.log.error("{what}; {advice}", what=what, advice=advice)
            case _:
                self.log.failure("the station failed", failure)
        self._reactor.stop()
