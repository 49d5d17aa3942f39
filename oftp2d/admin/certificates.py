"""Routes: certificates, announcements of certificates to come, and confirmations by hand."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from klein import Klein

from oftp2.certs.facts import KEY_USAGE_BITS, CertificateFacts
from oftp2.certs.usages import Usage
from oftp2d.credentials import KEY_BITS, VALID_DAYS, Material, Profile, generate_key
from oftp2d.errors import OperatorError
from oftp2d.importing import read
from oftp2d.ledger import (
    Announcement,
    Direction,
    ExchangeState,
    Holder,
    Ledger,
    Partner,
    StoredCertificate,
    UnknownError,
)
from oftp2d.outlook import of_certificates
from oftp2d.revocation import Finding

from . import documents
from .collaborators import Desk
from .fields import Fields, InputError
from .http import HttpRequest
from .lookup import aliases, all_partners, codes, codes_for, entries_of, partner_of
from .routing import Document, MissingError, body, query, route

LARGEST_CONTENT = 1024 * 1024
"""Octets of a file of certificates, and characters of a private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A key pair to make, as the request says."""

    alias: str
    station: str | None
    common_name: str | None
    organisation: str | None
    country: str | None
    hosts: tuple[str, ...]
    email: str | None
    key_bits: int
    days: int


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""
    _add_reading(app, desk)
    _add_bringing(app, desk)
    _add_keeping(app, desk)
    _add_announcing(app, desk)


def _add_reading(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/certificates")
    async def certificates(request: HttpRequest) -> Document:
        """Certificates, of one ``holder`` or ``partner`` if given, and our requests whose answers are still to come."""
        fields = query(request)
        holder, code = fields.choice("holder", Holder), fields.code("partner")
        fields.finish()
        listed, pending = await desk.workers.database(_listed, desk, holder, code)
        return {"certificates": listed, "requests": pending}

    @route(app, "GET", "/v1/certificates/<path:name>")
    async def certificate(request: HttpRequest, name: str) -> Document:
        """One certificate, by alias or by the beginning of its fingerprint, with its PEM."""
        query(request).finish()
        return await desk.workers.database(_shown, desk, name)


def _add_bringing(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/certificates")
    async def bring_in(request: HttpRequest) -> Document:
        """Import a certificate: ``holder``, ``partner``, ``pem`` or ``der_base64``, ``private_key_pem``, ``passphrase``.

        An anchor with a ``partner`` is trusted for that one alone. ``follows``: the certificate of ours that it succeeds;
        ``warnings``: those that may be used for the same at the same time.
        """
        fields = body(request)
        holder, code = fields.choice("holder", Holder), fields.code("partner")
        content = content_of(fields)
        options: dict[str, Any] = {
            "station": fields.code("station"),
            "alias": fields.optional("alias", longest=100) or None,
            "usages": fields.choices("usages", Usage) or None,
        }
        private_key = _octets(fields.block("private_key_pem", longest=LARGEST_CONTENT))
        passphrase = _octets(fields.secret("passphrase", longest=1000))
        fields.finish()
        if holder is None or not _says_whose(holder, code):
            raise InputError("it is not clear whose it is", "give holder, and partner for a partner's")
        secrets = {"passphrase": passphrase} | ({"private_key": private_key} if holder is Holder.OWN else {})
        material = await desk.workers.crypto(read, content, **secrets)
        added, follows = await desk.workers.database(_bring_in, desk, material, holder, code, options)
        desk.house.certificates_changed()
        if added.holder is Holder.PARTNER and added.partner_id is not None:
            partner = await desk.workers.database(desk.ledger.partners.get, added.partner_id)
            await desk.exchange.certificate_came(partner)
        document = await desk.workers.database(_told, desk, added)
        overlaps = await desk.workers.database(_overlaps, desk, added)
        renewals = await desk.workers.database(desk.ledger.renewals.running)
        return {
            **document,
            "follows": follows.alias if follows else None,
            "renewal": next((each.id for each in renewals if each.fingerprint == added.fingerprint), None),
            "warnings": overlaps,
        }

    @route(app, "POST", "/v1/certificates/generate")
    async def generate(request: HttpRequest) -> Document:
        """Make a key pair with a self-signed certificate, or with ``csr`` a request: ``alias``, ``common_name``, ``hosts`` ..."""
        fields = body(request)
        wish = _wish(fields)
        csr = fields.flag("csr", default=False)
        fields.finish()
        profile = await desk.workers.database(_profile, desk, wish)
        key = await desk.workers.crypto(generate_key, wish.key_bits)
        if csr:
            return {"csr_pem": await desk.workers.database(_request, desk, wish, profile, key)}
        made = await desk.workers.database(_generate, desk, wish, profile, key)
        desk.house.certificates_changed()
        return await desk.workers.database(_shown, desk, made.fingerprint)

    @route(app, "POST", "/v1/certificates/<path:name>/confirm")
    async def confirm(request: HttpRequest, name: str) -> Document:
        """Note that a ``partner`` knows a certificate of ours."""
        fields = body(request)
        code = _partner_code(fields)
        fields.finish()
        confirmed = await desk.workers.database(_confirm, desk, name, code)
        desk.renewals.confirmed()
        return {"partner": code, "fingerprint": confirmed.fingerprint}


def _add_keeping(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/certificates/<path:name>/activate")
    async def activate(request: HttpRequest, name: str) -> Document:
        """Use a certificate again."""
        body(request).finish()
        return await _switched(desk, name, active=True)

    @route(app, "POST", "/v1/certificates/<path:name>/deactivate")
    async def deactivate(request: HttpRequest, name: str) -> Document:
        """Keep a certificate, and use it for nothing. ``no_other_for``: the partners that have accepted no other of ours."""
        body(request).finish()
        told = await _switched(desk, name, active=False)
        left = await desk.workers.database(_left_alone, desk.ledger, str(told["fingerprint"]))
        return {**told, "no_other_for": left}

    @route(app, "DELETE", "/v1/certificates/<path:name>")
    async def remove(request: HttpRequest, name: str) -> Document:
        """Remove a certificate and its private key, or a request whose answer will not come."""
        query(request).finish()
        removed = await desk.workers.database(_remove, desk, name)
        desk.house.certificates_changed()
        return removed


def _add_announcing(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/announcements")
    async def announcements(request: HttpRequest) -> Document:
        """The certificates that partners are expected to bring."""
        fields = query(request)
        code = fields.code("partner")
        fields.finish()
        return {"announcements": await desk.workers.database(_announcements, desk.ledger, code)}

    @route(app, "POST", "/v1/announcements")
    async def announce(request: HttpRequest) -> Document:
        """Announce one: ``partner``, ``common_name``, ``host`` or ``subject``, ``issuer``, ``usages``, ``key_usages``."""
        fields = body(request)
        code = _partner_code(fields)
        wish = {
            "station": fields.code("station"),
            "subject": fields.optional("subject", longest=1000) or None,
            "common_name": fields.optional("common_name", longest=64) or None,
            "host": fields.host("host") or None,
            "issuer": fields.optional("issuer") or None,
            "key_usages": _key_usages(fields),
            "usages": fields.choices("usages", Usage) or frozenset(Usage),
        }
        fields.finish()
        if not (wish["subject"] or wish["common_name"] or wish["host"]):
            raise InputError("it is not said what the certificate looks like", "give common_name, host or subject")
        announced, partner = await desk.workers.database(_announce, desk, code, wish)
        return documents.announcement(announced, {partner.id: partner.code}) | {"acx": partner.acx}

    @route(app, "GET", "/v1/announcements/<int:number>")
    async def announcement(request: HttpRequest, number: int) -> Document:
        """One announcement, part by part beside the certificate that arrived, or that was refused last."""
        query(request).finish()
        return await desk.workers.database(_beside, desk, number)

    @route(app, "DELETE", "/v1/announcements/<int:number>")
    async def withdraw(request: HttpRequest, number: int) -> Document:
        """Take an announcement back."""
        query(request).finish()
        try:
            await desk.workers.database(desk.ledger.certificates.withdraw_announcement, number)
        except UnknownError:
            raise MissingError(f"there is no announcement {number}", "see 'oftp2d cert announcements'") from None
        return {"id": number}


def _listed(desk: Desk, holder: Holder | None, code: str | None) -> tuple[Sequence[Document], Sequence[Document]]:
    """The certificates; and, with our own, the requests whose answers are still to come."""
    ledger = desk.ledger
    partner_id = partner_of(ledger, code).id if code else None
    known = codes(ledger)
    entries = ledger.certificates.every(holder, partner_id)
    barred = desk.certificates.barred(entries, desk.now())
    found = [documents.certificate(each, known) | {"barred": _barred(each, barred)} for each in entries]
    ours = code is None and holder in {None, Holder.OWN}
    return found, [documents.pending_key(each) for each in ledger.certificates.pending()] if ours else []


def _barred(entry: StoredCertificate, barred: Mapping[int, Finding]) -> str | None:
    """Why it is used for nothing, such as that it was revoked."""
    return str(barred[entry.id]) if entry.id in barred else None


def _shown(desk: Desk, name: str) -> Document:
    """The certificate of that name with all that is known of it."""
    return _told(desk, desk.certificates.find(name))


def _told(desk: Desk, found: StoredCertificate) -> Document:
    """One certificate with all that is known of it; its usages are those of all its entries with this holder."""
    ledger = desk.ledger
    entries = entries_of(ledger, found)
    known = codes(ledger)
    confirmed = [code for number, code in known.items() if found.fingerprint in ledger.certificates.confirmed(number)]
    return {
        **documents.certificate(found, known),
        "barred": _barred(found, desk.certificates.barred([found], desk.now())),
        "usages": sorted(frozenset[Usage]().union(*(each.usages for each in entries))),
        "confirmed_by": confirmed if found.holder is Holder.OWN else [],
        "pem": documents.pem(found),
    }


async def _switched(desk: Desk, name: str, *, active: bool) -> Document:
    found = await desk.workers.database(_switch, desk, name, active)
    desk.house.certificates_changed()
    return await desk.workers.database(_told, desk, found)


def _switch(desk: Desk, name: str, active: bool) -> StoredCertificate:  # noqa: FBT001 - handed to a worker
    found = desk.certificates.find(name)
    for entry in entries_of(desk.ledger, found):
        desk.ledger.certificates.set_active(entry.id, active=active)
    _audit(desk, _partner_in(desk.ledger, found), f"certificate {'' if active else 'de'}activated", found)
    return replace(found, active=active)


def _left_alone(ledger: Ledger, fingerprint: str) -> list[str]:
    """The partners that have accepted a certificate of ours, and none that is still used."""
    used = {each.fingerprint for each in ledger.certificates.list(Holder.OWN) if each.active}
    known = ledger.partners.codes()
    accepted = ledger.certificates.confirmed_by(fingerprint)
    return sorted(known[each] for each in accepted & known.keys() if not used & ledger.certificates.confirmed(each))


def _remove(desk: Desk, name: str) -> Document:
    waiting = [each for each in desk.ledger.certificates.pending() if each.alias.lower() == name.lower()]
    if waiting:
        for each in waiting:
            desk.ledger.certificates.take_pending(each.spki_fingerprint)
        desk.ledger.audit.record(desk.now(), None, "certificate request removed", {"alias": waiting[0].alias})
        return {"fingerprint": None, "alias": waiting[0].alias, "holder": Holder.OWN}
    found = desk.certificates.find(name)
    desk.certificates.remove(found)
    _audit(desk, _partner_in(desk.ledger, found), "certificate removed", found)
    return {"fingerprint": found.fingerprint, "alias": found.alias, "holder": found.holder}


def _partner_in(ledger: Ledger, certificate: StoredCertificate) -> Partner | None:
    return None if certificate.partner_id is None else ledger.partners.get(certificate.partner_id)


def _bring_in(
    desk: Desk, content: Material, holder: Holder, code: str | None, wish: Mapping[str, Any]
) -> tuple[StoredCertificate, StoredCertificate | None]:
    """Store the certificate of a file, of several authorities the first; and what of ours it follows."""
    now = desk.now()
    partner = partner_of(desk.ledger, code) if code else None
    follows = None
    if partner is not None and holder is Holder.PARTNER:
        chosen = {name: wish[name] for name in ("alias", "usages")}
        station = _station_of(partner, wish["station"]) or partner.code
        added = desk.certificates.import_partner(content, partner_id=partner.id, station=station, now=now, **chosen)
    elif holder is Holder.OWN:
        added = desk.certificates.import_own(content, now=now, **wish)
        follows = desk.certificates.predecessor(added)
        if follows is not None:
            desk.house.successor_came(follows, added)
    elif holder is Holder.INTERMEDIATE:
        added = desk.certificates.import_intermediates(content, now=now, alias=wish["alias"])[0]
    else:
        partner_id = partner.id if partner else None
        added = desk.certificates.import_anchors(content, now=now, alias=wish["alias"], partner_id=partner_id)[0]
    _audit(desk, partner, "certificate imported", added)
    if holder is not Holder.OWN:
        _call_again(desk, partner)
    return added, follows


def _overlaps(desk: Desk, added: StoredCertificate) -> list[str]:
    """The certificates beside which it may be used for the same at the same time."""
    found = of_certificates(desk.ledger, desk.now())
    return [
        concern.line for concern in found if concern.key.startswith("overlap ") and str(added.id) in concern.key.split()
    ]


def _says_whose(holder: Holder, code: str | None) -> bool:
    """A partner's needs the partner, an anchor may be for one, and the others are for all."""
    return holder is Holder.ANCHOR or (holder is Holder.PARTNER) is (code is not None)


