"""The automatic certificate exchange (ACX): deliver, request and recall, and the answers to them (acx.md 2 to 6).

A received message is judged before its end response is built: EERP means accepted, NERP refused with the reason as
text. The verdict, the certificate it stores, the end response, the record, the audit entries and our own
certificates that answer a REQUEST are one transaction. What the verdict is made of lies in
``oftp2.certs.acceptance``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from twisted.logger import Logger

from oftp2.certs.acceptance import (
    Assurance,
    Limits,
    Message,
    Mode,
    Rule,
    Verdict,
    deliver_ours,
    judge,
    unreadable,
)
from oftp2.certs.clid import parse as parse_clid
from oftp2.certs.content import Content, ContentError, is_xml, read_certificate
from oftp2.certs.facts import CertificateFacts
from oftp2.reasons import NegativeResponseReason
from oftp2d.acx import MAX_OCTETS, message_of
from oftp2d.agreement import agreed_suite
from oftp2d.authentication import Authentication
from oftp2d.context import Context
from oftp2d.ledger import Authentication as Setting
from oftp2d.ledger import (
    Conclusion,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    NewAuditEntry,
    NewReceipt,
    Partner,
    ReceiptKind,
    Reply,
    StoredCertificate,
    Transfer,
)
from oftp2d.offers import Offers, Route
from oftp2d.receipts import Receipts

HOUR = timedelta(hours=1).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How the session that brought a message was proven to be the partner's."""

    authenticated: bool = False
    mutual_tls: bool = False


