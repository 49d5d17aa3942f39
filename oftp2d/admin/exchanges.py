"""Routes: the automatic exchange of certificates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from klein import Klein

from oftp2.certs.clid import parse as parse_clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage
from oftp2d.ledger import Direction, ExchangeRecord, Holder, Ledger, Partner, StoredCertificate, Transfer
from oftp2d.offers import Route
from oftp2d.standing import Known, Standing, standing

from . import documents
from .collaborators import Desk
from .fields import InputError
from .http import HttpRequest
from .lookup import aliases, all_partners, codes_for, partner_of
from .routing import Document, body, query, route

TOGETHER = 20
"""Partners that are looked at in one go of the database worker: sessions have their turn between."""
LONGEST_TEXT = 999
"""Octets of NERPREAST, RFC 5024 5.3.14."""

Queue = Callable[
    [Partner, StoredCertificate | None, StoredCertificate | None, Route], Awaitable[Sequence[ExchangeRecord]]
]


_RECENT: Final = 20
"""The messages among which is the last one that a partner brought, if it is of interest still."""


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""

    @route(app, "GET", "/v1/exchange")
    async def exchanges(request: HttpRequest) -> Document:
        """The messages of the certificate exchange, newest first, of one ``partner`` if given."""
        fields = query(request)
        partner, limit = fields.code("partner"), fields.limit()
        before = fields.whole("before", 1, 2**62)
        fields.finish()
        return {"exchanges": await desk.workers.database(_listed, desk.ledger, partner, limit, before)}

    @route(app, "POST", "/v1/exchange/deliver")
    async def deliver(request: HttpRequest) -> Document:
        """Give a ``partner`` our ``certificate``, or those in use, in the place of ``previous``.

        ``station`` is the station of ours whose certificate it is, ``to`` the partner's for which it is.
        """
        return await _queue(request, desk, desk.exchange.deliver)

    @route(app, "POST", "/v1/exchange/request")
    async def ask(request: HttpRequest) -> Document:
        """The same, and ask for the partner's in return."""
        return await _queue(request, desk, desk.exchange.request)

    @route(app, "POST", "/v1/exchange/recall")
    async def recall(request: HttpRequest) -> Document:
        """The same as deliver, and withdraw all earlier ones."""
        return await _queue(request, desk, desk.exchange.recall)

    @route(app, "GET", "/v1/exchange/standing")
    async def where_it_stands(request: HttpRequest) -> Document:
        """Where the exchange stands with each partner, or with ``partner``: certificates by usage, ours, who waits for whom."""
        fields = query(request)
        code = fields.code("partner")
        fields.finish()
        partners, found = await desk.workers.database(_partners, desk.ledger, code), list[Standing]()
        for at in range(0, len(partners), TOGETHER):
            found += await desk.workers.database(_standings, desk, partners[at : at + TOGETHER])
        return {"partners": [documents.standing(each) for each in found]}

    @route(app, "GET", "/v1/exchange/<int:number>")
    async def message(request: HttpRequest, number: int) -> Document:
        """One message with the certificate it carries and, where it was announced, both side by side."""
        query(request).finish()
        return await desk.workers.database(_shown, desk, number)

    @route(app, "POST", "/v1/exchange/<int:number>/accept")
    async def accept(request: HttpRequest, number: int) -> Document:
        """Accept a held certificate, for ``usages`` if given; its EERP is owed then."""
        fields = body(request)
        usages = fields.choices("usages", Usage) or None
        fields.finish()
        return await _decided(desk, await desk.exchange.accept(number, usages))

    @route(app, "POST", "/v1/exchange/<int:number>/reject")
    async def reject(request: HttpRequest, number: int) -> Document:
        """Refuse a held certificate; ``text`` is what the partner reads in the NERP."""
        fields = body(request)
        text = fields.optional("text", longest=LONGEST_TEXT) or ""
        fields.finish()
        return await _decided(desk, await desk.exchange.reject(number, text))


def _partners(ledger: Ledger, code: str | None) -> Sequence[Partner]:
    return [partner_of(ledger, code)] if code else list(all_partners(ledger))


def _standings(desk: Desk, partners: Sequence[Partner]) -> list[Standing]:
    ledger, now = desk.ledger, desk.now()
    ours = ledger.certificates.every(Holder.OWN)
    return [standing(_known(desk, partner, ours, now), now) for partner in partners]


