"""What the administration interface answers: records of the ledger as JSON documents.

Times are RFC 3339 in UTC with a Z, sizes octets, names snake_case. No sealed password and no private key is
ever part of a document.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.certs.clid import Clid
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import PURPOSES
from oftp2d.ledger import (
    Announcement,
    AuditEntry,
    CallPolicy,
    Direction,
    ExchangeRecord,
    Forwarding,
    Partner,
    PendingKey,
    Station,
    StoredCertificate,
    Traffic,
    Transfer,
    TransferState,
)
from oftp2d.retries import again
from oftp2d.standing import Standing
from oftp2d.trace import Order
from oftp2d.tracefiles import Trace

from .summaries import services, summary

Document = dict[str, Any]
Codes = Mapping[int, str]
"""The codes of partners by their ids."""

_INNER = (
    "claim_owner",
    "claim_until",
    "spool_name",
    "reached",
    "forwarded_from",
    "plain_name",
    "plain_octets",
    "raw_name",
)
"""Fields of a transfer that are the station's own affair."""


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, milliseconds."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def station(record: Station) -> Document:
    """A station of ours."""
    return asdict(record)


def partner(record: Partner) -> Document:
    """A partner without its passwords, but whether there are any."""
    document = asdict(record) | {"call": record.call}
    del document["wait_for_calls"]
    for side in ("ours", "theirs"):
        document[f"password_{side}_set"] = bool(document.pop(f"password_{side}"))
    return _timed(document)


def transfer(
    record: Transfer,
    partner: Partner,
    now: datetime,
    *,
    moved: int | None = None,
    trouble: str | None = None,
    forwarding: Forwarding | None = None,
) -> Document:
    """A transfer with its partner; ``moved`` is what whoever works on it knows of it, as of a received one that is opened.

    ``trouble``: why they could not go on with it so far. ``forwarding`` says between whom a third party's file is forwarded.
    """
    document = asdict(record)
    for inner in _INNER:
        del document[inner]
    document["virtual_hash"] = None if record.virtual_hash is None else record.virtual_hash.hex()
    document["services"] = services(record)
    document["octets_before"] = record.plain_octets if record.direction is Direction.OUT else None
    document["octets_inside"] = record.plain_octets if record.direction is Direction.IN else None
    document["raw_kept"] = record.raw_name is not None
    document["forwarded"] = None if forwarding is None else asdict(forwarding)
    document["partner"] = partner.code
    del document["partner_id"]
    if forwarding is not None and record.state is TransferState.RECEIVED:
        document["waits_for"] = f"the end response of {forwarding.target}"
    elif trouble is not None and record.state in {TransferState.SECURING, TransferState.RECEIVED}:
        document["waits_for"] = f"the next try, in a minute at most: {trouble}"
    else:
        document["waits_for"] = waits_for(record, partner, now)
    document["summary"] = summary(record, partner, document["waits_for"], forwarding)
    complete = record.state in {"sent", "acknowledged", "received", "delivered"}
    document["octets_moved"] = record.octets if complete else moved or 0
    # What is opened may be read again for its hash.
    document["octets_opened"] = min(moved or 0, record.octets) if record.state is TransferState.RECEIVED else None
    return _timed(document)


def waits_for(record: Transfer, partner: Partner, now: datetime) -> str | None:
    """Why a transfer stands where it is, and what must happen; None where nothing is waited for."""
    match record.state:
        case TransferState.QUEUED if partner.mode is Traffic.RECEIVE:
            return f"you: we only receive from it ('oftp2d partner change {partner.code} --mode both')"
        case TransferState.QUEUED:
            return _queued_for(record, partner, now)
        case TransferState.SENT:
            return "the partner's receipt (EERP)"
        case TransferState.FAILED if record.forwarded_from is None:
            return f"you: '{again(record.reason, record.id)}' or 'oftp2d transfer cancel {record.id}'"
        case TransferState.INTERRUPTED:
            return "the partner to send it again"
    return None


def _queued_for(record: Transfer, partner: Partner, now: datetime) -> str:
    if not partner.active:
        return "the partner to be switched on: it is inactive"
    if record.next_attempt_at is not None and record.next_attempt_at > now:
        return f"the next attempt at {record.next_attempt_at:%H:%M:%SZ}: {record.text or 'the last one broke off'}"
    if not partner.host:
        return "the partner's call: there is no address to call it"
    if partner.call is CallPolicy.WAIT:
        return f"the partner's call: we wait to be called (at once: 'oftp2d call {partner.code}')"
    if partner.call_failures and partner.next_call_at is not None and partner.next_call_at > now:
        why = partner.last_error or "the last one failed"
        return f"the next call at {partner.next_call_at:%H:%M:%SZ} (at once: 'oftp2d call {partner.code}'): {why}"
    return "the next session"


