"""Making calls: to partners for which something waits, to those that are called regularly, and by hand.

Which of these a partner gets is its call policy; one that we wait to be called by gets none but those by hand.

One call to a partner at a time, and none while a session with it is open. A failed call is tried again after a wait
that doubles. A call that fails for want of authentication with a prepared partner is repeated once with it: the
partner's latch has closed, and the end response that should have closed ours was lost (acx.md 5.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from twisted.internet import error as network
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from oftp2.reasons import EndSessionReason
from oftp2d.authentication import Authentication
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import Authentication as Setting
from oftp2d.ledger import CallPolicy, Partner, Transport
from oftp2d.link import Link
from oftp2d.monitor import Purpose, Report
from oftp2d.probe import TestReport, TestStep
from oftp2d.retries import backoff
from oftp2d.sessions import Running, Sessions
from oftp2d.tls import Client
from oftp2d.transport import Tls

ROUND_SECONDS = 1.0
"""How often it is looked whether something is due; ``nudge`` does not wait for it."""

_FAILED_STEP = {
    EndSessionReason.USER_CODE_NOT_KNOWN: "code",
    EndSessionReason.INVALID_PASSWORD: "password",
    EndSessionReason.INCOMPATIBLE: "level",
    EndSessionReason.AUTHENTICATION_INCOMPATIBLE: "level",
}


class _OneLink(Factory[Link]):
    """The link that was made for this call."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Link:  # noqa: ARG002, N802 - Twisted's signature
        """Give it."""
        return self._link


class Dialler:
    """Calls partners."""

    log = Logger(namespace="dialler")

    def __init__(self, context: Context, reactor: object, sessions: Sessions, authentication: Authentication) -> None:
        self._context = context
        self._reactor = reactor
        self._sessions = sessions
        self._authentication = authentication
        self._calling: dict[int, Deferred[Any]] = {}
        self._testing: set[Deferred[None]] = set()
        self._connecting: set[Deferred[Any]] = set()
        self._loop = LoopingCall(self._look)
        self._loop.clock = context.reactor
        self._looking = False
        self._again = False

    def start(self) -> None:
        """Begin to look for what is due."""
        self._loop.start(ROUND_SECONDS, now=True)

    def stop(self) -> None:
        """Make no more calls; those that have a connection are sessions, and end as such."""
        if self._loop.running:
            self._loop.stop()
        for connecting in list(self._connecting):
            connecting.cancel()

    async def finished(self) -> None:
        """Wait until what became of the last calls is in the ledger."""
        await DeferredList([*self._calling.values(), *self._testing])

    def nudge(self, partner_id: int) -> None:  # noqa: ARG002 - what is due is looked up anyway
        """Look now: a file was queued, or a partner changed."""
        if self._loop.running:
            self._look()

    async def call(self, partner: Partner) -> None:
        """Begin a call now, whatever is due. Raises ``OperatorError`` when the partner cannot be called."""
        self._check(partner)
        self._begin(partner)

    async def test(self, partner: Partner) -> TestReport:
        """Connect, identify and leave; says how far that went."""
        self._check(partner)
        testing: Deferred[None] = Deferred()
        self._testing.add(testing)
        try:
            return await self._test(partner)
        finally:
            self._testing.discard(testing)
            testing.callback(None)

    async def _test(self, partner: Partner) -> TestReport:
        partner = await self._authentication.current(partner)
        running, client, report = await self._dial(partner, Purpose.TEST, self._authentication.required(partner))
        steps = _steps(partner, running.link, client, report)
        await self._context.workers.database(
            self._context.ledger.audit.record,
            self._context.now(),
            partner.code,
            "connection tested",
            {"ok": all(step.ok for step in steps), "last": steps[-1].step, "text": steps[-1].text},
        )
        return TestReport(ok=all(step.ok for step in steps), steps=steps)

    def _check(self, partner: Partner) -> None:
        change = f"oftp2d partner change {partner.code}"
        if not partner.active:
            raise OperatorError(f"{partner.code} is inactive", f"switch it on with '{change} --active'")
        if not partner.host:
            raise OperatorError(f"{partner.code} has no address to call", f"give one with '{change} --host NAME'")
        if self._context.stopping:
            raise OperatorError("the station is stopping", "try again when it runs")
        if partner.id in self._calling:
            raise OperatorError(f"{partner.code} is being called already", "see 'oftp2d status'")

    def _look(self) -> None:
        if self._looking:
            self._again = True
            return
        self._looking = True
        ensureDeferred(self._round()).addErrback(
            lambda failure: self.log.failure("looking for calls to make failed", failure)
        ).addBoth(lambda _: self._looked())

    def _looked(self) -> None:
        self._looking = False
        if self._again:
            self._again = False
            self._context.reactor.callLater(0, self._look)

    async def _round(self) -> None:
        for partner in await self._context.workers.database(self._due):
            if self._may_call(partner):
                self._begin(partner)

    def _due(self) -> list[Partner]:
        """Partners for which something waits, or that are to be called by now."""
        ledger, now = self._context.ledger, self._context.now()
        waiting = ledger.transfers.partners_waiting(now) | ledger.receipts.partners_owed(now)
        found = {partner.id: partner for partner in ledger.partners.due(now) if partner.call is CallPolicy.EVERY}
        found.update({number: ledger.partners.get(number) for number in waiting - found.keys()})
        # Only after a failure the next call is a time to wait for; else it is that of the next regular one.
        return [
            partner
            for partner in found.values()
            if not partner.call_failures or partner.next_call_at is None or partner.next_call_at <= now
        ]

    def _may_call(self, partner: Partner) -> bool:
        return bool(
            partner.active
            and partner.host
            and partner.call is not CallPolicy.WAIT
            and not self._context.stopping
            and partner.id not in self._calling
            and not self._sessions.with_partner(partner.code)
        )

    def _begin(self, partner: Partner) -> None:
        calling = Deferred.fromCoroutine(self._call(partner))
        self._calling[partner.id] = calling
        calling.addErrback(self._not_called, partner)
        calling.addBoth(lambda _: self._called(partner))

    def _not_called(self, failure: Failure, partner: Partner) -> None:
        if isinstance(failure.value, OperatorError):
            self.log.warn("{partner}: not called, {what}", partner=partner.code, what=failure.value.what)
        else:
            self.log.failure("a call to {partner} failed", failure, partner=partner.code)

    def _called(self, partner: Partner) -> None:
        # In a method of its own, since it must return nothing: what is taken out is the Deferred that calls this.
        self._calling.pop(partner.id, None)

    async def _call(self, partner: Partner) -> Report:
        partner = await self._authentication.current(partner)
        required = self._authentication.required(partner)
        _, _, report = await self._dial(partner, Purpose.EXCHANGE, required)
        if not required and await self._should_heal(partner, report):
            self.log.info("{partner}: asks for authentication, calling again with it", partner=partner.code)
            _, _, report = await self._dial(partner, Purpose.EXCHANGE, authentication=True)
        now = self._context.now()
        if report.normal and not report.left:
            await self._context.workers.database(self._context.ledger.partners.call_made, partner.id, now)
            return report
        why = report.left if report.normal else report.text
        if partner.call is CallPolicy.WAIT:
            await self._context.workers.database(
                self._context.ledger.partners.call_failed, partner.id, now, why, None, report.refusal
            )
            self.log.warn("{partner}: the call failed, next one by hand: {why}", partner=partner.code, why=why)
            return report
        wait = backoff(partner.call_failures + 1, self._context.config.retry)
        await self._context.workers.database(
            self._context.ledger.partners.call_failed, partner.id, now, why, now + wait, report.refusal
        )
        self.log.warn(
            "{partner}: the call failed, next one in {wait} s: {why}",
            partner=partner.code,
            wait=int(wait / timedelta(seconds=1)),
            why=why,
        )
        return report

    async def _should_heal(self, partner: Partner, report: Report) -> bool:
        return (
            partner.authentication is Setting.PREPARED
            and not report.established
            and report.reason is EndSessionReason.AUTHENTICATION_INCOMPATIBLE
            and await self._authentication.possible(partner)
        )

    async def _dial(
        self,
        partner: Partner,
        purpose: Purpose,
        authentication: bool,  # noqa: FBT001 - passed on as it is
    ) -> tuple[Running, Client | None, Report]:
        """One connection and its session, to the end of both."""
        tls = partner.transport is Transport.TLS
        client = await Client.to(self._context, partner) if tls else None
        running = self._sessions.call(partner, tls=tls, authentication=authentication, purpose=purpose)
        timeout = self._context.config.limits.handshake_seconds
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, partner.host or "", partner.port, timeout=timeout
        )
        calling: Factory[Any] = _OneLink(running.link)
        connecting = endpoint.connect(calling if client is None else Tls(client, calling, client=True))
        self._connecting.add(connecting)
        try:
            await connecting
        except Exception as error:  # noqa: BLE001 - whatever the network says is the answer
            self._sessions.forget(running, f"{partner.host}:{partner.port} cannot be reached: {_reason(error)}")
        finally:
            self._connecting.discard(connecting)
        report = await running.over
        if client is not None and client.objection is not None and not running.link.begun:
            report.text = f"TLS failed: {client.objection.what}; {client.objection.advice}"
        return running, client, report


