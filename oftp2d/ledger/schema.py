"""The tables of the ledger, for SQLAlchemy Core. The migrations build them; a test compares the two.

Every constraint has a name of its own, so that a later migration can speak of it on any database. The indexes
are those a session needs to stay fast with a long history: the next file to send, the end responses owed, and
the duplicate key. Which rows an index covers is said here for SQLite alone, for PostgreSQL in the migrations: SQLAlchemy
loads the dialect of every database that is named, which would cost each daemon more than 2 MiB.
"""

from __future__ import annotations

import sqlalchemy as sa

from oftp2d.config import Transport
from oftp2d.ledger.candidates import CandidateProblem, CandidateState, SetNotification, TellingEvent, TellingState
from oftp2d.ledger.certified import ExchangeMessage, ExchangeState, Holder, Origin, RenewalState, Slot
from oftp2d.ledger.columns import Detail, Fingerprints, Instant, Names, Records, Usages, enumeration
from oftp2d.ledger.records import (
    AcxMode,
    Authentication,
    Demand,
    LineEnds,
    ReceiptKind,
    ReceiptState,
    ReplaceScope,
    Traffic,
)
from oftp2d.ledger.states import Direction, Kind, TransferState

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

stations = sa.Table(
    "stations",
    metadata,
    sa.Column("code", sa.String(25), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("main", sa.Boolean, nullable=False),
)
sa.Index(
    "uq_stations_main",
    stations.c.main,
    unique=True,
    sqlite_where=stations.c.main,
)

partners = sa.Table(
    "partners",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.String(25), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("station", sa.ForeignKey("stations.code"), nullable=False),
    sa.Column("host", sa.Text),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("transport", enumeration(Transport, "transport"), nullable=False),
    sa.Column("server_name", sa.Text),
    sa.Column("client_certificate", sa.Boolean, nullable=False),
    sa.Column("password_ours", sa.LargeBinary, nullable=False),
    sa.Column("password_theirs", sa.LargeBinary, nullable=False),
    sa.Column("acx", enumeration(AcxMode, "acx"), nullable=False),
    sa.Column("authentication", enumeration(Authentication, "authentication"), nullable=False),
    sa.Column("buffer_size", sa.Integer, nullable=False),
    sa.Column("credit", sa.Integer, nullable=False),
    sa.Column("compression", sa.Boolean, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("call_every", sa.Integer),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("last_call_at", Instant),
    sa.Column("last_error", sa.Text),
    sa.Column("next_call_at", Instant),
    sa.Column("call_failures", sa.Integer, nullable=False),
    sa.Column("removed_at", Instant),
    sa.Column("last_reason", sa.Text),
    sa.Column("text_charset", sa.Text),
    sa.Column(
        "text_line_ends",
        enumeration(LineEnds, "text_line_ends", checked=False),
        nullable=False,
        server_default=LineEnds.AS_IS.value,
    ),
    sa.Column("wait_for_calls", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("level", sa.Integer, nullable=False, server_default="5"),
    sa.Column("mode", enumeration(Traffic, "mode", checked=False), nullable=False, server_default=Traffic.BOTH.value),
    sa.Column("restart", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("may_forward", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("sign_files", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("compress_files", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("encrypt_files", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("cipher_suite", sa.Integer, nullable=False, server_default="4"),
    sa.Column("signed_receipts", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("signer_certificate", sa.Boolean, nullable=False, server_default=sa.false()),
    *(
        sa.Column(name, enumeration(Demand, name, checked=False), nullable=False, server_default=Demand.ALLOWED.value)
        for name in ("incoming_signed", "incoming_encrypted", "incoming_compressed")
    ),
    sa.Column("unsigned_receipts", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("least_rsa_bits", sa.Integer, nullable=False, server_default="2048"),
    sa.Column("hold_certificates", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column(
        "replace_scope",
        enumeration(ReplaceScope, "replace_scope", checked=False),
        nullable=False,
        server_default=ReplaceScope.SLOTS.value,
    ),
    sa.Column("only_own_anchors", sa.Boolean, nullable=False, server_default=sa.false()),
)
# A removed partner stays as the owner of its history; its code is free again.
_present = partners.c.removed_at.is_(None)
sa.Index("uq_partners_code", partners.c.code, unique=True, sqlite_where=_present)

partner_stations = sa.Table(
    "partner_stations",
    metadata,
    sa.Column("code", sa.String(25), primary_key=True),
    sa.Column("partner_id", sa.ForeignKey("partners.id"), nullable=False, index=True),
)

transfers = sa.Table(
    "transfers",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("direction", enumeration(Direction, "direction"), nullable=False),
    sa.Column("kind", enumeration(Kind, "kind"), nullable=False),
    sa.Column("partner_id", sa.ForeignKey("partners.id"), nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("date", sa.String(8), nullable=False),
    sa.Column("time", sa.String(10), nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("originator", sa.String(25), nullable=False),
    sa.Column("destination", sa.String(25), nullable=False),
    sa.Column("format", sa.String(1), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("octets", sa.BigInteger, nullable=False),
    sa.Column("spool_name", sa.Text, nullable=False),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("state", enumeration(TransferState, "state"), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("sent_at", Instant),
    sa.Column("ended_at", Instant),
    sa.Column("reason", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("efid_sent", sa.Boolean, nullable=False),
    sa.Column("claim_owner", sa.Text),
    sa.Column("claim_until", Instant),
    sa.Column("sha256", sa.String(64)),
    sa.Column("refusals", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("queued_at", Instant),
    sa.Column("record_length", sa.Integer, nullable=False, server_default="0"),
    sa.Column("records", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("reached", sa.BigInteger),
    sa.Column("security", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cipher", sa.Integer, nullable=False, server_default="0"),
    sa.Column("compression", sa.Integer, nullable=False, server_default="0"),
    sa.Column("envelope", sa.Integer, nullable=False, server_default="0"),
    sa.Column("signed_response", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("original_size", sa.BigInteger),
    sa.Column("forwarded_from", sa.String(16)),
    sa.Column("plain_name", sa.Text),
    sa.Column("plain_octets", sa.BigInteger),
    sa.Column("virtual_hash", sa.LargeBinary),
    sa.Column("signers", Fingerprints, nullable=False, server_default=""),
    sa.Column("recipients", Fingerprints, nullable=False, server_default=""),
    sa.Column("choice", sa.Text, nullable=False, server_default=""),
    sa.Column("raw_name", sa.Text),
    sa.UniqueConstraint(
        "direction", "originator", "destination", "dataset", "date", "time", name="uq_transfers_duplicate_key"
    ),
    sa.Index("ix_transfers_next", "partner_id", "state", "kind", "id"),
    sa.Index("ix_transfers_state", "state", "id"),
    sa.Index("uq_transfers_forwarded_from", "forwarded_from", unique=True),
)
_raw = transfers.c.raw_name.is_not(None)
sa.Index("ix_transfers_raw", transfers.c.ended_at, sqlite_where=_raw)

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transfer_id", sa.ForeignKey("transfers.id"), nullable=False, unique=True),
    sa.Column("partner_id", sa.ForeignKey("partners.id"), nullable=False),
    sa.Column("kind", enumeration(ReceiptKind, "kind"), nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("date", sa.String(8), nullable=False),
    sa.Column("time", sa.String(10), nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("originator", sa.String(25), nullable=False),
    sa.Column("destination", sa.String(25), nullable=False),
    sa.Column("creator", sa.String(25), nullable=False),
    sa.Column("reason", sa.Integer),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("state", enumeration(ReceiptState, "state"), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("sent_at", Instant),
    sa.Column("claim_owner", sa.Text),
    sa.Column("claim_until", Instant),
    sa.Column("hash", sa.LargeBinary),
    sa.Column("signature", sa.LargeBinary),
    sa.Index("ix_receipts_owed", "state", "partner_id", "id"),
)

evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfers.id"), primary_key=True),
    sa.Column("kind", enumeration(ReceiptKind, "kind"), nullable=False),
    sa.Column("creator", sa.String(25), nullable=False),
    sa.Column("reason", sa.Integer),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("chain", sa.LargeBinary, nullable=False),
    sa.Column("signed_at", Instant),
    sa.Column("received_at", Instant, nullable=False),
)

held_responses = sa.Table(
    "held_responses",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfers.id"), primary_key=True),
    sa.Column("kind", enumeration(ReceiptKind, "kind"), nullable=False),
    sa.Column("creator", sa.String(25), nullable=False),
    sa.Column("reason", sa.Integer),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
)

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("holder", enumeration(Holder, "holder"), nullable=False),
    sa.Column("partner_id", sa.ForeignKey("partners.id")),
    sa.Column("station", sa.String(25)),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("usages", Usages, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("valid_from", Instant, nullable=False),
    sa.Column("valid_until", Instant, nullable=False),
    sa.Column("slice_from", Instant),
    sa.Column("slice_until", Instant),
    sa.Column("slot", enumeration(Slot, "slot"), nullable=False),
    sa.Column("private_key", sa.LargeBinary),
    sa.Column("origin", enumeration(Origin, "origin"), nullable=False),
    sa.Column("added_at", Instant, nullable=False),
    sa.Column("withdrawn_at", Instant),
    sa.Index("ix_certificates_fingerprint", "fingerprint"),
    sa.Index("ix_certificates_holder", "holder", "partner_id", "station"),
)

pending_keys = sa.Table(
    "pending_keys",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("station", sa.ForeignKey("stations.code"), nullable=False),
    sa.Column("private_key", sa.LargeBinary, nullable=False),
    sa.Column("csr_pem", sa.LargeBinary, nullable=False),
    sa.Column("spki_fingerprint", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", Instant, nullable=False),
)

announcements = sa.Table(
    "announcements",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("partner_id", sa.ForeignKey("partners.id"), nullable=False, index=True),
    sa.Column("station", sa.String(25)),
    sa.Column("subject", sa.Text),
    sa.Column("common_name", sa.Text),
    sa.Column("issuer", sa.String(64)),
    sa.Column("key_usages", Names, nullable=False),
    sa.Column("usages", Usages, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("fulfilled_by", sa.String(64)),
    sa.Column("host", sa.Text),
)

confirmations = sa.Table(
    "confirmations",
    metadata,
    sa.Column("partner_id", sa.ForeignKey("partners.id"), primary_key=True),
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("how", sa.Text, nullable=False),
    sa.Column("confirmed_at", Instant, nullable=False),
)

exchanges = sa.Table(
    "exchanges",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("partner_id", sa.ForeignKey("partners.id"), nullable=False, index=True),
    sa.Column("direction", enumeration(Direction, "direction"), nullable=False),
    sa.Column("message", enumeration(ExchangeMessage, "message"), nullable=False),
    sa.Column("transfer_id", sa.ForeignKey("transfers.id"), nullable=False, unique=True),
    sa.Column("fingerprint", sa.String(64)),
    sa.Column("state", enumeration(ExchangeState, "state"), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("answered_at", Instant),
    sa.Column("der", sa.LargeBinary),
    sa.Column("rule", sa.Text, nullable=False, server_default=""),
    sa.Column("proof", sa.Text, nullable=False, server_default=""),
    sa.Column("renewal_id", sa.ForeignKey("renewals.id"), index=True),
    sa.Column("reminders", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reminded_at", Instant),
    # What waits, and what became of a certificate, whatever the length of the history.
    sa.Index("ix_exchanges_state", "state", "partner_id"),
    sa.Index("ix_exchanges_fingerprint", "partner_id", "direction", "fingerprint", "id"),
)
_kept = exchanges.c.der.is_not(None)
sa.Index(
    "ix_exchanges_kept",
    exchanges.c.state,
    exchanges.c.partner_id,
    exchanges.c.answered_at,
    sqlite_where=_kept,
)

renewals = sa.Table(
    "renewals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("previous", sa.String(64)),
    sa.Column("station", sa.String(25), nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("until", Instant),
    sa.Column("state", enumeration(RenewalState, "state"), nullable=False, index=True),
    sa.Column("text", sa.Text, nullable=False),
)

renewal_partners = sa.Table(
    "renewal_partners",
    metadata,
    sa.Column("renewal_id", sa.ForeignKey("renewals.id"), primary_key=True),
    sa.Column("partner_id", sa.ForeignKey("partners.id"), primary_key=True),
    sa.Column("exchange_id", sa.ForeignKey("exchanges.id")),
    sa.Column("by_hand", sa.Boolean, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)

trust_lists = sa.Table(
    "trust_lists",
    metadata,
    sa.Column("url", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("issued_at", Instant),
    sa.Column("next_update", Instant),
    sa.Column("signer", sa.String(64)),
    sa.Column("stamp", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary),
    sa.Column("read_at", Instant),
    sa.Column("tried_at", Instant),
    sa.Column("error", sa.Text, nullable=False),
)

revocation_lists = sa.Table(
    "revocation_lists",
    metadata,
    sa.Column("url", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary),
    sa.Column("issuer", sa.String(64)),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("this_update", Instant),
    sa.Column("next_update", Instant),
    sa.Column("read_at", Instant),
    sa.Column("tried_at", Instant),
    sa.Column("error", sa.Text, nullable=False),
)

credential_sets = sa.Table(
    "credential_sets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in ("verdict", "code", "text", "advice", "transaction_id", "attempt_id")
    ),
    sa.Column("attempted_at", Instant),
    sa.Column("answered_at", Instant),
    sa.Column("attempts_day", sa.String(10), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("next_at", Instant),
    sa.Column("blocked", sa.Text, nullable=False),
    sa.Column("blocked_advice", sa.Text, nullable=False),
    sa.Column("blocked_at", Instant),
    sa.Column("secret_digest", sa.Text, nullable=False),
    sa.Column("notifications", Records(SetNotification), nullable=False),
    sa.Column("tended_at", Instant),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", Instant),
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("set_name", sa.ForeignKey("credential_sets.name"), nullable=False),
    sa.Column("state", enumeration(CandidateState, "state"), nullable=False),
    sa.Column("imported", sa.Boolean, nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("container", sa.LargeBinary),
    sa.Column("passphrase", sa.LargeBinary),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("serial", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("valid_from", Instant),
    sa.Column("valid_until", Instant),
    sa.Column("transaction_id", sa.Text, nullable=False),
    sa.Column("fetched_at", Instant, nullable=False),
    sa.Column("staged_at", Instant),
    sa.Column("activated_at", Instant),
    sa.Column("ended_at", Instant),
    sa.Column("problems", Records(CandidateProblem), nullable=False),
    sa.Column("trial", sa.Text, nullable=False),
    sa.Column("trial_ok", sa.Boolean),
    sa.Index("ix_candidates_set_name", "set_name", "state", "id"),
    sa.Index("ix_candidates_state", "state", "valid_until"),
)
_active = candidates.c.state == CandidateState.ACTIVE.value
sa.Index("uq_candidates_active", candidates.c.set_name, unique=True, sqlite_where=_active)

tellings = sa.Table(
    "tellings",
    metadata,
    sa.Column("set_name", sa.ForeignKey("credential_sets.name"), primary_key=True),
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("candidate_id", sa.ForeignKey("candidates.id"), nullable=False, index=True),
    sa.Column("former_id", sa.ForeignKey("candidates.id")),
    sa.Column("event", enumeration(TellingEvent, "event"), nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("state", enumeration(TellingState, "state"), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", Instant, index=True),
    sa.Column("told_at", Instant),
)

credential_secrets = sa.Table(
    "credential_secrets",
    metadata,
    sa.Column("set_name", sa.ForeignKey("credential_sets.name"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("proposed", sa.LargeBinary),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("proposed_at", Instant),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("partner_code", sa.String(25), index=True),
    sa.Column("event", sa.Text, nullable=False, index=True),
    sa.Column("detail", Detail, nullable=False),
    sa.Column("fingerprint", sa.String(64), index=True),
)