def pending_key(record: PendingKey) -> Document:
    """A request for a certificate whose answer has not come yet."""
    return {
        "alias": record.alias,
        "station": record.station,
        "created_at": moment(record.created_at),
        "csr_pem": record.csr_pem.decode("ascii"),
    }


def certificate(record: StoredCertificate, codes: Codes) -> Document:
    """A certificate of the store with what is written in it; not its private key, but whether it is there."""
    written = facts(CertificateFacts.of(record.der))
    return written | {
        "alias": record.alias,
        "holder": record.holder,
        "partner": codes.get(record.partner_id) if record.partner_id is not None else None,
        "station": record.station,
        "slice_from": moment(record.slice_from),
        "slice_until": moment(record.slice_until),
        "usages": sorted(record.usages),
        "slot": record.slot,
        "withdrawn_at": moment(record.withdrawn_at),
        "active": record.active,
        "private_key": record.private_key is not None,
        "origin": record.origin,
        "added_at": moment(record.added_at),
    }


def facts(found: CertificateFacts) -> Document:
    """What is written in a certificate, whether or not it is in the store."""
    return {
        "fingerprint": found.fingerprint,
        "subject": str(found.subject),
        "issuer": str(found.issuer),
        "serial": f"{found.serial:x}",
        "self_signed": found.self_signed,
        "key": f"{found.key_type} {found.key_bits}" if found.key_bits else found.key_type,
        "key_usage": sorted(found.key_usage or ()),
        "extended_key_usage": sorted(PURPOSES.get(each, each) for each in found.extended or ()),
        "hosts": list(found.hosts),
        "valid_from": moment(found.not_before),
        "valid_until": moment(found.not_after),
    }


def clid(described: Clid | None) -> Document | None:
    """The identification data in a description; None where it is none."""
    if described is None:
        return None
    return {
        "issuer": str(described.issuer),
        "serial": f"{described.serial:x}",
        "subject": str(described.subject) if described.subject else None,
    }


def certificate_name(record: StoredCertificate) -> Document:
    """What people know a certificate by."""
    subject = str(CertificateFacts.of(record.der).subject)
    return {"fingerprint": record.fingerprint, "alias": record.alias, "subject": subject}


def pem(record: StoredCertificate) -> str:
    """The certificate itself."""
    return CertificateFacts.of(record.der).certificate.public_bytes(Encoding.PEM).decode("ascii")


def announcement(record: Announcement, codes: Codes) -> Document:
    """An announced certificate."""
    document = asdict(record)
    document["partner"] = codes.get(document.pop("partner_id"))
    document["usages"] = sorted(record.usages)
    document["key_usages"] = sorted(record.key_usages)
    return _timed(document)


def exchange(record: ExchangeRecord, codes: Codes) -> Document:
    """A message of the certificate exchange."""
    document = asdict(record)
    del document["der"]
    document["partner"] = codes.get(document.pop("partner_id"))
    return _timed(document)


def standing(record: Standing) -> Document:
    """Where the exchange of certificates with a partner stands."""
    partner = record.partner
    return {
        "partner": partner.code,
        "acx": partner.acx,
        "authentication": partner.authentication,
        "hold_certificates": partner.hold_certificates,
        "theirs": [_timed(asdict(each)) for each in record.places],
        "ours": [_timed(asdict(each)) for each in record.ours],
        "waits": [_timed(asdict(each)) for each in record.waits],
    }


def audit_entry(record: AuditEntry) -> Document:
    """A line of the audit trail."""
    return {
        "id": record.id,
        "at": moment(record.at),
        "partner": record.partner_code,
        "event": record.event,
        "detail": dict(record.detail),
    }


def _timed(document: Document) -> Document:
    return {name: moment(value) if isinstance(value, datetime) else value for name, value in document.items()}


def trace(record: Trace, recording: Container[str]) -> Document:
    """A recorded session, and whether it still grows."""
    document = asdict(record) | {"role": record.role.value, "recording": record.id in recording}
    return _timed(document)


def order(record: Order) -> Document:
    """What is to be recorded."""
    return {"partner": record.partner, "since": moment(record.since), "until": moment(record.until)}