def _call_again(desk: Desk, partner: Partner | None) -> None:
    """Partners (or this one) whose calls failed may be reachable now: with whom something waits are called at once."""
    for each in [partner] if partner is not None else all_partners(desk.ledger):
        if each.call_failures and each.next_call_at is not None:
            desk.ledger.partners.change(each.id, next_call_at=desk.now())


def _profile(desk: Desk, wish: Wish) -> Profile:
    """What the certificate is to say; what the request leaves open is that of the main station."""
    main = desk.ledger.stations.get(wish.station) if wish.station else desk.ledger.stations.main()
    if main is None:
        raise OperatorError(f"{wish.station or 'the main one'} is no station of ours", "see 'oftp2d station list'")
    taken = {each.alias.lower() for each in desk.certificates.own_entries()}
    taken |= {each.alias.lower() for each in desk.ledger.certificates.pending()}
    if wish.alias.lower() in taken:
        raise OperatorError(
            f"one of yours is called {wish.alias!r} already", "choose another alias, such as one with the year in it"
        )
    return Profile(
        common_name=wish.common_name or (wish.hosts[0] if wish.hosts else main.name)[:64],
        station=main.code,
        organisation=wish.organisation,
        country=wish.country,
        hosts=wish.hosts,
        email=wish.email,
    )


