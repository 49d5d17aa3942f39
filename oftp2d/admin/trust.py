"""Routes: whom the station trusts, the trust list, and what it makes of a certificate."""

from __future__ import annotations

from typing import Final

from klein import Klein

from oftp2.certs.facts import CertificateFacts
from oftp2d.credentials import leaf, read_material
from oftp2d.ledger import Holder, StoredCertificate
from oftp2d.revocation import Reading
from oftp2d.revocations import Revocations
from oftp2d.trust import Path, Trust
from oftp2d.trustlist import Entry, TrustList
from oftp2d.trustlists import Standing

from . import documents
from .certificates import content_of
from .collaborators import Desk
from .fields import Fields, InputError
from .http import HttpRequest
from .lookup import codes, partner_of
from .routing import Document, body, query, route

_DIGITS: Final = 64
"""Hexadecimal digits of a SHA-256."""


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""

    @route(app, "GET", "/v1/trust")
    async def trust(request: HttpRequest) -> Document:
        """Whom the station trusts: its anchors, those of partners, the trust list with its entries, and revocation lists."""
        query(request).finish()
        return {
            "anchors": await desk.workers.database(_anchors, desk),
            "trust_list": _standing(desk),
            "revocation": _revocation(desk),
        }

    @route(app, "POST", "/v1/trust/refresh")
    async def refresh(request: HttpRequest) -> Document:
        """Look for a new trust list now, with ``anew`` also where its stamp has not changed; then read all revocation lists.

        The ``outcome`` is that of the trust list, null where none is in use.
        """
        fields = body(request)
        anew = fields.flag("anew", default=False)
        fields.finish()
        lists = desk.revocations.read
        # Where neither is in use, the trust list says how to have it.
        in_use = desk.trust_lists.standing().enabled or not lists
        try:
            outcome = await desk.trust_lists.refresh(anew=anew) if in_use else None
        finally:
            if lists:
                await desk.revocations.refresh()
        return {"outcome": outcome, "trust_list": _standing(desk), "revocation": _revocation(desk)}

    @route(app, "POST", "/v1/trust/pin")
    async def pin(request: HttpRequest) -> Document:
        """Take only trust lists from now on that ``signer`` has signed: the SHA-256 of its certificate."""
        fields = body(request)
        signer = _fingerprint(fields)
        fields.finish()
        await desk.trust_lists.pin(signer)
        return {"trust_list": _standing(desk)}

    @route(app, "POST", "/v1/trust/unpin")
    async def unpin(request: HttpRequest) -> Document:
        """Forget who signs the trust list, and its number: the next one that is read pins its signer."""
        body(request).finish()
        await desk.trust_lists.unpin()
        return {"trust_list": _standing(desk)}

    @route(app, "POST", "/v1/trust/test")
    async def test(request: HttpRequest) -> Document:
        """Whether a certificate, ``pem`` or ``der_base64``, is trusted, for a ``partner`` if given, by which path, or why not."""
        fields = body(request)
        content, code = content_of(fields), fields.code("partner")
        fields.finish()
        material = await desk.workers.crypto(read_material, content)
        facts, chain = leaf(material.certificates, None)
        judge = await desk.workers.database(_trust, desk, code)
        return await desk.workers.crypto(_judged, desk, judge, facts, chain)


def _trust(desk: Desk, code: str | None) -> Trust:
    return desk.certificates.trust(partner_of(desk.ledger, code).id if code else None)


def _judged(desk: Desk, trust: Trust, facts: CertificateFacts, chain: tuple[CertificateFacts, ...]) -> Document:
    now = desk.now()
    verdict, path = trust.judge(facts, chain, now), trust.path(facts, chain, now)
    found = path.certificates if isinstance(path, Path) else ()
    return {
        **_named(facts),
        "issuer": str(facts.issuer),
        "trusted": verdict.trusted,
        "text": verdict.text,
        "source": path.anchor.source if isinstance(path, Path) else None,
        "path": [_named(each) for each in found],
    }


def _anchors(desk: Desk) -> list[Document]:
    known = codes(desk.ledger)
    return [_anchor(entry, known) for entry in desk.ledger.certificates.every(Holder.ANCHOR)]


def _anchor(entry: StoredCertificate, known: documents.Codes) -> Document:
    return {
        **_named(CertificateFacts.of(entry.der)),
        "alias": entry.alias,
        "partner": known.get(entry.partner_id) if entry.partner_id is not None else None,
        "active": entry.active,
    }


def _revocation(desk: Desk) -> Document:
    known = desk.revocations
    return {"mode": known.mode, "lists": [_list(known, each) for each in known.readings]}


def _list(known: Revocations, reading: Reading) -> Document:
    found, age = reading.list, known.age(reading)
    return {
        "url": reading.url,
        "issuer": str(found.issuer) if found else None,
        "number": str(found.number) if found and found.number is not None else None,
        "revoked": found.entries if found else None,
        "this_update": documents.moment(found.this_update if found else None),
        "next_update": documents.moment(found.next_update if found else None),
        "read_at": documents.moment(reading.read_at),
        "age_seconds": int(age.total_seconds()) if age is not None else None,
        "too_old": known.too_old(reading),
        "tried_at": documents.moment(reading.tried_at),
        "due_at": documents.moment(known.due(reading)),
        "error": reading.error or None,
    }


def _standing(desk: Desk) -> Document:
    standing = desk.trust_lists.standing()
    record, listed = standing.record, standing.listed
    return {
        "enabled": standing.enabled,
        "url": record.url,
        "pinned": standing.pinned,
        "signer": standing.signer or None,
        **_said(standing, listed),
        "overdue": listed is not None and listed.overdue(desk.now()),
        "read_at": documents.moment(record.read_at),
        "tried_at": documents.moment(record.tried_at),
        "error": record.error or None,
        "entries": [_entry(each) for each in listed.entries] if listed is not None else [],
    }


def _said(standing: Standing, listed: TrustList | None) -> Document:
    """What the list says of itself; of one that does not count, what is known of it."""
    record = standing.record
    return {
        "name": listed.scheme if listed else record.name or None,
        "number": listed.sequence if listed else record.sequence,
        "issued_at": documents.moment(listed.issued_at if listed else record.issued_at),
        "next_update": documents.moment(listed.next_update if listed else record.next_update),
        "counts": listed is not None,
        "authorities": len(listed.authorities) if listed else 0,
        "signed_by": str(listed.signer.subject) if listed else None,
    }


def _entry(entry: Entry) -> Document:
    authorities = {facts.fingerprint for facts in entry.authorities} if entry.accepted else set()
    return {
        "provider": entry.provider,
        "service": entry.service,
        "status": entry.status,
        "accepted": entry.accepted,
        "certificates": [
            {**_named(facts), "trusted": facts.fingerprint in authorities} for facts in entry.certificates
        ],
    }


def _named(facts: CertificateFacts) -> Document:
    return {
        "subject": str(facts.subject),
        "fingerprint": facts.fingerprint,
        "valid_until": documents.moment(facts.not_after),
    }


def _fingerprint(fields: Fields) -> str:
    digits = fields.text("signer", longest=_DIGITS + _DIGITS // 2).replace(":", "").lower()
    if len(digits) != _DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise InputError("signer is no SHA-256 fingerprint", "give its 64 hexadecimal digits, with colons or without")
    return digits
