"""Routes: which certificate is used when, what is planned with it, what happened to it, and files of it for others."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime

from klein import Klein

from oftp2.certs.selection import Considered
from oftp2d.certificates import Purpose
from oftp2d.errors import OperatorError
from oftp2d.exporting import Form, exported
from oftp2d.importing import Exportable
from oftp2d.ledger import AuditEntry, Holder, Slot, StoredCertificate
from oftp2d.ledger.records import Detail
from oftp2d.planning import rollover

from . import documents
from .collaborators import Desk
from .fields import InputError
from .http import HttpRequest
from .lookup import entries_of, partner_of
from .routing import Document, body, query, route

_DIGITS = 64
"""Of a whole fingerprint: the history of a certificate stays when it is removed."""


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""
    _add_choosing(app, desk)
    _add_planning(app, desk)
    _add_exporting(app, desk)


def _add_choosing(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/explain")
    async def explain(request: HttpRequest) -> Document:
        """Which certificate is used ``for`` something, by ``partner`` or ``station``, ``at`` a time; and why no other."""
        fields = query(request)
        purpose, at = fields.choice("for", Purpose), fields.moment("at")
        code, station = fields.code("partner"), fields.code("station")
        fields.finish()
        if purpose is None:
            raise InputError("it is not said what for", f"give one of: {', '.join(Purpose)}")
        return await desk.workers.database(_explained, desk, purpose, code, station, at or desk.now())

    @route(app, "GET", "/v1/certificates/<path:name>/history")
    async def history(request: HttpRequest, name: str) -> Document:
        """What happened to a certificate, newest first; also to one that was removed, by its whole fingerprint."""
        fields = query(request)
        limit, before = fields.limit(), fields.whole("before", 1, 2**62)
        fields.finish()
        fingerprint, found = await desk.workers.database(_history, desk, name, limit, before)
        return {"fingerprint": fingerprint, "entries": [documents.audit_entry(each) for each in found]}


def _add_planning(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/certificates/<path:name>/rollover")
    async def roll_over(request: HttpRequest, name: str) -> Document:
        """Let ``to`` take over from this certificate without a gap, ``at`` a time inside of their overlap."""
        fields = body(request)
        new, at = fields.text("to", longest=200), fields.moment("at")
        fields.finish()
        return await _changed(desk, lambda: _roll_over(desk, name, new, at))

    @route(app, "POST", "/v1/certificates/<path:name>/timeslice")
    async def timeslice(request: HttpRequest, name: str) -> Document:
        """Use a certificate ``from`` and ``until`` a time only, within its validity; with ``clear`` as long as it is valid."""
        fields = body(request)
        begins, ends = fields.moment("from"), fields.moment("until")
        clear = fields.flag("clear", default=False)
        fields.finish()
        if clear is (begins is not None or ends is not None):
            raise InputError("it is not clear what the timeslice is to be", "give from, until or both, or clear")
        return await _changed(desk, lambda: _slice(desk, name, begins, ends, clear))


def _add_exporting(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/certificates/<path:name>/export")
    async def export(request: HttpRequest, name: str) -> Document:
        """A file of a certificate: ``form`` (pem, der, p7b, p12), ``chain`` for pem, ``passphrase`` for p12, with the key."""
        fields = body(request)
        form, chain = fields.choice("form", Form) or Form.PEM, fields.flag("chain", default=False)
        passphrase = fields.secret("passphrase", longest=1000)
        fields.finish()
        made = await desk.workers.database(_export, desk, name, form)
        octets = await desk.workers.crypto(
            exported,
            form,
            made.certificate,
            made.chain if chain or form is not Form.PEM else (),
            name=made.name,
            key=made.key,
            passphrase=(passphrase or "").encode(),
        )
        if form is Form.P12:
            await desk.workers.database(_note_export, desk, name)
        return {"name": made.name, "form": form, "content_base64": base64.b64encode(octets).decode("ascii")}


def _explained(desk: Desk, purpose: Purpose, code: str | None, station: str | None, at: datetime) -> Document:
    partner = partner_of(desk.ledger, code) if code else None
    found = desk.certificates.explain(purpose, now=at, partner=partner, station=station)
    stored = {each.fingerprint: each for each in reversed(desk.ledger.certificates.every())}

    def row(item: Considered) -> Document:
        facts = item.entry.facts
        entry = stored[facts.fingerprint]
        return {
            "fingerprint": facts.fingerprint,
            "alias": entry.alias,
            "subject": str(facts.subject),
            "valid_from": documents.moment(facts.not_before),
            "valid_until": documents.moment(facts.not_after),
            "slice_from": documents.moment(item.entry.slice_from),
            "slice_until": documents.moment(item.entry.slice_until),
            "taken": item.taken,
            "why": item.why,
        }

    return {
        "for": purpose,
        "at": documents.moment(at),
        "situation": found.situation.name,
        "taken": [entry.facts.fingerprint for entry in found.entries],
        "considered": [row(item) for item in found.considered],
    }


def _history(desk: Desk, name: str, limit: int, before: int | None) -> tuple[str, list[AuditEntry]]:
    digits = name.replace(":", "").lower()
    whole = len(digits) == _DIGITS and set(digits) <= set("0123456789abcdef")
    fingerprint = digits if whole else desk.certificates.find(name).fingerprint
    return fingerprint, list(desk.ledger.audit.list(fingerprint=fingerprint, limit=limit, before=before))


async def _changed(desk: Desk, change: Callable[[], Document]) -> Document:
    document = await desk.workers.database(change)
    desk.house.certificates_changed()
    return document


def _roll_over(desk: Desk, name: str, successor: str, at: datetime | None) -> Document:
    old = desk.certificates.find(name)
    new = desk.certificates.find(successor, old.holder, partner_id=old.partner_id)
    at, (begins, ends) = rollover(old, new, desk.now(), at)
    for entry in _entries(desk, old):
        desk.ledger.certificates.set_slice(entry.id, entry.slice_from, at)
    for entry in _entries(desk, new):
        desk.ledger.certificates.set_slice(entry.id, at, entry.slice_until)
    told: dict[str, Detail] = {"from": old.alias, "to": new.alias, "at": documents.moment(at)}
    for each in (old, new):
        _audit(desk, each, "certificate roll-over planned", told)
    unaware = _unaware(desk, old, new) if old.holder is Holder.OWN else []
    return {
        "from": old.fingerprint,
        "to": new.fingerprint,
        "at": documents.moment(at),
        "overlap_from": documents.moment(begins),
        "overlap_until": documents.moment(ends),
        "not_confirmed_by": unaware,
    }


def _unaware(desk: Desk, old: StoredCertificate, new: StoredCertificate) -> list[str]:
    """The partners that are known to have the old one, and not known to have the new one."""
    found = []
    for number, code in desk.ledger.partners.codes().items():
        confirmed = desk.ledger.certificates.confirmed(number)
        if old.fingerprint in confirmed and new.fingerprint not in confirmed:
            found.append(code)
    return sorted(found)


def _slice(desk: Desk, name: str, begins: datetime | None, ends: datetime | None, clear: bool) -> Document:  # noqa: FBT001 - handed on
    found = desk.certificates.find(name)
    if not clear:
        begins, ends = begins or found.slice_from, ends or found.slice_until
    if begins is not None and ends is not None and begins >= ends:
        raise OperatorError("the timeslice would end before it begins", "give an earlier from, or a later until")
    for entry in _entries(desk, found):
        desk.ledger.certificates.set_slice(entry.id, begins, ends)
    told: dict[str, Detail] = {"from": documents.moment(begins), "until": documents.moment(ends)}
    _audit(desk, found, "certificate timeslice changed", told)
    return {
        "fingerprint": found.fingerprint,
        "alias": found.alias,
        "slice_from": documents.moment(begins),
        "slice_until": documents.moment(ends),
    }


def _entries(desk: Desk, certificate: StoredCertificate) -> list[StoredCertificate]:
    """The entries of a certificate that are used outbound."""
    return [each for each in entries_of(desk.ledger, certificate) if each.slot is Slot.CURRENT]


def _export(desk: Desk, name: str, form: Form) -> Exportable:
    return desk.certificates.to_export(desk.certificates.find(name), key=form is Form.P12)


def _note_export(desk: Desk, name: str) -> None:
    _audit(desk, desk.certificates.find(name), "private key exported", {})


def _audit(desk: Desk, certificate: StoredCertificate, event: str, told: dict[str, Detail]) -> None:
    partner = None if certificate.partner_id is None else desk.ledger.partners.get(certificate.partner_id).code
    detail: dict[str, Detail] = {"fingerprint": certificate.fingerprint, "alias": certificate.alias, **told}
    desk.ledger.audit.record(desk.now(), partner, event, detail)