def _reason(error: Exception) -> str:
    if isinstance(error, DNSLookupError):
        return "the name is not known"
    if isinstance(error, CancelledError):
        return "the station is stopping"
    if isinstance(error, network.ConnectionRefusedError):
        return "nobody answers there, or a firewall refuses"
    if isinstance(error, (network.TimeoutError, network.TCPTimedOutError)):
        return "no answer in time"
    return str(error).rstrip(".") if isinstance(error, ConnectError) else type(error).__name__


def _steps(partner: Partner, link: Link, client: Client | None, report: Report) -> tuple[TestStep, ...]:
    """How far a connection test came; the last step is the first that failed."""
    steps = []
    for name, ok, good in _course(partner, link, client, report):
        steps.append(TestStep(step=name, ok=ok, text=good if ok else report.text))
        if not ok:
            break
    return tuple(steps)


def _course(partner: Partner, link: Link, client: Client | None, report: Report) -> Iterator[tuple[str, bool, str]]:
    """Each step of a test: its name, whether it went well, and what to say if so."""
    yield "tcp", link.stood, f"{partner.host}:{partner.port} answers"
    if client is not None:
        yield "tls", link.begun, f"{link.tls.version} {link.tls.cipher}" if link.tls else ""
    yield "ready", link.ready, "it greets as an OFTP station"
    failed = None if report.established else _FAILED_STEP.get(report.reason or EndSessionReason.NORMAL, "code")
    peer = link.session.peer
    yield "code", failed != "code", f"{peer.code} answers" if peer else "ours is known there"
    yield "password", failed != "password", "accepted"
    yield "level", failed is None, f"{report.level}"
    yield "leave", report.normal, "ended normally"
