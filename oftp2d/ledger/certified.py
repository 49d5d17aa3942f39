"""The rows of the ledger about certificates: the store, the certificate exchange, renewals, and the lists of others.

As in ``records``: frozen, instants in UTC, private keys sealed and never in a ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from oftp2.certs.usages import Usage
from oftp2d.ledger.records import NewAuditEntry, NewOutgoing, NewReceipt, Partner, Transfer
from oftp2d.ledger.states import Direction, TransferState

# --- certificates --------------------------------------------------------------------------------------


class Holder(StrEnum):
    """Whose certificate an entry is."""

    OWN = "own"
    PARTNER = "partner"
    ANCHOR = "anchor"
    """An authority that is trusted: for every partner, or for the one it is entered for."""
    INTERMEDIATE = "intermediate"
    """Of a chain: it builds paths and has no trust of its own."""


class Origin(StrEnum):
    """Where a certificate of the store came from."""

    GENERATED = "generated"
    IMPORTED = "imported"
    DELIVERED = "delivered"
    """The partner brought it, by the certificate exchange."""
    DATA_SHEET = "data sheet"
    RENEWED = "renewed"


class Slot(StrEnum):
    """The place an entry has among those of its holder, station and usages."""

    CURRENT = "current"
    PREVIOUS = "previous"
    WITHDRAWN = "withdrawn"
    STAGED = "staged"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """A certificate to put into the store."""

    fingerprint: str
    """SHA-256 of the DER encoding, lower-case hex."""
    der: bytes = field(repr=False)
    holder: Holder
    partner_id: int | None = None
    station: str | None = None
    """The Odette ID it belongs to: ours for own ones, the partner's station for partner ones."""
    alias: str
    usages: frozenset[Usage]
    active: bool = True
    valid_from: datetime
    valid_until: datetime
    slice_from: datetime | None = None
    slice_until: datetime | None = None
    """The timeslice an operator set inside the validity; None is open on that side."""
    slot: Slot = Slot.CURRENT
    withdrawn_at: datetime | None = None
    """When a REPLACE withdrew it; what came before that it still verifies. None in any other slot, and where nobody knows."""
    private_key: bytes | None = field(default=None, repr=False)
    """PKCS#8 PEM, encrypted under the vault's passphrase."""
    origin: Origin = Origin.IMPORTED


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCertificate(NewCertificate):
    """One entry of the certificate store.

    The same certificate may stand in several entries: for another station, or split over slots when a
    successor took only some of its usages.
    """

    id: int
    added_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """Entry ``certificate_id`` leaves its slot for ``slot``, in ``usages`` only; None means in all it has."""

    certificate_id: int
    slot: Slot
    usages: frozenset[Usage] | None = None
    at: datetime | None = None
    """When it was withdrawn, where that was earlier than it is noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPendingKey:
    """A key pair whose certificate is still to come from a certification authority."""

    alias: str
    station: str
    private_key: bytes = field(repr=False)
    csr_pem: bytes
    spki_fingerprint: str
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingKey(NewPendingKey):
    """A pending key as stored."""

    id: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAnnouncement:
    """Identification data of a certificate that a partner will bring (acx.md 4.3, 5.2)."""

    partner_id: int
    station: str | None = None
    """The partner's station it is for; None means any of them."""
    subject: str | None = None
    """A distinguished name, RFC 4514; may be partial."""
    common_name: str | None = None
    host: str | None = None
    """A host name the certificate has to be for."""
    issuer: str | None = None
    """The fingerprint of the anchor expected as issuer."""
    key_usages: frozenset[str] = frozenset()
    """Key usage bits that must be there, by their X.509 names."""
    usages: frozenset[Usage]
    """What the certificate will be used for when it arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement(NewAnnouncement):
    """An announcement as stored; ``fulfilled_by`` is the fingerprint of the certificate that arrived."""

    id: int
    created_at: datetime
    fulfilled_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A partner has accepted our certificate: by its EERP, or by an operator's word."""

    partner_id: int
    fingerprint: str
    how: str
    confirmed_at: datetime


# --- the certificate exchange --------------------------------------------------------------------------


class ExchangeMessage(StrEnum):
    """The three messages of the certificate exchange."""

    REQUEST = "REQUEST"
    DELIVER = "DELIVER"
    REPLACE = "REPLACE"


