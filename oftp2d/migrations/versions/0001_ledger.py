"""The ledger as it begins: stations, partners, transfers, end responses, certificates, audit trail.

Written out in full, without the tables of ``oftp2d.ledger.schema``: those go on, this step stays as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_stations()
    _create_partners()
    _create_partner_stations()
    _create_transfers()
    _create_receipts()
    _create_certificates()
    _create_pending_keys()
    _create_announcements()
    _create_confirmations()
    _create_exchanges()
    _create_audit()


def downgrade() -> None:
    for table in (
        "audit",
        "exchanges",
        "confirmations",
        "announcements",
        "pending_keys",
        "certificates",
        "receipts",
        "transfers",
        "partner_stations",
        "partners",
        "stations",
    ):
        op.drop_table(table)


def _words(table: str, name: str, *words: str) -> sa.Enum:
    """A text column that takes one of the words, with its CHECK constraint named for any database."""
    return sa.Enum(*words, name=op.f(f"ck_{table}_{name}"), native_enum=False, create_constraint=True, length=16)


def _create_stations() -> None:
    op.create_table(
        "stations",
        sa.Column("code", sa.String(length=25), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("main", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_stations")),
    )
    op.create_index(
        "uq_stations_main",
        "stations",
        ["main"],
        unique=True,
        sqlite_where=sa.text("main"),
        postgresql_where=sa.text("main"),
    )


def _create_partners() -> None:
    op.create_table(
        "partners",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=25), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("station", sa.String(length=25), nullable=False),
        sa.Column("host", sa.Text()),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("transport", _words("partners", "transport", "tls", "tcp"), nullable=False),
        sa.Column("server_name", sa.Text()),
        sa.Column("client_certificate", sa.Boolean(), nullable=False),
        sa.Column("password_ours", sa.LargeBinary(), nullable=False),
        sa.Column("password_theirs", sa.LargeBinary(), nullable=False),
        sa.Column("acx", _words("partners", "acx", "off", "announced", "known", "trusted"), nullable=False),
        sa.Column("authentication", _words("partners", "authentication", "off", "prepared", "on"), nullable=False),
        sa.Column("buffer_size", sa.Integer(), nullable=False),
        sa.Column("credit", sa.Integer(), nullable=False),
        sa.Column("compression", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("call_every", sa.Integer()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_call_at", sa.BigInteger()),
        sa.Column("last_error", sa.Text()),
        sa.Column("next_call_at", sa.BigInteger()),
        sa.Column("call_failures", sa.Integer(), nullable=False),
        sa.Column("removed_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["station"], ["stations.code"], name=op.f("fk_partners_station_stations")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partners")),
    )
    op.create_index(
        "uq_partners_code",
        "partners",
        ["code"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )


def _create_partner_stations() -> None:
    op.create_table(
        "partner_stations",
        sa.Column("code", sa.String(length=25), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_partner_stations_partner_id_partners")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_partner_stations")),
    )
    op.create_index(op.f("ix_partner_stations_partner_id"), "partner_stations", ["partner_id"], unique=False)


def _create_transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("direction", _words("transfers", "direction", "out", "in"), nullable=False),
        sa.Column("kind", _words("transfers", "kind", "exchange", "file"), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("date", sa.String(length=8), nullable=False),
        sa.Column("time", sa.String(length=10), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("originator", sa.String(length=25), nullable=False),
        sa.Column("destination", sa.String(length=25), nullable=False),
        sa.Column("format", sa.String(length=1), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("octets", sa.BigInteger(), nullable=False),
        sa.Column("spool_name", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column(
            "state",
            _words(
                "transfers",
                "state",
                "queued",
                "sending",
                "sent",
                "acknowledged",
                "failed",
                "cancelled",
                "refused",
                "receiving",
                "interrupted",
                "received",
                "delivered",
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("reason", sa.Text()),
        sa.Column("text", sa.Text()),
        sa.Column("efid_sent", sa.Boolean(), nullable=False),
        sa.Column("claim_owner", sa.Text()),
        sa.Column("claim_until", sa.BigInteger()),
        sa.Column("sha256", sa.String(length=64)),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_transfers_partner_id_partners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint(
            "direction",
            "originator",
            "destination",
            "dataset",
            "date",
            "time",
            name="uq_transfers_duplicate_key",
        ),
    )
    op.create_index("ix_transfers_next", "transfers", ["partner_id", "state", "kind", "id"], unique=False)
    op.create_index("ix_transfers_state", "transfers", ["state", "id"], unique=False)


def _create_receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transfer_id", sa.String(length=16), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("kind", _words("receipts", "kind", "EERP", "NERP"), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("date", sa.String(length=8), nullable=False),
        sa.Column("time", sa.String(length=10), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("originator", sa.String(length=25), nullable=False),
        sa.Column("destination", sa.String(length=25), nullable=False),
        sa.Column("creator", sa.String(length=25), nullable=False),
        sa.Column("reason", sa.Integer()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", _words("receipts", "state", "owed", "sending", "sent"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("claim_owner", sa.Text()),
        sa.Column("claim_until", sa.BigInteger()),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_receipts_partner_id_partners")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_receipts_transfer_id_transfers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_receipts_transfer_id")),
    )
    op.create_index("ix_receipts_owed", "receipts", ["state", "partner_id", "id"], unique=False)


def _create_certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("holder", _words("certificates", "holder", "own", "partner", "anchor"), nullable=False),
        sa.Column("partner_id", sa.Integer()),
        sa.Column("station", sa.String(length=25)),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("usages", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("slice_from", sa.BigInteger()),
        sa.Column("slice_until", sa.BigInteger()),
        sa.Column(
            "slot",
            _words("certificates", "slot", "current", "previous", "withdrawn", "staged"),
            nullable=False,
        ),
        sa.Column("private_key", sa.LargeBinary()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_certificates_partner_id_partners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
    )
    op.create_index("ix_certificates_fingerprint", "certificates", ["fingerprint"], unique=False)
    op.create_index("ix_certificates_holder", "certificates", ["holder", "partner_id", "station"], unique=False)


def _create_pending_keys() -> None:
    op.create_table(
        "pending_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("station", sa.String(length=25), nullable=False),
        sa.Column("private_key", sa.LargeBinary(), nullable=False),
        sa.Column("csr_pem", sa.LargeBinary(), nullable=False),
        sa.Column("spki_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["station"], ["stations.code"], name=op.f("fk_pending_keys_station_stations")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_keys")),
        sa.UniqueConstraint("spki_fingerprint", name=op.f("uq_pending_keys_spki_fingerprint")),
    )


def _create_announcements() -> None:
    op.create_table(
        "announcements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("station", sa.String(length=25)),
        sa.Column("subject", sa.Text()),
        sa.Column("common_name", sa.Text()),
        sa.Column("issuer", sa.String(length=64)),
        sa.Column("key_usages", sa.Text(), nullable=False),
        sa.Column("usages", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("fulfilled_by", sa.String(length=64)),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_announcements_partner_id_partners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcements")),
    )
    op.create_index(op.f("ix_announcements_partner_id"), "announcements", ["partner_id"], unique=False)


def _create_confirmations() -> None:
    op.create_table(
        "confirmations",
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_confirmations_partner_id_partners")),
        sa.PrimaryKeyConstraint("partner_id", "fingerprint", name=op.f("pk_confirmations")),
    )


def _create_exchanges() -> None:
    op.create_table(
        "exchanges",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("direction", _words("exchanges", "direction", "out", "in"), nullable=False),
        sa.Column("message", _words("exchanges", "message", "REQUEST", "DELIVER", "REPLACE"), nullable=False),
        sa.Column("transfer_id", sa.String(length=16), nullable=False),
        sa.Column("fingerprint", sa.String(length=64)),
        sa.Column("state", _words("exchanges", "state", "queued", "sent", "accepted", "refused"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_exchanges_partner_id_partners")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_exchanges_transfer_id_transfers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchanges")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_exchanges_transfer_id")),
    )
    op.create_index(op.f("ix_exchanges_partner_id"), "exchanges", ["partner_id"], unique=False)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("partner_code", sa.String(length=25)),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_event"), "audit", ["event"], unique=False)
    op.create_index(op.f("ix_audit_partner_code"), "audit", ["partner_code"], unique=False)