def _generate(desk: Desk, wish: Wish, profile: Profile, key: RSAPrivateKey) -> StoredCertificate:
    made = desk.certificates.generate(profile, alias=wish.alias, now=desk.now(), key=key, days=wish.days)
    _audit(desk, None, "certificate generated", made)
    return made


def _request(desk: Desk, wish: Wish, profile: Profile, key: RSAPrivateKey) -> str:
    pending = desk.certificates.request(profile, alias=wish.alias, now=desk.now(), key=key)
    desk.ledger.audit.record(desk.now(), None, "certificate request made", {"alias": wish.alias})
    return pending.csr_pem.decode("ascii")


def _confirm(desk: Desk, name: str, code: str) -> StoredCertificate:
    partner = partner_of(desk.ledger, code)
    certificate = desk.certificates.find(name, Holder.OWN)
    desk.ledger.certificates.confirm(partner.id, certificate.fingerprint, desk.now(), "manual")
    _audit(desk, partner, "certificate confirmed by hand", certificate)
    return certificate


def _audit(desk: Desk, partner: Partner | None, event: str, certificate: StoredCertificate) -> None:
    detail = {
        "fingerprint": certificate.fingerprint,
        "alias": certificate.alias,
        "holder": certificate.holder.value,
    }
    desk.ledger.audit.record(desk.now(), partner.code if partner else None, event, detail)