class Exchange:
    """Speaks ACX for the station."""

    log = Logger(namespace="exchange")

    def __init__(
        self,
        context: Context,
        authentication: Authentication,
        *,
        changed: Callable[[], None],
        confirmed: Callable[[], None],
    ) -> None:
        self._context = context
        self._authentication = authentication
        self._changed = changed
        self._confirmed = confirmed
        self._receipts = Receipts(context)
        self._offers = Offers(context)
        self._answers: dict[int, deque[float]] = {}

    # --- what an operator asks for ------------------------------------------------------------------------------

    async def deliver(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue our certificates for the partner; what it has of us stays valid."""
        return await self._offers.offer(partner, Message.DELIVER, certificate, previous, route)

    async def request(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue our certificate with the wish to get the partner's back; further ones of ours go as DELIVER."""
        return await self._offers.offer(partner, Message.REQUEST, certificate, previous, route)

    async def recall(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue our certificates as the only valid ones: what the partner has of us is withdrawn."""
        return await self._offers.offer(partner, Message.REPLACE, certificate, previous, route)

    # --- what a partner sent ------------------------------------------------------------------------------------

    async def judge(self, partner: Partner, transfer: Transfer, proof: Proof) -> None:
        """Decide on a received message and commit what follows from it; the end response is owed then."""
        message = message_of(transfer.dataset)
        assert message is not None  # noqa: S101 - only such transfers are of this kind
        mode = Mode(partner.acx.value)
        octets = await self._context.workers.disk(self._read, transfer.spool_name)
        try:
            content = await self._context.workers.crypto(read_certificate, octets)
        except ContentError as error:
            facts, verdict = None, unreadable(mode, error)
        else:
            facts, verdict = content.facts, await self._verdict(partner, transfer, message, content, proof)
        receipt = await self._receipts.make(partner, transfer, _receipt(verdict), _hash(partner, transfer, octets))
        kept = transfer.spool_name if verdict.rule is Rule.UNREADABLE and is_xml(octets) else None
        conclusion = await self._conclusion(partner, transfer, message, facts, verdict, receipt=receipt, raw_name=kept)
        await self._context.workers.database(self._context.ledger.exchanges.conclude, conclusion, self._context.now())
        put_away = self._context.spool.refuse if kept else self._context.spool.remove_received
        await self._context.workers.disk(put_away, transfer.spool_name)
        self.log.info(
            "{partner}: {message} {outcome}: {text}",
            partner=partner.code,
            message=message.value,
            outcome="accepted" if verdict.accepted else "refused",
            text=verdict.text,
        )
        if verdict.accepted:
            self._changed()
            await self._authentication.latch(partner)
            await self.certificate_came(partner)

    async def certificate_came(self, partner: Partner) -> None:
        """A certificate of the partner is in the store, by whatever way: what waited for it goes on."""
        await self._receipts.judge_again(partner)

    def _read(self, name: str) -> bytes:
        with self._context.spool.open_received(name) as file:
            return file.read(MAX_OCTETS + 1)

    async def _verdict(
        self, partner: Partner, transfer: Transfer, message: Message, content: Content, proof: Proof
    ) -> Verdict:
        store, now = self._context.certificates, self._context.now()
        station = transfer.originator
        held = await self._context.workers.database(store.held, partner_id=partner.id, station=station)
        announced = await self._context.workers.database(store.announced, partner_id=partner.id, station=station)
        trust = await self._context.workers.database(store.trust, partner.id)
        await self._context.revocations.first_readings(trust, content.facts, content.chain)
        return judge(
            mode=Mode(partner.acx.value),
            message=message,
            facts=content.facts,
            clid=parse_clid(transfer.description),
            held=held,
            announced=announced,
            trust=await self._context.workers.crypto(trust.judge, content.facts, content.chain, now),
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
        )

    async def _conclusion(
        self,
        partner: Partner,
        transfer: Transfer,
        message: Message,
        facts: CertificateFacts | None,
        verdict: Verdict,
        *,
        receipt: NewReceipt,
        raw_name: str | None,
    ) -> Conclusion:
        store = self._context.certificates
        certificate = None
        if facts is not None:
            certificate = store.accepted(verdict, facts, partner_id=partner.id, station=transfer.originator)
        return Conclusion(
            transfer_id=transfer.id,
            message=ExchangeMessage(message.value),
            state=ExchangeState.ACCEPTED if verdict.accepted else ExchangeState.REFUSED,
            receipt=receipt,
            fingerprint=facts.fingerprint if facts else None,
            text=verdict.text,
            certificate=certificate,
            retire=store.retirements(verdict.retire),
            announcement_id=verdict.announcement,
            replies=await self._answers_to(partner, transfer, message),
            audit=(self._entry(partner, transfer, message, facts, verdict),),
            raw_name=raw_name,
        )

    async def _answers_to(self, partner: Partner, transfer: Transfer, message: Message) -> tuple[Reply, ...]:
        """Our certificates, when the message was a REQUEST, even one that was refused (acx.md 12.4)."""
        if not deliver_ours(Mode(partner.acx.value), message):
            return ()
        if not self._may_answer(partner):
            self.log.warn("{partner}: requests certificates too often, not answered", partner=partner.code)
            return ()
        answers = await self._offers.answers(partner, transfer)
        if not answers:
            self.log.error(
                "{partner}: requests a certificate of {station}, and there is none in use; make one with 'oftp2d cert"
                " generate', and say 'oftp2d exchange deliver {partner} --station {station}'",
                partner=partner.code,
                station=transfer.destination,
            )
        return answers

    def _may_answer(self, partner: Partner) -> bool:
        now, answers = self._context.reactor.seconds(), self._answers.setdefault(partner.id, deque())
        while answers and answers[0] <= now - HOUR:
            answers.popleft()
        if len(answers) >= self._context.config.acx.answers_per_hour:
            return False
        answers.append(now)
        return True

    def _entry(
        self, partner: Partner, transfer: Transfer, message: Message, facts: CertificateFacts | None, verdict: Verdict
    ) -> NewAuditEntry:
        return NewAuditEntry(
            at=self._context.now(),
            partner_code=partner.code,
            event=f"exchange {message.lower()} {'accepted' if verdict.accepted else 'refused'}",
            detail={
                "transfer": transfer.id,
                "station": transfer.originator,
                "subject": str(facts.subject) if facts else None,
                "fingerprint": facts.fingerprint if facts else None,
                "rule": verdict.rule.value,
                "text": verdict.text,
            },
        )

    async def answered(self, partner: Partner, transfer: Transfer, *, accepted: bool, text: str) -> None:
        """The partner's end response to a message of ours is in the ledger: what follows from it."""
        record = await self._context.workers.database(self._context.ledger.exchanges.by_transfer, transfer.id)
        fingerprint = record.fingerprint if record else None
        await self._context.workers.database(
            self._context.ledger.audit.record,
            self._context.now(),
            partner.code,
            f"certificate of ours {'accepted' if accepted else 'refused'} by partner",
            {"transfer": transfer.id, "dataset": transfer.dataset, "fingerprint": fingerprint, "text": text},
        )
        if accepted:
            await self._authentication.latch(partner)
            self._confirmed()
        else:
            self.log.error(
                "{partner}: refused our certificate: {text}; correct it and say 'oftp2d exchange deliver {partner}'",
                partner=partner.code,
                text=text,
            )


def _receipt(verdict: Verdict) -> NewReceipt:
    """EERP, or NERP with reason 99 and the text (acx.md 12.3)."""
    if verdict.accepted:
        return NewReceipt(kind=ReceiptKind.EERP)
    return NewReceipt(kind=ReceiptKind.NERP, reason=int(NegativeResponseReason.UNSPECIFIED), text=verdict.text)


def _hash(partner: Partner, transfer: Transfer, octets: bytes) -> bytes | None:
    """The hash of a message as it came, where a signed end response is asked for (acx.md 4.1 row 7)."""
    if not transfer.signed_response:
        return None
    digest = agreed_suite(transfer, partner).new_hash()
    digest.update(octets)
    return digest.digest()
