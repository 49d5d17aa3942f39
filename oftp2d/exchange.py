"""The automatic certificate exchange (ACX): deliver, request and recall, and the answers to them (acx.md 2 to 6).

A received message is judged before its end response is built: EERP means accepted, NERP refused with the reason as
text. The verdict, the certificate it stores, the end response, the record, the audit entries and our own
certificates that answer a REQUEST are one transaction. What the verdict is made of lies in ``arrivals``, what
we send by ourselves in ``offers``.

Where a partner's certificates are held (acx.md 12.20), the same happens when an operator has decided, in two steps: the
record says that it is held, the file stays received, and the partner gets its end response behind the decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from twisted.logger import Logger

from oftp2.certs.acceptance import (
    Approval,
    Message,
    Mode,
    Rule,
    Verdict,
    crowded,
    deliver_ours,
    overrulable,
    rejected,
    repeated,
)
from oftp2.certs.content import is_xml
from oftp2.certs.usages import Usage
from oftp2.reasons import NegativeResponseReason
from oftp2.values import clip
from oftp2d.agreement import agreed_suite
from oftp2d.arrivals import Arrival, Arrivals, Proof
from oftp2d.authentication import Authentication
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.held import HeldResponses
from oftp2d.ledger import (
    Conclusion,
    Direction,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    NewAuditEntry,
    NewExchange,
    NewReceipt,
    Partner,
    ReceiptKind,
    Reply,
    StoredCertificate,
    Transfer,
)
from oftp2d.offers import Offers, Route
from oftp2d.receipts import Receipts
from oftp2d.spool import SpoolError

HOUR = timedelta(hours=1).total_seconds()
OPERATOR = Proof(authenticated=True)
"""An operator knows from whom a certificate is, whatever the session was worth."""


MOST_HELD = 20
"""Different certificates of one partner that may wait for an operator at the same time.

