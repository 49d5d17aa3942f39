"""Routes: sessions that are recorded, and the traces that came of it."""

from __future__ import annotations

from klein import Klein

from oftp2d.ledger import Ledger
from oftp2d.trace import Order
from oftp2d.tracefiles import Trace

from . import documents
from .collaborators import Desk
from .fields import InputError
from .http import HttpRequest
from .lookup import partner_of
from .routing import Document, MissingError, body, query, route

LONGEST_SECONDS = 7 * 24 * 3600
"""For how long sessions may be recorded at once."""

USUAL_SECONDS = 600
PIECE = 256 * 1024
"""Octets of a trace in one answer."""


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""
    _add_orders(app, desk)
    _add_reading(app, desk)


def _add_orders(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/traces")
    async def start(request: HttpRequest) -> Document:
        """Record the sessions that begin in the next ``seconds``, all or those with one ``partner``."""
        fields = body(request)
        code = fields.code("partner")
        seconds = fields.whole("seconds", 1, LONGEST_SECONDS) or USUAL_SECONDS
        fields.finish()
        if code is not None:
            await desk.workers.database(partner_of, desk.ledger, code)
        order = desk.traces.start(code, seconds)
        await desk.workers.database(_note, desk, "trace started", code, order)
        return documents.order(order)

    @route(app, "POST", "/v1/traces/stop")
    async def stop(request: HttpRequest) -> Document:
        """Record no more sessions with a ``partner``, without one no more at all."""
        fields = body(request)
        code = fields.code("partner")
        fields.finish()
        stopped = desk.traces.stop(code)
        for order in stopped:
            await desk.workers.database(_note, desk, "trace stopped", order.partner, order)
        return {"stopped": [documents.order(each) for each in stopped]}


def _add_reading(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/traces")
    async def traces(request: HttpRequest) -> Document:
        """What is recorded at present, and the traces that there are, newest first, of one ``partner`` if given."""
        fields = query(request)
        code = fields.code("partner")
        fields.finish()
        found = await desk.workers.disk(desk.traces.files.list)
        recording = desk.traces.recording()
        return {
            "orders": [documents.order(each) for each in desk.traces.orders()],
            "traces": [documents.trace(each, recording) for each in found if code in {None, each.partner}],
        }

    @route(app, "GET", "/v1/traces/<name>")
    async def trace(request: HttpRequest, name: str) -> Document:
        """One of them, with its text behind the first ``after`` octets; ``next`` is where the rest begins."""
        fields = query(request)
        after = fields.whole("after", 0, 2**40) or 0
        fields.finish()
        # Asked before it is read: what is not there then is not to come.
        recording = desk.traces.recording()
        found = await _found(desk, name)
        try:
            octets = await desk.workers.disk(desk.traces.files.read, found, after, PIECE)
        except OSError:
            raise _missing(name) from None
        text = octets.decode("utf-8", "replace")
        return {**documents.trace(found, recording), "text": text, "next": after + len(octets)}

    @route(app, "DELETE", "/v1/traces/<name>")
    async def remove(request: HttpRequest, name: str) -> Document:
        """Remove a trace."""
        query(request).finish()
        found = await _found(desk, name)
        if name in desk.traces.recording():
            raise InputError(f"{name} is still being recorded", "say 'oftp2d trace stop' first")
        await desk.workers.disk(desk.traces.files.remove, found)
        return {"id": name}


async def _found(desk: Desk, name: str) -> Trace:
    found = await desk.workers.disk(desk.traces.files.get, name)
    if found is None:
        raise _missing(name)
    return found


def _missing(name: str) -> MissingError:
    return MissingError(f"there is no trace {name[:40]!r}", "see 'oftp2d trace list'")


def _note(desk: Desk, event: str, code: str | None, order: Order) -> None:
    """Recording shows what partners say to each other: it is noted who is concerned, and for how long."""
    ledger: Ledger = desk.ledger
    ledger.audit.record(desk.now(), code, event, {"until": documents.moment(order.until)})
