"""Routes: the automatic exchange of certificates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from klein import Klein

from oftp2d.ledger import ExchangeRecord, Holder, Ledger, Partner, StoredCertificate
from oftp2d.offers import Route

from . import documents
from .collaborators import Desk
from .fields import InputError
from .http import HttpRequest
from .lookup import codes_for, partner_of
from .routing import Document, body, query, route

Queue = Callable[
    [Partner, StoredCertificate | None, StoredCertificate | None, Route], Awaitable[Sequence[ExchangeRecord]]
]


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""

    @route(app, "GET", "/v1/exchange")
    async def exchanges(request: HttpRequest) -> Document:
        """The messages of the certificate exchange, newest first, of one ``partner`` if given."""
        fields = query(request)
        partner, limit = fields.code("partner"), fields.limit()
        before = fields.whole("before", 1, 2**62)
        fields.finish()
        found, codes = await desk.workers.database(_listed, desk.ledger, partner, limit, before)
        return {"exchanges": [documents.exchange(each, codes) for each in found]}

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


def _listed(
    ledger: Ledger, code: str | None, limit: int, before: int | None
) -> tuple[Sequence[ExchangeRecord], dict[int, str]]:
    partner_id = partner_of(ledger, code).id if code else None
    found = ledger.exchanges.list(partner_id, limit, before=before)
    return found, codes_for(ledger, [each.partner_id for each in found])
