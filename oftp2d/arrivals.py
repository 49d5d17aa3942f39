"""What came as a message of the certificate exchange, read and judged by all that is known here (acx.md 4.2).

The decision itself is pure and lies in ``oftp2.certs.acceptance``; this gathers what it needs, each part in its worker, and
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from oftp2.certs.acceptance import (
    Approval,
    Assurance,
    Limits,
    Message,
    Mode,
    Scope,
    Verdict,
    judge,
    unreadable,
)
from oftp2.certs.clid import parse as parse_clid
from oftp2.certs.content import Content, ContentError, read_certificate
from oftp2.certs.facts import CertificateFacts
from oftp2d.acx import MAX_OCTETS, message_of
from oftp2d.context import Context
from oftp2d.ledger import Authentication as Setting
from oftp2d.ledger import Partner, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How the session that brought a message was proven to be the partner's."""

    authenticated: bool = False
    mutual_tls: bool = False

    @property
    def text(self) -> str:
        """For people."""
        by = [
            word
            for word, so in (("session authentication", self.authenticated), ("a TLS certificate", self.mutual_tls))
            if so
        ]
        return " and ".join(by) or "code and password alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One received message."""

    partner: Partner
    transfer: Transfer
    message: Message
    octets: bytes = field(repr=False)
    content: Content | None
    """None where it is no certificate; then ``error`` says why."""
    error: ContentError | None = None

    @property
    def facts(self) -> CertificateFacts | None:
        """The certificate, where it is one."""
        return self.content.facts if self.content else None


class Arrivals:
    """Reads and judges messages of partners."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, partner: Partner, transfer: Transfer) -> Arrival:
        """The message a received file is. Raises SpoolError."""
        message = message_of(transfer.dataset)
        assert message is not None  # noqa: S101 - only such transfers are of this kind
        octets = await self._context.workers.disk(self._octets, transfer.spool_name)
        content, fault = None, None
        try:
            content = await self._context.workers.crypto(read_certificate, octets)
        except ContentError as error:
            fault = error
        return Arrival(partner=partner, transfer=transfer, message=message, octets=octets, content=content, error=fault)

    def _octets(self, name: str) -> bytes:
        with self._context.spool.open_received(name) as file:
            return file.read(MAX_OCTETS + 1)

    async def judge(self, arrival: Arrival, proof: Proof, approval: Approval | None = None) -> Verdict:
        """The verdict by what is known now; with an ``approval`` that of an operator."""
        partner, content = arrival.partner, arrival.content
        mode = Mode(partner.acx.value)
        if content is None:
            assert arrival.error is not None  # noqa: S101 - one of the two is there
            return unreadable(mode, arrival.error)
        workers, store, now = self._context.workers, self._context.certificates, self._context.now()
        station = arrival.transfer.originator
        held = await workers.database(store.held, partner_id=partner.id, station=station)
        announced = await workers.database(store.announced, partner_id=partner.id, station=station)
        trust = await workers.database(store.trust, partner.id)
        await self._context.revocations.first_readings(trust, content.facts, content.chain)
        return judge(
            mode=mode,
            message=arrival.message,
            facts=content.facts,
            clid=parse_clid(arrival.transfer.description),
            held=held,
            announced=announced,
            trust=await workers.crypto(trust.judge, content.facts, content.chain, now),
            session=Assurance(
                authenticated=proof.authenticated,
                mutual_tls=proof.mutual_tls,
                bootstrap=partner.authentication is Setting.PREPARED and not proof.authenticated,
            ),
            now=now,
            limits=Limits(
                clock_tolerance=timedelta(seconds=self._context.config.acx.clock_tolerance_seconds),
                min_rsa_bits=min(Limits().min_rsa_bits, partner.least_rsa_bits),
            ),
            scope=Scope(partner.replace_scope.value),
            approval=approval,
        )