def _known(desk: Desk, partner: Partner, ours: Sequence[StoredCertificate], now: datetime) -> Known:
    ledger = desk.ledger
    theirs = ledger.certificates.every(Holder.PARTNER, partner.id)
    return Known(
        partner=partner,
        theirs=theirs,
        barred={number: str(finding) for number, finding in desk.certificates.barred(theirs, now).items()},
        ours=ours,
        announcements=ledger.certificates.announcements(partner.id),
        confirmations=ledger.certificates.confirmations(partner.id),
        unanswered=ledger.exchanges.unanswered(partner.id),
        held=ledger.exchanges.held(partner.id),
        came=next(
            (each for each in ledger.exchanges.list(partner.id, _RECENT) if each.direction is Direction.IN), None
        ),
        offers=ledger.exchanges.last_offers(partner.id, {entry.fingerprint for entry in ours}),
    )


async def _decided(desk: Desk, record: ExchangeRecord) -> Document:
    desk.dialler.nudge(record.partner_id)
    return await desk.workers.database(_shown, desk, record.id)


def _shown(desk: Desk, number: int) -> Document:
    ledger = desk.ledger
    record = ledger.exchanges.get(number)
    transfer = ledger.transfers.get(record.transfer_id)
    stored = ledger.certificates.get(record.fingerprint) if record.fingerprint else None
    der = record.der or (stored.der if stored else None)
    facts = CertificateFacts.of(der) if der else None
    return documents.exchange(record, codes_for(ledger, [record.partner_id])) | {
        "originator": transfer.originator,
        "destination": transfer.destination,
        "dataset": transfer.dataset,
        "stamp": f"{transfer.date} {transfer.time}",
        "transfer_state": transfer.state,
        "describes": documents.clid(parse_clid(transfer.description)),
        "end_response": transfer.end_response,
        "raw_kept": transfer.raw_name is not None,
        "certificate": documents.facts(facts) if facts else None,
        "announced": _side_by_side(desk, record, transfer, facts) if facts else [],
    }


def _side_by_side(desk: Desk, record: ExchangeRecord, transfer: Transfer, facts: CertificateFacts) -> list[Document]:
    """What was announced for that station and is not fulfilled by another one, part by part beside what came."""
    if record.direction is Direction.OUT:
        return []
    fulfilled = {
        each.id
        for each in desk.ledger.certificates.announcements(record.partner_id)
        if each.fulfilled_by == record.fingerprint
    }
    announced = desk.certificates.announced(
        partner_id=record.partner_id, station=transfer.originator, fulfilled=fulfilled
    )
    return [
        {
            "id": each.key,
            "parts": [asdict(part) for part in each.identification.compare(facts)],
        }
        for each in announced
    ]


async def _queue(request: HttpRequest, desk: Desk, queue: Queue) -> Document:
    fields = body(request)
    code = fields.code("partner")
    names = fields.optional("certificate"), fields.optional("previous")
    way = Route(station=fields.code("station"), to=fields.code("to"))
    fields.finish()
    if code is None:
        raise InputError("partner is missing", "give its code")
    partner, certificate, previous = await desk.workers.database(_named, desk, code, *names)
    queued = await queue(partner, certificate, previous, way)
    desk.dialler.nudge(partner.id)
    return {"exchanges": [documents.exchange(each, {partner.id: partner.code}) for each in queued]}


def _named(
    desk: Desk, code: str, certificate: str | None, previous: str | None
) -> tuple[Partner, StoredCertificate | None, StoredCertificate | None]:
    return (
        partner_of(desk.ledger, code),
        desk.certificates.find(certificate, Holder.OWN) if certificate else None,
        desk.certificates.find(previous, Holder.OWN) if previous else None,
    )


def _listed(ledger: Ledger, code: str | None, limit: int, before: int | None) -> list[Document]:
    """The messages, with what their certificates are called here."""
    partner_id = partner_of(ledger, code).id if code else None
    found = ledger.exchanges.list(partner_id, limit, before=before)
    known = codes_for(ledger, [each.partner_id for each in found])
    names = aliases(ledger, [each.fingerprint for each in found if each.fingerprint])
    return [documents.exchange(each, known) | {"alias": names.get(each.fingerprint or "")} for each in found]