def _announcements(ledger: Ledger, code: str | None) -> Sequence[Document]:
    """What is announced, with the names of the certificates that are meant."""
    found = ledger.certificates.announcements(partner_of(ledger, code).id if code else None)
    known = codes_for(ledger, [each.partner_id for each in found])
    names = aliases(ledger, [name for each in found for name in (each.issuer, each.fulfilled_by) if name])
    return [
        documents.announcement(each, known)
        | {"issuer_alias": names.get(each.issuer or ""), "fulfilled_by_alias": names.get(each.fulfilled_by or "")}
        for each in found
    ]


def _announce(desk: Desk, code: str, wish: Mapping[str, Any]) -> tuple[Announcement, Partner]:
    partner = partner_of(desk.ledger, code)
    _station_of(partner, wish["station"])
    announced = desk.certificates.announce(partner_id=partner.id, now=desk.now(), **wish)
    detail = {
        "id": announced.id,
        "expected": announced.subject or announced.common_name or announced.host,
        "issuer": announced.issuer,
    }
    desk.ledger.audit.record(desk.now(), partner.code, "certificate announced", detail)
    return announced, partner


def _beside(desk: Desk, number: int) -> Document:
    ledger = desk.ledger
    found = next((each for each in ledger.certificates.announcements() if each.id == number), None)
    if found is None:
        raise MissingError(f"there is no announcement {number}", "see 'oftp2d cert announcements'")
    arrived = ledger.certificates.get(found.fulfilled_by) if found.fulfilled_by else None
    der = arrived.der if arrived else _refused(ledger, found)
    facts = CertificateFacts.of(der) if der else None
    parts = desk.certificates.compare(found, facts) if facts else ()
    return {
        **documents.announcement(found, codes_for(ledger, [found.partner_id])),
        "arrived": None if facts is None else {"fingerprint": facts.fingerprint, "subject": str(facts.subject)},
        "accepted": arrived is not None,
        "parts": [asdict(each) for each in parts],
    }


