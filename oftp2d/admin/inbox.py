"""Routes: the files that partners sent."""

from __future__ import annotations

from collections.abc import Sequence

from klein import Klein

from oftp2d.ledger import Direction, Kind, Ledger, Partner, Transfer, TransferState

from . import documents
from .bodies import send_content
from .collaborators import Desk
from .http import HttpRequest
from .lookup import partner_of, partners_for, transfer_of
from .routing import Document, MissingError, query, route


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""

    @route(app, "GET", "/v1/inbox")
    async def inbox(request: HttpRequest) -> Document:
        """The files that arrived, newest first, of one ``partner`` if given."""
        fields = query(request)
        code, limit = fields.code("partner"), fields.limit()
        before = fields.optional("before", longest=40)
        fields.finish()

        def find(ledger: Ledger) -> tuple[Sequence[Transfer], dict[int, Partner]]:
            found = ledger.transfers.list(
                direction=Direction.IN,
                state=TransferState.DELIVERED,
                partner_id=partner_of(ledger, code).id if code else None,
                kind=Kind.FILE,
                limit=limit,
                before=before,
            )
            return found, partners_for(ledger, [each.partner_id for each in found])

        found, partners = await desk.workers.database(find, desk.ledger)
        return {"files": [documents.transfer(each, partners[each.partner_id], desk.now()) for each in found]}

    @route(app, "GET", "/v1/inbox/<transfer_id>")
    async def one(request: HttpRequest, transfer_id: str) -> Document:
        """One of them."""
        query(request).finish()
        transfer = await desk.workers.database(_delivered, desk.ledger, transfer_id)
        partner = await desk.workers.database(desk.ledger.partners.get, transfer.partner_id)
        return documents.transfer(transfer, partner, desk.now())

    @route(app, "GET", "/v1/inbox/<transfer_id>/content")
    async def content(request: HttpRequest, transfer_id: str) -> None:
        """Its content, as octets."""
        query(request).finish()
        transfer = await desk.workers.database(_delivered, desk.ledger, transfer_id)
        path = desk.spool.inbox_path(transfer.spool_name)
        await send_content(request, desk.workers, transfer, lambda: path.open("rb"))


def _delivered(ledger: Ledger, transfer_id: str) -> Transfer:
    transfer = transfer_of(ledger, transfer_id, "oftp2d inbox list")
    if (transfer.direction, transfer.kind, transfer.state) != (
        Direction.IN,
        Kind.FILE,
        TransferState.DELIVERED,
    ):
        raise MissingError(f"{transfer_id} is no file of the inbox", "see 'oftp2d inbox list'")
    return transfer