So many of those that the rules alone would refuse, and of those that they would accept: nobody crowds out the honest one.
"""
MOST_REPEATED = 5
"""Times that one certificate may wait."""

_ACCEPTING: Final = frozenset({Rule.RENEWAL, Rule.FIRST, Rule.ANNOUNCEMENT, Rule.DUPLICATE})
"""The rows that accept what nobody has approved."""


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
        self.held = HeldResponses(context, self._receipts)
        """What partners have signed and nobody could verify."""
        self._offers = Offers(context)
        self._arrivals = Arrivals(context)
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
        """Decide on a received message and commit what follows from it; the end response is owed then.

        Where the partner's certificates are held, an operator decides, and nothing is owed before.
        """
        arrival = await self._arrivals.read(partner, transfer)
        verdict = await self._arrivals.judge(arrival, proof)
        replies = await self._answers_to(partner, transfer, arrival.message)
        if partner.hold_certificates and overrulable(verdict):
            full = await self._no_room(arrival, verdict)
            if full is None:
                await self._hold(arrival, verdict, proof, replies)
                return
            verdict = full
        await self._conclude(arrival, verdict, replies)

    async def _no_room(self, arrival: Arrival, verdict: Verdict) -> Verdict | None:
        """The refusal, where too much of the partner is held for one more; None where there is room."""
        held = await self._context.workers.database(self._context.ledger.exchanges.held, arrival.partner.id)
        assert arrival.facts is not None  # noqa: S101 - what cannot be read is not held
        same = [record for record in held if record.fingerprint == arrival.facts.fingerprint]
        if same:
            return repeated() if len(same) >= MOST_REPEATED else None
        beside = [record for record in held if (record.rule in _ACCEPTING) is verdict.accepted]
        different = {record.fingerprint for record in beside}
        return crowded(len(different)) if len(different) >= MOST_HELD else None

    async def judge_left_over(self, partner: Partner, transfer: Transfer) -> None:
        """A message whose session ended before it was judged: nobody knows any more how that was proven.

        One that is held stays for its operator.
        """
        known = await self._context.workers.database(self._context.ledger.exchanges.by_transfer, transfer.id)
        if known is None:
            await self.judge(partner, transfer, Proof())

    async def _hold(self, arrival: Arrival, verdict: Verdict, proof: Proof, replies: tuple[Reply, ...]) -> None:
        """Keep it for an operator to decide on. What it asks of us it gets at once: that is public."""
        facts = arrival.facts
        assert facts is not None  # noqa: S101 - what cannot be read is refused
        alone = f"{'would be accepted' if verdict.accepted else 'would be refused'} by the rules alone: {verdict.text}"
        new = NewExchange(
            partner_id=arrival.partner.id,
            direction=Direction.IN,
            message=ExchangeMessage(arrival.message.value),
            transfer_id=arrival.transfer.id,
            fingerprint=facts.fingerprint,
            state=ExchangeState.HELD,
            text=clip(alone),
            der=facts.der,
            rule=verdict.rule.value,
            proof=proof.text,
        )
        record = await self._context.workers.database(
            self._context.ledger.exchanges.hold,
            new,
            self._context.now(),
            replies=replies,
            audit=(_entry(arrival, "held", verdict.rule, clip(alone), self._context.now()),),
        )
        self.log.warn(
            "{partner}: {message} held, {subject}: {text}; decide with 'oftp2d exchange accept {id}' or 'oftp2d exchange"
            " reject {id}'",
            partner=arrival.partner.code,
            message=arrival.message.value,
            subject=str(facts.subject),
            text=alone,
            id=record.id,
        )
        self._changed()

    async def _conclude(self, arrival: Arrival, verdict: Verdict, replies: tuple[Reply, ...] = ()) -> ExchangeRecord:
        partner, transfer, octets = arrival.partner, arrival.transfer, arrival.octets
        owed, digest = _receipt(verdict), _hash(partner, transfer, octets)
        receipt = await self._receipts.make_in_any_case(partner, transfer, owed, digest)
        kept = transfer.spool_name if verdict.rule is Rule.UNREADABLE and is_xml(octets) else None
        conclusion = self._conclusion(arrival, verdict, receipt=receipt, replies=replies, raw_name=kept)
        record = await self._context.workers.database(
            self._context.ledger.exchanges.conclude, conclusion, self._context.now()
        )
        put_away = self._context.spool.refuse if kept else self._context.spool.remove_received
        await self._context.workers.disk(put_away, transfer.spool_name)
        named = {"partner": partner.code, "message": arrival.message.value, "text": verdict.text, "id": record.id}
        if not verdict.accepted:
            self.log.warn("{partner}: {message} refused: {text}; see 'oftp2d exchange show {id}'", **named)
        else:
            self.log.info("{partner}: {message} accepted: {text}", **named)
            self._changed()
            await self._authentication.latch(partner)
            await self.certificate_came(partner)
        return record

    async def certificate_came(self, partner: Partner) -> None:
        """A certificate of the partner is in the store, by whatever way: what waited for it goes on."""
        await self.held.judge(partner)

    def _conclusion(
        self,
        arrival: Arrival,
        verdict: Verdict,
        *,
        receipt: NewReceipt,
        replies: tuple[Reply, ...],
        raw_name: str | None,
    ) -> Conclusion:
        store, facts, transfer = self._context.certificates, arrival.facts, arrival.transfer
        certificate = None
        if facts is not None:
            certificate = store.accepted(verdict, facts, partner_id=arrival.partner.id, station=transfer.originator)
        state = ExchangeState.ACCEPTED if verdict.accepted else ExchangeState.REFUSED
        # One that is here already is in the store; who repeats it does not fill the ledger.
        came = None if facts is None or verdict.rule is Rule.DUPLICATE else facts.der
        # A recall counts from when it came; one that an operator accepted from then, for so long the former ones were used.
        withdrawn_at = None if verdict.rule is Rule.APPROVED else transfer.updated_at
        return Conclusion(
            transfer_id=transfer.id,
            message=ExchangeMessage(arrival.message.value),
            state=state,
            receipt=receipt,
            fingerprint=facts.fingerprint if facts else None,
            text=verdict.text,
            certificate=certificate,
            retire=store.retirements(verdict.retire, withdrawn_at),
            announcement_id=verdict.announcement,
            replies=replies,
            audit=(_entry(arrival, state.value, verdict.rule, verdict.text, self._context.now()),),
            der=came,
            rule=verdict.rule.value,
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

    # --- what an operator decides -------------------------------------------------------------------------------

    async def accept(self, exchange_id: int, usages: frozenset[Usage] | None = None) -> ExchangeRecord:
        """Accept a held certificate, for these usages or for those that follow from what is known of it.

        Its EERP is owed then; so are those of the same certificate that was sent again meanwhile. Raises OperatorError where
        it is not held, or cannot be accepted.
        """
        arrival = await self._held(exchange_id)
        verdict = await self._arrivals.judge(arrival, OPERATOR, Approval(usages=usages))
        if not verdict.accepted:
            advice = f"refuse it with 'oftp2d exchange reject {exchange_id}'"
            if overrulable(verdict):
                advice = f"say 'oftp2d exchange accept {exchange_id} --usage ...', or {advice}"
            raise OperatorError(f"message {exchange_id} cannot be accepted: {verdict.text}", advice)
        record = await self._conclude(arrival, verdict)
        for again in await self._repeated(arrival):
            # It is here now, and so a duplicate; that of a REPLACE withdraws more than was decided on.
            if again.message is arrival.message or again.message is not Message.REPLACE:
                await self._conclude(again, await self._arrivals.judge(again, OPERATOR, Approval()))
        return record

    async def reject(self, exchange_id: int, text: str = "") -> ExchangeRecord:
        """Refuse a held certificate, each time it was sent; ``text`` is what the partner reads in the NERP."""
        arrival = await self._held(exchange_id)
        record = await self._conclude(arrival, rejected(text))
        for again in await self._repeated(arrival):
            await self._conclude(again, rejected(text))
        self._changed()
        return record

    async def _held(self, exchange_id: int) -> Arrival:
        """The message that is held under this number. Raises UnknownError, OperatorError."""
        ledger, database = self._context.ledger, self._context.workers.database
        record = await database(ledger.exchanges.get, exchange_id)
        if record.state is not ExchangeState.HELD:
            raise OperatorError(
                f"message {exchange_id} is not held, it is {record.state}", f"see 'oftp2d exchange show {exchange_id}'"
            )
        return await self._arrival(record)

    async def _arrival(self, record: ExchangeRecord) -> Arrival:
        ledger, database = self._context.ledger, self._context.workers.database
        partner = await database(ledger.partners.get, record.partner_id)
        return await self._arrivals.read(partner, await database(ledger.transfers.get, record.transfer_id))

    async def _repeated(self, decided: Arrival) -> Sequence[Arrival]:
        """Further messages that are held and bring the same certificate for the same station."""
        waiting = await self._context.workers.database(self._context.ledger.exchanges.held, decided.partner.id)
        assert decided.facts is not None  # noqa: S101 - what is held is a certificate
        same = [await self._arrival(record) for record in waiting if record.fingerprint == decided.facts.fingerprint]
        return [each for each in same if each.transfer.originator == decided.transfer.originator]

    # --- what the partner answers -------------------------------------------------------------------------------

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
            await self._remove_spared(transfer)
        else:
            self.log.error(
                "{partner}: refused our certificate: {text}; correct it and say 'oftp2d exchange deliver {partner}'",
                partner=partner.code,
                text=text,
            )

    async def _remove_spared(self, transfer: Transfer) -> None:
        """Repetitions that wait no more are over; what of them a crash leaves in the spool goes at the next start."""
        names = await self._context.workers.database(self._context.ledger.exchanges.spared, transfer.id)
        try:
            await self._context.workers.disk(self._context.spool.remove_outgoing, *names)
        except SpoolError as error:
            self.log.warn("{what}; {advice}", what=error.what, advice=error.advice)


def _entry(arrival: Arrival, outcome: str, rule: Rule, text: str, now: datetime) -> NewAuditEntry:
    facts = arrival.facts
    return NewAuditEntry(
        at=now,
        partner_code=arrival.partner.code,
        event=f"exchange {arrival.message.lower()} {outcome}",
        detail={
            "transfer": arrival.transfer.id,
            "station": arrival.transfer.originator,
            "subject": str(facts.subject) if facts else None,
            "fingerprint": facts.fingerprint if facts else None,
            "rule": rule.value,
            "text": text,
        },
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
