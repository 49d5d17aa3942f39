"""The sessions that run: made for listeners and dialler alike, counted, shown, ended when the daemon stops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from oftp2.negotiation import Capabilities
from oftp2.reasons import EndSessionReason
from oftp2.session import Session
from oftp2.values import Role
from oftp2d.authentication import Authentication
from oftp2d.context import Context
from oftp2d.delivery import Delivery
from oftp2d.errors import OperatorError
from oftp2d.exchange import Exchange
from oftp2d.ledger import Partner
from oftp2d.line import end_politely
from oftp2d.link import Link
from oftp2d.monitor import Monitor, Purpose, Report
from oftp2d.partners import MODES, Gate, highest_level, least_level
from oftp2d.trace import Traces


class Running:
    """One link, its monitor's report, and the moment both are over."""

    def __init__(self, link: Link, report: Report) -> None:
        self.link = link
        self.report = report
        self.over: Deferred[Report] = Deferred()


class Sessions:
    """Every session of the daemon."""

    log = Logger(namespace="sessions")

    def __init__(
        self,
        context: Context,
        gate: Gate,
        authentication: Authentication,
        *,
        exchange: Exchange,
        delivery: Delivery,
        traces: Traces,
    ) -> None:
        self._context = context
        self._traces = traces
        self._gate = gate
        self._authentication = authentication
        self._exchange = exchange
        self._delivery = delivery
        self._numbers = itertools.count(1)
        self._running: dict[str, Running] = {}
        # A session may be over while its connection is not: who was told to go may still stand in the door.
        self._links: set[Link] = set()

    def __len__(self) -> int:
        return len(self._links)

    def running(self) -> list[Running]:
        """Those that are open, oldest first."""
        return list(self._running.values())

    def from_address(self, address: str) -> int:
        """How many connections with one address stand, those included whose session is over."""
        return sum(link.address == address for link in self._links)

    def with_partner(self, code: str) -> bool:
        """Whether a session with this partner is open."""
        return any(running.report.partner == code for running in self._running.values())

    def progress(self, transfer_id: str) -> int | None:
        """Octets already sent of a transfer that is under way."""
        for running in self._running.values():
            if transfer_id in running.report.progress:
                return running.report.progress[transfer_id]
        return None

    def answer(self, *, tls: bool) -> Link:
        """A link for a call that came in."""
        settings = self._context.config.session
        # What a partner gets less than this is known when it has said who it is.
        capabilities = Capabilities(
            buffer_size=settings.buffer_size, credit=settings.credit, compression=True, restart=True
        )
        session = Session(
            Role.RESPONDER, capabilities, inactivity=settings.inactivity_seconds, closing=settings.close_seconds
        )
        return self._new(session, tls=tls, partner=None, purpose=Purpose.EXCHANGE).link

    def call(self, partner: Partner, *, tls: bool, authentication: bool, purpose: Purpose) -> Running:
        """A link for a call to ``partner``. Raises ``OperatorError`` when the station is stopping."""
        if self._context.stopping:
            raise OperatorError("the station is stopping", "try again when it runs")
        settings = self._context.config.session
        capabilities = Capabilities(
            level=highest_level(partner),
            lowest_level=least_level(partner),
            mode=MODES[partner.mode],
            buffer_size=min(settings.buffer_size, partner.buffer_size),
            credit=min(settings.credit, partner.credit),
            compression=partner.compression,
            restart=partner.restart,
            authentication=authentication,
        )
        session = Session(
            Role.INITIATOR,
            capabilities,
            code=partner.station,
            password=self._authentication.password(partner),
            inactivity=settings.inactivity_seconds,
            closing=settings.close_seconds,
        )
        return self._new(session, tls=tls, partner=partner, purpose=purpose)

    def _new(self, session: Session, *, tls: bool, partner: Partner | None, purpose: Purpose) -> Running:
        report = Report(
            id=f"{next(self._numbers)}",
            role=session.role,
            remote="",
            since=self._context.now(),
            partner=partner.code if partner else None,
        )
        link = Link(
            self._context.reactor,
            session,
            tls=tls,
            handshake_seconds=self._context.config.limits.handshake_seconds,
            close_seconds=self._context.config.session.close_seconds,
            begin=lambda link: self._begin(link, running, partner, purpose),
            recording=self._traces.record(report.id, report.role, report.partner),
        )
        running = Running(link, report)
        self._running[report.id] = running
        self._links.add(link)
        link.closed.addCallback(lambda why: self._closed(running, why))
        return running

    def _begin(self, link: Link, running: Running, partner: Partner | None, purpose: Purpose) -> None:
        running.report.remote = link.remote
        if link.recording is not None:
            link.recording.line = f"{link.tls.version if link.tls else 'plain TCP'} with {link.remote}"
        monitor = Monitor(
            self._context,
            link,
            running.report,
            gate=self._gate,
            authentication=self._authentication,
            exchange=self._exchange,
            delivery=self._delivery,
            partner=partner,
            purpose=purpose,
            full=partner is None and len(self._running) > self._context.config.limits.max_sessions,
        )
        session = Deferred.fromCoroutine(monitor.run())
        session.addErrback(lambda failure: self.log.failure("a session could not be ended as it should", failure))
        session.addBoth(lambda _: self._over(running))

    def _closed(self, running: Running, why: str) -> None:
        self._links.discard(running.link)
        if running.link.recording is not None:
            running.link.recording.closed(why)
        if running.link.begun:
            return
        running.report.text = why
        if running.report.role is Role.RESPONDER:
            self.log.warn("a call from {remote} came to nothing: {why}", remote=running.link.remote, why=why)
        self._over(running)

    def _over(self, running: Running) -> None:
        self._running.pop(running.report.id, None)
        if not running.over.called:
            running.over.callback(running.report)

    def forget(self, running: Running, why: str) -> None:
        """The connection for this session never came about."""
        running.report.text = why
        self._links.discard(running.link)
        if running.link.recording is not None:
            running.link.recording.closed(why)
        self._over(running)

    async def stop(self, seconds: float) -> None:
        """Let sessions finish what they do, for at most ``seconds``; then end them with ESID 05."""
        ending = self.running()
        if ending:
            self.log.info("waiting for {count} sessions to end", count=len(ending))
        for running in ending:
            if not running.link.begun:
                running.link.give_up("the station is stopping")
                self.forget(running, "the station is stopping")
        await self._within(seconds, self.cut, [running.over for running in ending])
        # What they said last is still on its way.
        links = [running.link for running in ending if running.link.stood]
        await self._within(
            self._context.config.session.close_seconds, lambda: _give_up(links), [link.closed for link in links]
        )

    async def _within(self, seconds: float, otherwise: Callable[[], None], ends: Sequence[Deferred[Any]]) -> None:
        """Wait for all of them, and help when it takes longer."""
        late = self._context.reactor.callLater(seconds, otherwise)
        await DeferredList(ends)
        if late.active():
            late.cancel()

    def cut(self) -> None:
        """End every session now, with ESID 05."""
        for running in self.running():
            end_politely(running.link, EndSessionReason.EMERGENCY_CLOSE_DOWN, "the station is stopping")


def _give_up(links: Sequence[Link]) -> None:
    for link in links:
        link.give_up("the station is stopping")
