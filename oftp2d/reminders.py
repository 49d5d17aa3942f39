"""What becomes of a certificate of ours that a partner has got and does not answer (acx.md 3.9, 12.14).

Nothing changes without its end response: the former certificate stays in use towards that partner. So it is offered again
with a new stamp, which every receiver of the exchange bears, and after some times a person is told; earlier, where the
certificate that the partner still knows is about to end. The EERP for any of the offers is that for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from twisted.logger import Logger

from oftp2.certs.acceptance import Message
from oftp2.certs.usages import Usage
from oftp2d.certificates import Certificates
from oftp2d.config import Acx
from oftp2d.context import Context
from oftp2d.ledger import AcxMode, Holder, Ledger, Partner, StoredCertificate, TransferState, Unanswered
from oftp2d.offers import Offers
from oftp2d.planning import Concern


class Reminders:
    """Offers again what is not answered; part of the upkeep."""

    log = Logger(namespace="reminders")

    def __init__(self, context: Context, *, queued: Callable[[int], None]) -> None:
        self._context = context
        self._offers = Offers(context)
        self._queued = queued

    async def look(self) -> None:
        """Offer again what is due, and say what was offered often enough."""
        context = self._context
        acx, now = context.config.acx, context.now()
        for waiting in await context.workers.database(context.ledger.exchanges.unanswered):
            if not _due(waiting, acx, now):
                continue
            partner = await context.workers.database(context.ledger.partners.get, waiting.record.partner_id)
            if partner.acx is AcxMode.OFF or not partner.active:
                continue
            ours = await context.workers.database(_usable, context.ledger, waiting, now)
            if ours is None or waiting.record.reminders >= acx.reminders:
                await self._give_up(partner, waiting)
            else:
                await self._again(partner, waiting, ours)

    async def _again(self, partner: Partner, waiting: Unanswered, ours: StoredCertificate) -> None:
        context, transfer = self._context, waiting.transfer
        repetition = await self._offers.reply(
            ours,
            Message(waiting.record.message.value),
            partner_id=partner.id,
            originator=transfer.originator,
            destination=transfer.destination,
            description=transfer.description,
            renewal_id=waiting.record.renewal_id,
        )
        record = await context.workers.database(
            context.ledger.exchanges.remind, waiting.record.id, repetition, context.now()
        )
        if record is None:  # answered just now
            await context.workers.disk(context.spool.remove_outgoing, repetition.file.spool_name)
            return
        self.log.info(
            "{partner}: {message} of {certificate} is offered again, reminder {number}: no end response since {since}",
            partner=partner.code,
            message=record.message.value,
            certificate=ours.alias,
            number=record.reminders,
            since=_day(waiting.transfer.sent_at),
        )
        self._queued(partner.id)

    async def _give_up(self, partner: Partner, waiting: Unanswered) -> None:
        context, record = self._context, waiting.record
        if await context.workers.database(context.ledger.exchanges.remind, record.id, None, context.now()) is None:
            return
        await context.workers.database(
            context.ledger.audit.record,
            context.now(),
            partner.code,
            "certificate of ours not answered",
            {"transfer": record.transfer_id, "fingerprint": record.fingerprint, "reminders": record.reminders},
        )
        self.log.error(
            "{partner}: no end response for our certificate, offered {count} times, the last time on {since}: ask the partner;"
            " see 'oftp2d exchange status {partner}'",
            partner=partner.code,
            count=record.reminders + 1,
            since=_day(waiting.transfer.sent_at),
        )


def of_exchange(ledger: Ledger, certificates: Certificates, acx: Acx, now: datetime) -> Iterable[Concern]:
    """What an administrator should look after in the exchange of certificates; blocks."""
    codes = ledger.partners.codes()
    for held in ledger.exchanges.held():
        if held.partner_id in codes:
            yield Concern(
                key=f"held {held.id}",
                text=f"{codes[held.partner_id]}: a certificate that it brought waits for you since {_day(held.created_at)}",
                advice=f"see 'oftp2d exchange show {held.id}', then say 'oftp2d exchange accept {held.id}' or 'oftp2d"
                f" exchange reject {held.id}'",
                at=held.created_at,
            )
    ending = _Ending(ledger, certificates, now + timedelta(days=acx.escalate_days), now)
    for waiting in ledger.exchanges.unanswered():
        if waiting.record.partner_id in codes:
            yield from _pressing(codes[waiting.record.partner_id], waiting, ending)


class _Ending:
    """When the certificates end that partners know of us, where that is soon; each question is asked of the ledger once."""

    def __init__(self, ledger: Ledger, certificates: Certificates, soon: datetime, now: datetime) -> None:
        self._certificates = certificates
        self._now = now
        self._soon = soon
        confirmed: dict[int, set[str]] = {}
        for entry in certificates.own_entries():
            for partner_id in ledger.certificates.confirmed_by(entry.fingerprint):
                confirmed.setdefault(partner_id, set()).add(entry.fingerprint)
        self._confirmed = {partner_id: frozenset(each) for partner_id, each in confirmed.items()}
        self._ends = {entry.fingerprint: entry.valid_until for entry in certificates.own_entries()}
        self._used: dict[tuple[str, frozenset[str]], str | None] = {}

    def of(self, waiting: Unanswered) -> datetime | None:
        """The end of the one that is used towards the partner for as long as it does not confirm this offer."""
        confirmed = self._confirmed.get(waiting.record.partner_id, frozenset())
        if not any(self._ends[each] <= self._soon for each in confirmed):
            return None
        station = waiting.transfer.originator
        # What is used follows from what was confirmed: the same for most partners.
        if (station, confirmed) not in self._used:
            taken = self._certificates.explain_own(
                Usage.SIGNATURE, station=station, now=self._now, partner_id=waiting.record.partner_id
            ).taken
            self._used[station, confirmed] = None if taken is None else taken.facts.fingerprint
        used = self._used[station, confirmed]
        if used is None or used == waiting.record.fingerprint or used not in confirmed or self._ends[used] > self._soon:
            return None
        return self._ends[used]


def _pressing(code: str, waiting: Unanswered, ending: _Ending) -> Iterator[Concern]:
    """An offer that was repeated often enough, or whose predecessor is about to end."""
    record = waiting.record
    advice = f"ask the partner; see 'oftp2d exchange status {code}'"
    if record.reminded_at is not None:
        yield Concern(
            key=f"unanswered {record.id}",
            text=f"{code}: no end response for our certificate, offered {record.reminders + 1} times, the last time on"
            f" {_day(waiting.transfer.sent_at)}",
            advice=advice,
            at=record.reminded_at,
        )
    elif (ends := ending.of(waiting)) is not None:
        yield Concern(
            key=f"pressing {record.id}",
            text=f"{code}: it has not accepted our new certificate yet, and the one it knows ends on {_day(ends)}",
            advice=advice,
            at=ends,
        )


def _due(waiting: Unanswered, acx: Acx, now: datetime) -> bool:
    """Whether it was sent long enough ago, and nothing was done about it yet."""
    sent_at = waiting.transfer.sent_at
    unheard = waiting.transfer.state is TransferState.SENT and waiting.record.reminded_at is None
    return unheard and sent_at is not None and now - sent_at >= timedelta(hours=acx.remind_after_hours)


def _usable(ledger: Ledger, waiting: Unanswered, now: datetime) -> StoredCertificate | None:
    """Our certificate, if it may still be offered."""
    if waiting.record.fingerprint is None:
        return None
    stored = ledger.certificates.get(waiting.record.fingerprint, holder=Holder.OWN)
    return stored if stored is not None and stored.active and now <= stored.valid_until else None


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "no day"
