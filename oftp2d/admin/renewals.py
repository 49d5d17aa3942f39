"""Routes: one renewal for all partners."""

from __future__ import annotations

from typing import Any

from klein import Klein

from oftp2d.ledger import Holder, StoredCertificate
from oftp2d.renewals import Account
from oftp2d.uptake import Uptake

from .collaborators import Desk
from .documents import moment
from .http import HttpRequest
from .routing import Document, body, query, route


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""

    @route(app, "GET", "/v1/renewals")
    async def renewals(request: HttpRequest) -> Document:
        """The renewals, newest first, without their partners."""
        fields = query(request)
        limit, before = fields.limit(), fields.whole("before", 1, 2**62)
        fields.finish()
        found = await desk.workers.database(desk.ledger.renewals.list, limit, before=before)
        accounts = [await desk.renewals.account(each.id) for each in found]
        return {"renewals": [_summary(each) for each in accounts]}

    @route(app, "POST", "/v1/renewals")
    async def begin(request: HttpRequest) -> Document:
        """Offer a ``certificate`` of ours to all partners, in the place of ``previous``, which ends not before ``until``."""
        fields = body(request)
        names = fields.text("certificate"), fields.optional("previous")
        until = fields.moment("until")
        fields.finish()
        certificate, previous = await desk.workers.database(_named, desk, *names)
        return _whole(await desk.renewals.begin(certificate, previous, until))

    @route(app, "GET", "/v1/renewals/<int:number>")
    async def renewal(request: HttpRequest, number: int) -> Document:
        """One renewal: where each partner stands, and what there is to do."""
        query(request).finish()
        return _whole(await desk.renewals.account(number))

    @route(app, "POST", "/v1/renewals/<int:number>/cancel")
    async def cancel(request: HttpRequest, number: int) -> Document:
        """Offer it to nobody else; partners that have confirmed the certificate keep it."""
        body(request).finish()
        return _whole(await desk.renewals.cancel(number))


def _named(desk: Desk, certificate: str, previous: str | None) -> tuple[StoredCertificate, StoredCertificate | None]:
    return (
        desk.certificates.find(certificate, Holder.OWN),
        desk.certificates.find(previous, Holder.OWN) if previous else None,
    )


def _summary(account: Account) -> dict[str, Any]:
    renewal, counts = account.renewal, account.progress.counts
    return {
        "id": renewal.id,
        "state": renewal.state,
        "station": renewal.station,
        "certificate": _certificate(renewal.fingerprint, account.certificate),
        "previous": _certificate(renewal.previous, account.previous) if renewal.previous else None,
        "started_at": moment(renewal.started_at),
        "ended_at": moment(renewal.ended_at),
        "until": moment(renewal.until),
        "text": renewal.text,
        "partners_total": len(account.progress.uptakes),
        "missing": len(account.progress.missing),
        "counts": {stage.value: count for stage, count in counts.items()},
    }


def _whole(account: Account) -> dict[str, Any]:
    return {**_summary(account), "partners": [_partner(each) for each in account.progress.uptakes]}


def _certificate(fingerprint: str, stored: StoredCertificate | None) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "alias": stored.alias if stored else None,
        "valid_from": moment(stored.valid_from) if stored else None,
        "valid_until": moment(stored.valid_until) if stored else None,
    }


def _partner(uptake: Uptake) -> dict[str, Any]:
    return {
        "partner": uptake.partner.code,
        "name": uptake.partner.name,
        "stage": uptake.stage,
        "since": moment(uptake.since),
        "text": uptake.text,
        "advice": uptake.advice,
        "exchange": uptake.message.id if uptake.message else None,
    }
