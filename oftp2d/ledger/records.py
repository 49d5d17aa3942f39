"""The rows of the ledger as frozen dataclasses: what goes into it and what comes out, and nothing else does.

Instants are timezone-aware UTC datetimes, sizes are octets, passwords and private keys are sealed before they
get here and never appear in a ``repr``. The classes called ``New...`` are what a caller gives; the ledger
adds identity, state and times. States of transfers and their moves are in ``states``, the rows about certificates and their
exchange in ``certified``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from oftp2.records import stored_octets
from oftp2.values import FileFormat, FileIdentity
from oftp2d.config import Transport
from oftp2d.ledger.states import Direction, Kind, TransferState

Detail = str | int | bool | None
"""One value in the detail of an audit entry."""


# --- stations and partners -----------------------------------------------------------------------------


class AcxMode(StrEnum):
    """Which certificates a partner may bring by itself (acx.md 4.2, 5.2)."""

    OFF = "off"
    ANNOUNCED = "announced"
    KNOWN = "known"
    TRUSTED = "trusted"


class Authentication(StrEnum):
    """Session authentication (SSIDAUTH) with a partner; prepared latches to on by itself (acx.md 5.2)."""

    OFF = "off"
    PREPARED = "prepared"
    ON = "on"


class Traffic(StrEnum):
    """In which direction files go between us and a partner (SSIDSR, seen from our side)."""

    BOTH = "both"
    SEND = "send"
    RECEIVE = "receive"


class ReplaceScope(StrEnum):
    """What a REPLACE of the partner takes the place of (acx.md 12.12)."""

    SLOTS = "slots"
    """The usages of the certificate it follows."""
    ALL = "all"
    """Every usage that the station of the partner has a certificate for."""


class LineEnds(StrEnum):
    """What ends a line of text (format T) on our side; in the Virtual File it is always CR-LF."""

    AS_IS = "as-is"
    LF = "lf"
    CRLF = "crlf"


class Demand(StrEnum):
    """What we want of the files a partner sends, in one service: signature, encryption or compression."""

    REQUIRED = "required"
    ALLOWED = "allowed"
    REFUSED = "refused"


class CallPolicy(StrEnum):
    """When a partner with an address is called by itself."""

    ON_DEMAND = "on-demand"
    """When something waits for it."""
    EVERY = "every"
    """Every so often, and when something waits for it."""
    WAIT = "wait"
    """Never: what waits goes when the partner calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One of our own Odette IDs. Exactly one of them is the main station."""

    code: str
    name: str
    main: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPartner:
    """A partner to add. Passwords are sealed by the vault; an empty one means none was given."""

    code: str
    name: str
    station: str
    sub_stations: tuple[str, ...] = ()
    host: str | None = None
    port: int = 6619
    transport: Transport = Transport.TLS
    server_name: str | None = None
    client_certificate: bool = False
    password_ours: bytes = field(default=b"", repr=False)
    password_theirs: bytes = field(default=b"", repr=False)
    acx: AcxMode = AcxMode.OFF
    authentication: Authentication = Authentication.OFF
    level: int = 5
    """The highest release level to speak with it: 1, 2, 4 or 5 (SSIDLEV)."""
    mode: Traffic = Traffic.BOTH
    buffer_size: int = 99_999
    credit: int = 999
    compression: bool = True
    restart: bool = True
    active: bool = True
    call_every: int | None = None
    """Seconds between calls made only to fetch; None where there are none."""
    wait_for_calls: bool = False
    """Whether it is never called by itself, even when something waits for it."""
    may_forward: bool = False
    """Whether its files for others are accepted and forwarded to the partner they are for."""
    text_charset: str | None = None
    """The partner's character set of T files, ours being UTF-8; None leaves their octets as they are."""
    text_line_ends: LineEnds = LineEnds.AS_IS
    sign_files: bool = False
    """Whether files sent to it are signed, compressed and encrypted (CMS, RFC 5024 section 6)."""
    compress_files: bool = False
    encrypt_files: bool = False
    cipher_suite: int = 4
    """The suite in which that is done, 1 to 10 (SFIDCIPH); of files that come, 1 and 2 are taken only where set here."""
    signed_receipts: bool = False
    """Whether a signed end response is asked for (SFIDSIGN)."""
    signer_certificate: bool = False
    """Whether our signatures carry our certificate."""
    incoming_signed: Demand = Demand.ALLOWED
    incoming_encrypted: Demand = Demand.ALLOWED
    incoming_compressed: Demand = Demand.ALLOWED
    """Allowed or refused: there is no harm in a file that is not compressed."""
    unsigned_receipts: bool = False
    """Whether an unsigned end response counts where a signed one was asked for."""
    least_rsa_bits: int = 2048
    """Bits below which no RSA key of this partner is used, 1024 to 4096."""
    hold_certificates: bool = False
    """Whether the certificates it brings wait for an operator's word, and their end responses with them."""
    replace_scope: ReplaceScope = ReplaceScope.SLOTS
    only_own_anchors: bool = False
    """Whether its certificates are trusted by its own anchors alone, and not by those that are for everyone."""

    @property
    def call(self) -> CallPolicy:
        """When it is called by itself."""
        if self.wait_for_calls:
            return CallPolicy.WAIT
        return CallPolicy.ON_DEMAND if self.call_every is None else CallPolicy.EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner(NewPartner):
    """A trading partner: who it is, how it is reached, what was agreed, and how the calls to it went."""

    id: int
    created_at: datetime
    last_call_at: datetime | None
    last_error: str | None
    last_reason: str | None
    """The ESID with which the partner ended the last call before its time, such as ``ESID 04``."""
    next_call_at: datetime | None
    call_failures: int
    """Failed calls since the last one that succeeded."""