class ExchangeState(StrEnum):
    """Where one message stands; incoming ones are answered at once, or held."""

    QUEUED = "queued"
    SENT = "sent"
    HELD = "held"
    """It came, and waits for an operator's word; so does its end response."""
    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExchange:
    """A message of the certificate exchange to record."""

    partner_id: int
    direction: Direction
    message: ExchangeMessage
    transfer_id: str
    fingerprint: str | None = None
    state: ExchangeState = ExchangeState.QUEUED
    text: str = ""
    der: bytes | None = field(default=None, repr=False)
    """The certificate as it came, also a refused one, at most 64 KiB. A listing leaves it out."""
    rule: str = ""
    """The rule by which it was decided: a value of ``acceptance.Rule``."""
    proof: str = ""
    """How the session was proven that brought a held one."""
    renewal_id: int | None = None
    """The renewal that an outgoing one is part of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRecord(NewExchange):
    """A message of the certificate exchange as stored."""

    id: int
    created_at: datetime
    answered_at: datetime | None
    reminders: int = 0
    """The how manieth repetition of an offer this is, for want of an end response; 0 is the first."""
    reminded_at: datetime | None = None
    """When it was offered again by a further message, or an operator was told, behind the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """The last offer of a certificate of ours to a partner's station, which has no end response yet."""

    record: ExchangeRecord
    transfer: Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A message to queue: the staged file and what it says."""

    file: NewOutgoing
    message: ExchangeMessage
    fingerprint: str | None = None
    renewal_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The outcome of one received exchange message, committed as a whole by ``Exchanges.conclude``.

    Accepted: ``receipt`` is an EERP, ``certificate`` the new entry (None when it was there already). Refused:
    ``receipt`` is a NERP, and nothing but it, the record and the audit entries is written.
    """

    transfer_id: str
    message: ExchangeMessage
    state: ExchangeState
    receipt: NewReceipt
    fingerprint: str | None = None
    text: str = ""
    certificate: NewCertificate | None = None
    retire: tuple[Retirement, ...] = ()
    announcement_id: int | None = None
    replies: tuple[Reply, ...] = ()
    audit: tuple[NewAuditEntry, ...] = ()
    raw_name: str | None = None
    """Refused as unreadable: where the spool keeps the file as it came."""
    der: bytes | None = field(default=None, repr=False)
    rule: str = ""


# --- renewals ------------------------------------------------------------------------------------------


class RenewalState(StrEnum):
    """Where a renewal for all partners stands."""

    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRenewal:
    """A certificate of ours that is to take the place of another towards every partner of a station."""

    fingerprint: str
    previous: str | None = None
    """The fingerprint of the one it follows."""
    station: str
    until: datetime | None = None
    """When the former one is planned to end; None where that is when all have the new one."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPartner:
    """One who takes part. What it has done so far is told by confirmations and exchanges."""

    partner_id: int
    exchange_id: int | None = None
    """The message that offers it the certificate."""
    by_hand: bool = False
    """It cannot be offered by the certificate exchange: somebody gives it, and confirms that."""
    text: str = ""
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal(NewRenewal):
    """A renewal as stored, with those who take part in it by their ids."""

    id: int
    state: RenewalState
    started_at: datetime
    ended_at: datetime | None
    partners: tuple[RenewalPartner, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPart:
    """What one partner of a renewal has done so far: what follows from confirmations and exchanges."""

    partner: Partner
    confirmation: Confirmation | None = None
    """That it has the new certificate."""
    message: ExchangeRecord | None = None
    """The last one that brings or brought it the certificate since the renewal began, whoever queued it."""
    transfer: TransferState | None = None
    """Where the file of that message stands."""
    trouble: str | None = None
    """Why that file ended before its time, or what kept it the last time."""
    sent_at: datetime | None = None


# --- lists of others -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustListRecord:
    """Our copy of a trust list (acx.md 10.2)."""

    url: str
    name: str = ""
    sequence: int | None = None
    issued_at: datetime | None = None
    next_update: datetime | None = None
    signer: str | None = None
    """SHA-256 of the pinned signer's certificate, lower-case hex."""
    stamp: str = ""
    """What the file with the time of its last change said."""
    content: bytes | None = field(default=None, repr=False)
    """The list as it was read. A listing leaves it out."""
    read_at: datetime | None = None
    """When it was last read with success."""
    tried_at: datetime | None = None
    error: str = ""
    """Why the last attempt failed; empty when it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationListRecord:
    """Our copy of a revocation list (acx.md 10.3)."""

    url: str
    content: bytes | None = field(default=None, repr=False)
    """The list as it was read. A listing leaves it out."""
    issuer: str | None = None
    """The fingerprint of its issuer's certificate."""
    number: str = ""
    """CRLNumber in decimal digits: it may have more than an integer of a database."""
    this_update: datetime | None = None
    next_update: datetime | None = None
    read_at: datetime | None = None
    tried_at: datetime | None = None
    error: str = ""
