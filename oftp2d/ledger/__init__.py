"""The ledger: partners, transfers, receipts, certificates and the audit trail, in one SQL database.

Every public method is one transaction and is on disk when it returns; all of them block, so the daemon calls them
in its database worker. Records are frozen (``records``), states move by one table (``states``). An identity the
ledger itself gave out (a partner's id, a transfer's id) that it no longer knows raises ``UnknownError``; asking
for something by what is known from outside (a code, a key, a fingerprint) returns None when there is none.
"""

from __future__ import annotations

from oftp2.values import FileIdentity
from oftp2d.config import Transport
from oftp2d.ledger.audit import Audit
from oftp2d.ledger.candidates import (
    AttemptOutcome,
    Block,
    Candidate,
    CandidateFacts,
    CandidateProblem,
    CandidateState,
    Contents,
    CredentialSetRecord,
    IllegalCandidateMoveError,
    SetBlockedError,
    SetNotification,
    SetSecret,
    Telling,
    TellingEvent,
    TellingState,
)
from oftp2d.ledger.certificates import Certificates
from oftp2d.ledger.certified import (
    Announcement,
    Conclusion,
    Confirmation,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    Holder,
    NewAnnouncement,
    NewCertificate,
    NewExchange,
    NewPendingKey,
    NewRenewal,
    Origin,
    PendingKey,
    Renewal,
    RenewalPart,
    RenewalPartner,
    RenewalState,
    Reply,
    Retirement,
    RevocationListRecord,
    Slot,
    StoredCertificate,
    TrustListRecord,
    Unanswered,
)
from oftp2d.ledger.credentialsecrets import CredentialSecrets
from oftp2d.ledger.credentialsets import CredentialSets
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import AmbiguousError, ClaimLostError, LedgerUnavailableError, UnknownError
from oftp2d.ledger.evidence import Evidences
from oftp2d.ledger.exchanges import Exchanges
from oftp2d.ledger.forwarding import Forwarding, Forwardings
from oftp2d.ledger.lists import RevocationLists, TrustLists
from oftp2d.ledger.partners import Partners
from oftp2d.ledger.receipts import Receipts
from oftp2d.ledger.records import (
    AcxMode,
    Answered,
    AuditEntry,
    Authentication,
    Busy,
    CallPolicy,
    Demand,
    Duplicate,
    Evidence,
    HeldResponse,
    LineEnds,
    NewAuditEntry,
    NewEvidence,
    NewIncoming,
    NewOutgoing,
    NewPartner,
    NewReceipt,
    Partner,
    PartnerChange,
    Receipt,
    ReceiptKind,
    ReceiptState,
    ReplaceScope,
    SignedResponse,
    Station,
    Traffic,
    Transfer,
)
from oftp2d.ledger.renewals import Renewals
from oftp2d.ledger.states import Direction, IllegalMoveError, Kind, TransferState
from oftp2d.ledger.stations import Stations
from oftp2d.ledger.tellings import Tellings
from oftp2d.ledger.transfers import Transfers

__all__ = [
    "AcxMode",
    "AmbiguousError",
    "Announcement",
    "Answered",
    "AttemptOutcome",
    "AuditEntry",
    "Authentication",
    "Block",
    "Busy",
    "CallPolicy",
    "Candidate",
    "CandidateFacts",
    "CandidateProblem",
    "CandidateState",
    "ClaimLostError",
    "Conclusion",
    "Confirmation",
    "Contents",
    "CredentialSetRecord",
    "Demand",
    "Direction",
    "Duplicate",
    "Evidence",
    "ExchangeMessage",
    "ExchangeRecord",
    "ExchangeState",
    "FileIdentity",
    "Forwarding",
    "HeldResponse",
    "Holder",
    "IllegalCandidateMoveError",
    "IllegalMoveError",
    "Kind",
    "Ledger",
    "LedgerUnavailableError",
    "LineEnds",
    "NewAnnouncement",
    "NewAuditEntry",
    "NewCertificate",
    "NewEvidence",
    "NewExchange",
    "NewIncoming",
    "NewOutgoing",
    "NewPartner",
    "NewPendingKey",
    "NewReceipt",
    "NewRenewal",
    "Origin",
    "Partner",
    "PartnerChange",
    "PendingKey",
    "Receipt",
    "ReceiptKind",
    "ReceiptState",
    "Renewal",
    "RenewalPart",
    "RenewalPartner",
    "RenewalState",
    "ReplaceScope",
    "Reply",
    "Retirement",
    "RevocationListRecord",
    "SetBlockedError",
    "SetNotification",
    "SetSecret",
    "SignedResponse",
    "Slot",
    "Station",
    "StoredCertificate",
    "Telling",
    "TellingEvent",
    "TellingState",
    "Traffic",
    "Transfer",
    "TransferState",
    "Transport",
    "TrustListRecord",
    "Unanswered",
    "UnknownError",
]


class Ledger:
    """The whole ledger; its parts share one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.stations = Stations(database)
        self.partners = Partners(database)
        self.transfers = Transfers(database)
        self.receipts = Receipts(database)
        self.evidence = Evidences(database)
        self.certificates = Certificates(database)
        self.exchanges = Exchanges(database)
        self.renewals = Renewals(database)
        self.trust_lists = TrustLists(database)
        self.revocation_lists = RevocationLists(database)
        self.forwardings = Forwardings(database)
        self.credential_sets = CredentialSets(database)
        self.tellings = Tellings(database)
        self.credential_secrets = CredentialSecrets(database)
        self.audit = Audit(database)

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open the database at a SQLAlchemy url, making it or bringing it to the newest schema where need be.

        Raises OperatorError where that cannot be done.
        """
        return cls(Database.open(url))

    def close(self) -> None:
        """Close the database; nothing may be running in it."""
        self._database.close()
