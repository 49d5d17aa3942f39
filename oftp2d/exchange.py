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
from datetime import datetime, timedelta

from twisted.logger import Logger

from oftp2.certs.acceptance import (
    Assurance,
    Limits,
    Message,
    Mode,
    Verdict,
    deliver_ours,
    judge,
    unreadable,
)
from oftp2.certs.clid import encode as encode_clid
from oftp2.certs.clid import parse as parse_clid
from oftp2.certs.content import Content, ContentError, read_certificate
from oftp2.certs.facts import CertificateFacts
from oftp2.reasons import NegativeResponseReason
from oftp2d.acx import DATASETS, MAX_OCTETS, message_of
from oftp2d.agreement import agreed_suite
from oftp2d.authentication import Authentication
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AcxMode,
    Conclusion,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    Kind,
    NewAuditEntry,
    NewOutgoing,
    NewReceipt,
    Partner,
    ReceiptKind,
    Reply,
    StoredCertificate,
    Transfer,
)
from oftp2d.ledger import Authentication as Setting
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

    def __init__(self, context: Context, authentication: Authentication, *, changed: Callable[[], None]) -> None:
        self._context = context
        self._authentication = authentication
        self._changed = changed
        self._receipts = Receipts(context)
        self._answers: dict[int, deque[float]] = {}

    # --- what an operator asks for ------------------------------------------------------------------------------

    async def deliver(
        self, partner: Partner, certificate: StoredCertificate | None, previous: StoredCertificate | None
    ) -> Sequence[ExchangeRecord]:
        """Queue our certificates for the partner; what it has of us stays valid."""
        return await self._queue(partner, certificate, previous, Message.DELIVER, Message.DELIVER)

    async def request(
        self, partner: Partner, certificate: StoredCertificate | None, previous: StoredCertificate | None
    ) -> Sequence[ExchangeRecord]:
        """Queue our certificate with the wish to get the partner's back; further ones of ours go as DELIVER."""
        return await self._queue(partner, certificate, previous, Message.REQUEST, Message.DELIVER)

    async def recall(
        self, partner: Partner, certificate: StoredCertificate | None, previous: StoredCertificate | None
    ) -> Sequence[ExchangeRecord]:
        """Queue our certificates as the only valid ones: what the partner has of us is withdrawn."""
        return await self._queue(partner, certificate, previous, Message.REPLACE, Message.REPLACE)

    async def _queue(
        self,
        partner: Partner,
        certificate: StoredCertificate | None,
        previous: StoredCertificate | None,
        first: Message,
        further: Message,
    ) -> Sequence[ExchangeRecord]:
        if partner.acx is AcxMode.OFF:
            raise OperatorError(
                f"the certificate exchange is off for {partner.code}",
                f"ask whether its product knows it, then say 'oftp2d partner change {partner.code} --acx announced'",
            )
        chosen = [certificate] if certificate else await self._ours(partner.station)
        if not chosen:
            raise OperatorError(
                f"there is no valid certificate of ours for {partner.station}", "make one with 'oftp2d cert generate'"
            )
        # One instant for all: by it the ledger knows what belongs to one recall.
        now = self._context.now()
        records = []
        for index, ours in enumerate(chosen):
            message = further if index else first
            reply = await self._reply(
                ours,
                message,
                partner_id=partner.id,
                originator=partner.station,
                destination=partner.code,
                description=await self._description(partner, ours, previous),
            )
            records.append(await self._context.workers.database(self._commit, partner, ours, message, reply, now))
        return records

    def _commit(
        self, partner: Partner, ours: StoredCertificate, message: Message, reply: Reply, now: datetime
    ) -> ExchangeRecord:
        _, record = self._context.ledger.exchanges.queue(reply, now)
        self._context.ledger.audit.record(
            now,
            partner.code,
            f"exchange {message.lower()} queued",
            {"transfer": record.transfer_id, "certificate": ours.alias, "fingerprint": ours.fingerprint},
        )
        return record

    async def _description(self, partner: Partner, ours: StoredCertificate, previous: StoredCertificate | None) -> str:
        """The identification data of the certificate being replaced, where the partner is known to have one."""
        if previous is None:
            previous = await self._context.workers.database(self._confirmed_before, partner, ours)
        if previous is None or previous.fingerprint == ours.fingerprint:
            return ""
        return encode_clid(CertificateFacts.of(previous.der)) or ""

    def _confirmed_before(self, partner: Partner, ours: StoredCertificate) -> StoredCertificate | None:
        """The newest other certificate of ours, for the same station and a common usage, that the partner confirmed."""
        confirmed = self._context.ledger.certificates.confirmed(partner.id)
        held = [
            entry
            for entry in self._context.certificates.own_entries()
            if entry.fingerprint in confirmed - {ours.fingerprint}
            and entry.station == ours.station
            and entry.usages & ours.usages
        ]
        return max(held, key=lambda entry: entry.valid_from, default=None)

    async def _ours(self, station: str) -> Sequence[StoredCertificate]:
        return await self._context.workers.database(
            self._context.certificates.to_deliver, station=station, now=self._context.now()
        )

    async def _reply(
        self,
        ours: StoredCertificate,
        message: Message,
        *,
        partner_id: int,
        originator: str,
        destination: str,
        description: str = "",
    ) -> Reply:
        staged = await self._context.workers.disk(self._stage, ours.der)
        return Reply(
            file=NewOutgoing(
                kind=Kind.EXCHANGE,
                partner_id=partner_id,
                dataset=DATASETS[message],
                originator=originator,
                destination=destination,
                octets=len(ours.der),
                spool_name=staged,
                file_name=f"{ours.alias}.cer",
                description=description,
            ),
            message=ExchangeMessage(message.value),
            fingerprint=ours.fingerprint,
        )

    def _stage(self, der: bytes) -> str:
        with self._context.spool.staging() as staging:
            staging.write(der)
            return staging.seal().name

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
        conclusion = await self._conclusion(partner, transfer, message, facts, verdict, receipt=receipt)
        await self._context.workers.database(self._context.ledger.exchanges.conclude, conclusion, self._context.now())
        await self._context.workers.disk(self._context.spool.remove_received, transfer.spool_name)
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
        )

    async def _answers_to(self, partner: Partner, transfer: Transfer, message: Message) -> tuple[Reply, ...]:
        """Our certificates, when the message was a REQUEST, even one that was refused (acx.md 12.4)."""
        if not deliver_ours(Mode(partner.acx.value), message):
            return ()
        if not self._may_answer(partner):
            self.log.warn("{partner}: requests certificates too often, not answered", partner=partner.code)
            return ()
        return tuple(
            [
                await self._reply(
                    ours,
                    Message.DELIVER,
                    partner_id=partner.id,
                    originator=transfer.destination,
                    destination=transfer.originator,
                )
                for ours in await self._ours(transfer.destination)
            ]
        )

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
