"""Routes: partners, their settings, and calls to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from klein import Klein

from oftp2.cms.suites import SUITES
from oftp2.values import Level
from oftp2d.agreement import check_level
from oftp2d.charsets import UnknownCharsetError, named
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AcxMode,
    Authentication,
    CallPolicy,
    Demand,
    LineEnds,
    NewPartner,
    Partner,
    ReplaceScope,
    Traffic,
    Transport,
)
from oftp2d.ledger.records import Detail, PartnerChange

from . import documents
from .collaborators import Desk
from .fields import Fields, InputError
from .http import HttpRequest
from .lookup import all_partners, partner_of
from .routing import Document, body, query, route

LONGEST_PASSWORD = 8
"""Characters of SSIDPSWD, RFC 5024 5.3.2."""

FEWEST_BITS, MOST_BITS = 1024, 4096
"""Between these is the length below which a partner's keys are not used."""

_FLAGS_OF_FILES = (
    "sign_files",
    "compress_files",
    "encrypt_files",
    "signed_receipts",
    "signer_certificate",
    "unsigned_receipts",
)
_OF_FILES = (
    *_FLAGS_OF_FILES,
    "cipher_suite",
    "incoming_signed",
    "incoming_encrypted",
    "incoming_compressed",
    "least_rsa_bits",
)
_FLAGS = (
    "client_certificate",
    "compression",
    "restart",
    "active",
    "may_forward",
    "hold_certificates",
    "only_own_anchors",
    *_FLAGS_OF_FILES,
)
_OF_CERTIFICATES = ("hold_certificates", "replace_scope", "only_own_anchors")
_SECURITY = (
    "client_certificate",
    "acx",
    "authentication",
    "active",
    "transport",
    "level",
    "may_forward",
    *_OF_CERTIFICATES,
    *_OF_FILES,
)
"""The settings whose changes belong into the audit trail."""

_REACH = (
    "host",
    "port",
    "transport",
    "server_name",
    "authentication",
    "level",
    "mode",
    "active",
    "password_ours",
    "password_theirs",
)
"""The settings after whose change a call may succeed that failed before."""

_ADVICE = {
    "tcp": "check host and port, and ask the partner whether it listens and lets your address through its firewall",
    "ready": "something else than an OFTP station listens there: ask for the port of OFTP2 over TLS, usually 6619",
    "code": "compare the codes (SSID) of both sides: ours is in 'oftp2d station list', theirs in 'oftp2d partner show'",
    "password": "compare both passwords with the partner, capitals too, and set them with 'oftp2d partner change'"
    " and --passwords",
    "level": "the partner must offer a release level that its security needs here (5 for session authentication, secured files"
    " and signed receipts), send what we receive or receive what we send, and session authentication must be the same on both"
    " sides: see 'oftp2d partner show'",
    "leave": "try again; if it stays so, ask the partner what its log says",
}
"""What to do when a step of a connection test fails; a handshake that fails says so itself."""


_AUTHENTICATION = (
    "session authentication must be on at both sides, and each must hold the certificate that the other uses now: ask the"
    " partner whether it still uses the one that 'oftp2d cert explain --partner {code} --for challenge' names, and import its"
    " new one with 'oftp2d cert import FILE --partner {code}'; give it ours with 'oftp2d cert show --pem': no exchange of"
    " certificates can do so while no session stands. Both sides must offer release level 5, too"
)


def _advice(step: str, partner: Partner) -> str | None:
    """What to do about a test that failed in this step."""
    if step == "level" and partner.authentication is Authentication.ON:
        return _AUTHENTICATION.format(code=partner.code)
    return _ADVICE.get(step)


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""
    _add_reading(app, desk)
    _add_changing(app, desk)
    _add_calling(app, desk)