def _refused(ledger: Ledger, announcement: Announcement) -> bytes | None:
    """The last certificate of the partner that was refused, where it can be read."""
    for record in ledger.exchanges.list(announcement.partner_id):
        if record.direction is Direction.IN and record.state is ExchangeState.REFUSED and record.fingerprint:
            whole = ledger.exchanges.by_transfer(record.transfer_id)
            return whole.der if whole else None
    return None


def _station_of(partner: Partner, station: str | None) -> str | None:
    """The station, if it is one of the partner's."""
    if station is not None and station not in {partner.code, *partner.sub_stations}:
        raise OperatorError(f"{station} is no code of {partner.code}", "see 'oftp2d partner show'")
    return station


def content_of(fields: Fields) -> bytes:
    """The octets of the certificates in a request: ``pem`` or ``der_base64``."""
    pem, der = fields.block("pem", longest=LARGEST_CONTENT), fields.block("der_base64", longest=LARGEST_CONTENT)
    if (pem is None) is (der is None):
        raise InputError("there is no certificate in the request", "give either pem or der_base64")
    try:
        return pem.encode("ascii") if pem is not None else base64.b64decode(der or "", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InputError("the certificate can't be decoded", "give PEM, or DER in base64") from None


def _wish(fields: Fields) -> Wish:
    return Wish(
        alias=fields.text("alias", longest=100),
        station=fields.code("station"),
        common_name=fields.optional("common_name", longest=64) or None,
        organisation=fields.optional("organisation", longest=64) or None,
        country=_country(fields),
        hosts=fields.texts("hosts", longest=253),
        email=fields.optional("email", longest=250) or None,
        key_bits=fields.whole("key_bits", 2048, 8192) or KEY_BITS,
        days=fields.whole("days", 1, 3650) or VALID_DAYS,
    )


def _octets(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "replace")


def _country(fields: Fields) -> str | None:
    country = fields.optional("country", longest=2)
    if country and not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise InputError("country is not known here", "give two letters, such as DE")
    return country.upper() if country else None


def _partner_code(fields: Fields) -> str:
    code = fields.code("partner")
    if code is None:
        raise InputError("partner is missing", "give its code")
    return code


def _key_usages(fields: Fields) -> frozenset[str]:
    found = frozenset(fields.texts("key_usages"))
    if not found <= set(KEY_USAGE_BITS):
        raise InputError("key_usages holds an unknown word", f"known are: {', '.join(KEY_USAGE_BITS)}")
    return found