class PartnerChange(TypedDict, total=False):
    """The fields of a partner that ``Partners.change`` accepts."""

    code: str
    name: str
    station: str
    sub_stations: tuple[str, ...]
    host: str | None
    port: int
    transport: Transport
    server_name: str | None
    client_certificate: bool
    password_ours: bytes
    password_theirs: bytes
    acx: AcxMode
    authentication: Authentication
    level: int
    mode: Traffic
    buffer_size: int
    credit: int
    compression: bool
    restart: bool
    active: bool
    call_every: int | None
    wait_for_calls: bool
    may_forward: bool
    next_call_at: datetime | None
    text_charset: str | None
    text_line_ends: LineEnds
    sign_files: bool
    compress_files: bool
    encrypt_files: bool
    cipher_suite: int
    signed_receipts: bool
    signer_certificate: bool
    incoming_signed: Demand
    incoming_encrypted: Demand
    incoming_compressed: Demand
    unsigned_receipts: bool
    least_rsa_bits: int
    hold_certificates: bool
    replace_scope: ReplaceScope
    only_own_anchors: bool


# --- transfers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOutgoing:
    """A file to send, already staged in the spool. The ledger allots its stamp."""

    kind: Kind
    partner_id: int
    dataset: str
    originator: str
    destination: str
    octets: int
    """Octets of the Virtual File."""
    spool_name: str
    file_name: str = ""
    description: str = ""
    user: str = ""
    sha256: str | None = None
    format: str = "U"
    record_length: int = 0
    """The longest record, in octets (SFIDLRECL); 0 for U and T."""
    records: int = 0
    """How many records it has (EFIDRCNT); 0 for U and T."""
    security: int = 0
    """What is to be done to it (SFIDSEC, SFIDCIPH, SFIDCOMP, SFIDENV), and whether a signed EERP is asked for (SFIDSIGN)."""
    cipher: int = 0
    compression: int = 0
    envelope: int = 0
    signed_response: bool = False
    original_size: int | None = None
    """1K blocks of the file as it is now (SFIDOSIZ); None where that is its size."""

    @property
    def to_be_secured(self) -> bool:
        """Whether anything is to be done to it before it goes: for a signed end response it is at least hashed."""
        return bool(self.security or self.compression or self.envelope or self.signed_response)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIncoming:
    """A file a partner offers with SFID."""

    kind: Kind
    partner_id: int
    dataset: str
    date: str
    time: str
    originator: str
    destination: str
    format: str = "U"
    octets: int = 0
    """The size the partner announced; the real one is known when the file is received."""
    record_length: int = 0
    """The longest record the partner announced, in octets (SFIDLRECL)."""
    file_name: str = ""
    description: str = ""
    user: str = ""
    security: int = 0
    cipher: int = 0
    compression: int = 0
    envelope: int = 0
    signed_response: bool = False
    original_size: int | None = None
    """1K blocks of the file before it was secured (SFIDOSIZ)."""

    @property
    def key(self) -> FileIdentity:
        """The duplicate key."""
        return FileIdentity(
            originator=self.originator,
            destination=self.destination,
            dataset=self.dataset,
            date=self.date,
            time=self.time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One Virtual File on its way in or out."""

    id: str
    direction: Direction
    kind: Kind
    partner_id: int
    dataset: str
    date: str
    time: str
    user: str
    originator: str
    destination: str
    format: str
    description: str
    octets: int
    """Octets of the Virtual File, as EFID counts them."""
    spool_name: str
    """Where the content is: a name of ours in the spool, never one from a peer."""
    file_name: str
    """The sanitised name for people."""
    state: TransferState
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    """The command and number that ended it, such as ``SFNA 13``."""
    text: str | None
    efid_sent: bool
    """An EFID went out for this stamp and no EFNA came: the partner may have the file."""
    claim_owner: str | None
    claim_until: datetime | None
    sha256: str | None
    """Of the file that was queued, whatever is done to it; of an incoming one as it came, and then as it is in the inbox."""
    refusals: int = 0
    """Outgoing only: how often the partner refused it in a way that allows another try."""
    queued_at: datetime | None = None
    """Outgoing only: when it was queued, or queued again by a person; its time counts from then."""
    record_length: int = 0
    """Octets of the longest record (SFIDLRECL), announced or counted; 0 for U and T."""
    records: int = 0
    """How many records it has (EFIDRCNT); 0 for U and T, and while it is being received."""
    reached: int | None = 0
    """Octets in the spool up to which the file may have come over so far; None where nobody noted it."""
    security: int = 0
    """How the file is secured (SFIDSEC, SFIDCIPH, SFIDCOMP, SFIDENV), and whether a signed EERP is asked for (SFIDSIGN)."""
    cipher: int = 0
    compression: int = 0
    envelope: int = 0
    signed_response: bool = False
    original_size: int | None = None
    """1K blocks of the file before it was secured (SFIDOSIZ); None where that is its size."""
    forwarded_from: str | None = None
    """Outgoing only: the incoming transfer that brought it, where it is a third party's file."""
    plain_name: str | None = None
    """Outgoing only: the file in the spool as it was before it was secured; None where nothing was to be done to it."""
    plain_octets: int | None = None
    """Octets of that in the spool; of an incoming file those in the inbox, where another was made of what came."""
    virtual_hash: bytes | None = None
    """Of the Virtual File as it travels, by the digest of the suite in ``cipher``."""
    signers: tuple[str, ...] = ()
    """Fingerprints of the certificates that signed it: ours of an outgoing file, the partner's verified ones else."""
    recipients: tuple[str, ...] = ()
    """Fingerprints of the certificates it is encrypted for; of an incoming file, that of ours which opened it."""
    choice: str = ""
    """Why these, for people."""
    raw_name: str | None = None
    """Incoming only: the content of a refused file as it came, kept for analysis; its name in the spool."""
    end_response: str | None = None
    """Incoming only: ``owed`` or ``sent``."""

    @property
    def transferred_format(self) -> FileFormat:
        """The format in which it travels: a secured file is octets, whatever it was before (RFC 5024 section 5.3.3)."""
        secured = self.security or self.compression or self.envelope
        return FileFormat.UNSTRUCTURED if secured else FileFormat(self.format)

    @property
    def spool_names(self) -> tuple[str, ...]:
        """All there is of an outgoing file in the spool: as it travels, and as it was before it was secured."""
        return tuple(dict.fromkeys(name for name in (self.spool_name, self.plain_name) if name is not None))

    @property
    def stored_octets(self) -> int:
        """Octets of an outgoing file in the spool."""
        return stored_octets(self.transferred_format, self.octets, self.records)

    @property
    def key(self) -> FileIdentity:
        """The duplicate key."""
        return FileIdentity(
            originator=self.originator,
            destination=self.destination,
            dataset=self.dataset,
            date=self.date,
            time=self.time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The offered file is here already (SFNA 13): ``transfer`` is the one that brought it."""

    transfer: Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The offered file is being received by another living session right now."""

    transfer: Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An end response met ``transfer``. Without ``news`` nothing changed: it was answered before, or is ``held`` open."""

    transfer: Transfer
    news: bool
    held: bool = False
    """It is to be judged first whether the end response counts."""


# --- end responses -------------------------------------------------------------------------------------


class ReceiptKind(StrEnum):
    """The two end responses."""

    EERP = "EERP"
    NERP = "NERP"


class ReceiptState(StrEnum):
    """Owed until the partner's RTR made it sent; sending while a session holds it."""

    OWED = "owed"
    SENDING = "sending"
    SENT = "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReceipt:
    """An end response to owe for an incoming transfer; the addressing comes from the transfer."""

    kind: ReceiptKind
    creator: str | None = None
    """Who made it (NERPCREA), as it came, and so possibly empty; None for the station the file was for."""
    reason: int | None = None
    """NERPREAS; None in an EERP."""
    text: str = ""
    user: str | None = None
    """EERPUSER; None for that of the file."""
    hash: bytes = b""
    signature: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """An end response of ours. ``originator`` and ``destination`` are its own: EERPORIG and EERPDEST."""

    id: int
    transfer_id: str
    partner_id: int
    kind: ReceiptKind
    dataset: str
    date: str
    time: str
    user: str
    originator: str
    destination: str
    creator: str
    reason: int | None
    text: str
    state: ReceiptState
    created_at: datetime
    sent_at: datetime | None
    claim_owner: str | None
    claim_until: datetime | None
    hash: bytes | None = None
    """Hash and signature of an end response that was made elsewhere and travels back through us."""
    signature: bytes | None = None


# --- evidence -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedResponse:
    """The partner's signed end response for a file of ours, as it came."""

    kind: ReceiptKind
    creator: str = ""
    """NERPCREA; empty in an EERP."""
    reason: int | None = None
    """NERPREAS; None in an EERP."""
    text: str = ""
    user: str = ""
    hash: bytes
    """EERPHSH or NERPHSH."""
    signature: bytes
    """EERPSIG or NERPSIG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldResponse(SignedResponse):
    """One that did not count, for want of the certificate that verifies it: it may count once that is there."""

    transfer_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvidence(SignedResponse):
    """A signed end response, and the certificate that verified it."""

    certificate: bytes = field(repr=False)
    """Of the signer, DER."""
    chain: bytes = field(default=b"", repr=False)
    """The certificates above it as far as we knew them, DER, one behind the other."""
    signed_at: datetime | None = None
    """When the signer says it was signed; None where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(NewEvidence):
    """What proves that the partner has, or has refused, a file of ours."""

    transfer_id: str
    received_at: datetime


# --- audit trail ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAuditEntry:
    """A line to write into the audit trail."""

    at: datetime
    partner_code: str | None
    event: str
    detail: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(NewAuditEntry):
    """One line of the audit trail."""

    id: int
    fingerprint: str | None = None
    """The certificate it is about: what the detail says."""