def _add_reading(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/partners")
    async def partners(request: HttpRequest) -> Document:
        """All partners."""
        query(request).finish()
        found = await desk.workers.database(all_partners, desk.ledger)
        return {"partners": [documents.partner(each) for each in found]}

    @route(app, "GET", "/v1/partners/<path:code>")
    async def partner(request: HttpRequest, code: str) -> Document:
        """One partner."""
        query(request).finish()
        return documents.partner(await desk.workers.database(partner_of, desk.ledger, code))


def _add_changing(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/partners")
    async def add(request: HttpRequest) -> Document:
        """Add a partner: ``code`` and any setting of it."""
        fields = body(request)
        code = fields.code("code")
        settings = _settings(fields, desk)
        fields.finish()
        if code is None:
            raise InputError("code is missing", "give it")
        added = await desk.workers.database(_add, desk, code, settings)
        desk.dialler.nudge(added.id)
        return documents.partner(added)

    @route(app, "PATCH", "/v1/partners/<path:code>")
    async def change(request: HttpRequest, code: str) -> Document:
        """Change the settings given; an empty ``host``, ``server_name`` or ``text_charset`` clears it."""
        fields = body(request)
        settings = _settings(fields, desk)
        fields.finish()
        if not settings:
            raise InputError("nothing is to be changed", "name at least one setting")
        changed = await desk.workers.database(_change, desk, code, settings)
        desk.dialler.nudge(changed.id)
        return documents.partner(changed)

    @route(app, "DELETE", "/v1/partners/<path:code>")
    async def remove(request: HttpRequest, code: str) -> Document:
        """Remove a partner; its history stays."""
        query(request).finish()
        removed = await desk.workers.database(_remove, desk, code)
        desk.dialler.nudge(removed.id)
        return documents.partner(removed)


def _add_calling(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/partners/<path:code>/test")
    async def test(request: HttpRequest, code: str) -> Document:
        """Call, identify and leave; answers when that is over, with the steps."""
        body(request).finish()
        partner = await desk.workers.database(partner_of, desk.ledger, code)
        report = await desk.dialler.test(partner)
        if report.ok:
            # What waits need not wait for the end of a back-off that has lost its cause.
            await desk.workers.database(desk.ledger.partners.call_made, partner.id, desk.now())
            desk.dialler.nudge(partner.id)
        return {
            "ok": report.ok,
            "steps": [{"step": each.step, "ok": each.ok, "text": each.text} for each in report.steps],
            "advice": None if report.ok or not report.steps else _advice(report.steps[-1].step, partner),
        }

    @route(app, "POST", "/v1/partners/<path:code>/call")
    async def call(request: HttpRequest, code: str) -> Document:
        """Begin a call now."""
        body(request).finish()
        partner = await desk.workers.database(partner_of, desk.ledger, code)
        await desk.dialler.call(partner)
        return {"partner": partner.code, "calling": True}


def _settings(fields: Fields, desk: Desk) -> dict[str, Any]:
    """The settings a request gives, checked; those it leaves out are left out. Null clears where it may."""
    read: dict[str, Any] = {
        "name": fields.optional("name", longest=100),
        "station": fields.code("station"),
        "host": fields.host("host"),
        "port": fields.whole("port", 1, 65535),
        "transport": fields.choice("transport", Transport),
        "server_name": fields.host("server_name"),
        "acx": fields.choice("acx", AcxMode),
        "authentication": fields.choice("authentication", Authentication),
        "level": fields.whole("level", min(Level), max(Level)),
        "mode": fields.choice("mode", Traffic),
        "buffer_size": fields.whole("buffer_size", 128, 99_999),
        "credit": fields.whole("credit", 1, 999),
        "text_charset": _charset(fields),
        "text_line_ends": fields.choice("text_line_ends", LineEnds),
        "cipher_suite": fields.whole("cipher_suite", min(SUITES), max(SUITES)),
        "incoming_signed": fields.choice("incoming_signed", Demand),
        "incoming_encrypted": fields.choice("incoming_encrypted", Demand),
        "incoming_compressed": _compressed(fields),
        "replace_scope": fields.choice("replace_scope", ReplaceScope),
        "least_rsa_bits": fields.whole("least_rsa_bits", FEWEST_BITS, MOST_BITS),
    }
    read |= _call_policy(fields)
    if read["level"] not in {None, *Level}:
        raise InputError(f"there is no release level {read['level']}", "give 1, 2, 4 or 5")
    settings = {name: value for name, value in read.items() if value is not None and value != ""}
    # An empty host, name in the certificate, interval or character set is the wish to have none.
    settings |= {name: None for name in ("host", "server_name", "text_charset") if read[name] == ""}
    if read.get("call_every", 0) is None:
        settings["call_every"] = None
    for name in _FLAGS:
        if name in fields:
            settings[name] = fields.flag(name, default=False)
        else:
            fields.flag(name, default=False)
    given = "sub_stations" in fields
    sub_stations = fields.codes("sub_stations")
    if given:
        settings["sub_stations"] = sub_stations
    for name in ("password_ours", "password_theirs"):
        password = fields.secret(name, longest=LONGEST_PASSWORD)
        if password is not None:
            settings[name] = desk.vault.seal(password.encode("ascii")) if password else b""
    return settings


def _compressed(fields: Fields) -> Demand | None:
    """Whether compressed files are taken; nobody needs to demand them."""
    demand = fields.choice("incoming_compressed", Demand)
    if demand is Demand.REQUIRED:
        raise InputError("incoming_compressed is not known here", "give one of: allowed, refused")
    return demand


def _charset(fields: Fields) -> str | None:
    """A character set by the name we know it by; empty is the wish to have none."""
    name = fields.optional("text_charset", longest=40)
    if not name:
        return name
    try:
        return named(name).name
    except UnknownCharsetError:
        raise InputError(
            f"{name!r} is no character set for here",
            "give one of one octet a character, such as cp037, cp273, cp500, cp1047, cp1141, latin-1 or cp1252, or utf-8",
        ) from None


def _call_policy(fields: Fields) -> dict[str, Any]:
    """When the partner is called by itself; a ``call_every`` without ``call`` means every so often, 0 on demand."""
    policy = fields.choice("call", CallPolicy)
    every = fields.whole("call_every", 0, 604_800)
    if every is not None and 0 < every < 60:
        raise InputError("call_every is no number for here", "give 60 to 604800 seconds, or 0 for never")
    if policy is None and every is not None:
        policy = CallPolicy.EVERY if every else CallPolicy.ON_DEMAND
    if policy is None:
        return {}
    if (policy is CallPolicy.EVERY) is not bool(every):
        raise InputError(f"call is {policy}", "give call_every (60 to 604800 seconds) with every, and only with it")
    return {"wait_for_calls": policy is CallPolicy.WAIT, "call_every": every or None}


def _add(desk: Desk, code: str, settings: Mapping[str, Any]) -> Partner:
    chosen = {"name": code} | dict(settings)
    if "station" not in chosen:
        main = desk.ledger.stations.main()
        if main is None:
            raise OperatorError("there is no station yet", "add one with 'oftp2d station add'")
        chosen["station"] = main.code
    new = NewPartner(code=code, **chosen)
    check_level(new)
    if desk.ledger.partners.by_code(code) is not None:
        raise OperatorError(f"{code} is a partner already", f"change it with 'oftp2d partner change {code}'")
    added = desk.ledger.partners.add(new, desk.now())
    if added.call_every:
        added = desk.ledger.partners.change(added.id, next_call_at=desk.now())
    _audit(desk, added, "partner added", settings)
    return added


def _change(desk: Desk, code: str, settings: Mapping[str, Any]) -> Partner:
    partner = partner_of(desk.ledger, code)
    changes = dict(settings)
    check_level(replace(partner, **changes))
    if not {"call_every", *_REACH}.isdisjoint(changes):
        changes["next_call_at"] = desk.now() if changes.get("call_every", partner.call_every) else None
    changed = desk.ledger.partners.change(partner.id, **cast("PartnerChange", changes))
    _audit(desk, changed, "partner changed", settings)
    return changed


def _remove(desk: Desk, code: str) -> Partner:
    partner = partner_of(desk.ledger, code)
    desk.ledger.partners.remove(partner.id, desk.now())
    _audit(desk, partner, "partner removed", {})
    return partner


def _audit(desk: Desk, partner: Partner, event: str, settings: Mapping[str, Any]) -> None:
    detail: dict[str, Detail] = {name: settings[name] for name in _SECURITY if name in settings}
    detail |= {f"{name}_set": True for name in ("password_ours", "password_theirs") if name in settings}
    desk.ledger.audit.record(desk.now(), partner.code, event, detail)
