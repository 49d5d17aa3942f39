"""File security: what is agreed with a partner, what was done to a file, and the partner's signed end responses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STATES = (
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
)


def upgrade() -> None:
    for name in ("sign_files", "compress_files", "encrypt_files"):
        op.add_column("partners", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("partners", sa.Column("cipher_suite", sa.Integer(), nullable=False, server_default="4"))
    for name in ("signed_receipts", "signer_certificate"):
        op.add_column("partners", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("incoming_signed", "incoming_encrypted", "incoming_compressed"):
        op.add_column("partners", sa.Column(name, sa.String(length=16), nullable=False, server_default="allowed"))
    op.add_column("partners", sa.Column("unsigned_receipts", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("partners", sa.Column("least_rsa_bits", sa.Integer(), nullable=False, server_default="2048"))
    _allow_states(_STATES, ("securing", *_STATES))
    op.add_column("transfers", sa.Column("plain_name", sa.Text()))
    op.add_column("transfers", sa.Column("plain_octets", sa.BigInteger()))
    op.add_column("transfers", sa.Column("virtual_hash", sa.LargeBinary()))
    for name in ("signers", "recipients", "choice"):
        op.add_column("transfers", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.add_column("transfers", sa.Column("raw_name", sa.Text()))
    kept = sa.text("raw_name IS NOT NULL")
    op.create_index("ix_transfers_raw", "transfers", ["ended_at"], sqlite_where=kept, postgresql_where=kept)
    op.create_table(
        "evidence",
        sa.Column("transfer_id", sa.String(length=16), nullable=False),
        sa.Column("kind", _words("evidence", "kind", "EERP", "NERP"), nullable=False),
        sa.Column("creator", sa.String(length=25), nullable=False),
        sa.Column("reason", sa.Integer()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger()),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_evidence_transfer_id_transfers")),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_evidence")),
    )
    op.create_table(
        "held_responses",
        sa.Column("transfer_id", sa.String(length=16), nullable=False),
        sa.Column("kind", _words("held_responses", "kind", "EERP", "NERP"), nullable=False),
        sa.Column("creator", sa.String(length=25), nullable=False),
        sa.Column("reason", sa.Integer()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfers.id"], name=op.f("fk_held_responses_transfer_id_transfers")
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_held_responses")),
    )


def downgrade() -> None:
    op.drop_table("held_responses")
    op.drop_table("evidence")
    op.drop_index("ix_transfers_raw", "transfers")
    for name in ("raw_name", "choice", "recipients", "signers", "virtual_hash", "plain_octets", "plain_name"):
        op.drop_column("transfers", name)
    op.execute("UPDATE transfers SET state = 'failed' WHERE state = 'securing'")
    _allow_states(("securing", *_STATES), _STATES)
    for name in (
        "least_rsa_bits",
        "unsigned_receipts",
        "incoming_compressed",
        "incoming_encrypted",
        "incoming_signed",
        "signer_certificate",
        "signed_receipts",
        "cipher_suite",
        "encrypt_files",
        "compress_files",
        "sign_files",
    ):
        op.drop_column("partners", name)


def _words(table: str, name: str, *words: str) -> sa.Enum:
    """A text column that takes one of the words, with its CHECK constraint named for any database."""
    return sa.Enum(*words, name=op.f(f"ck_{table}_{name}"), native_enum=False, create_constraint=True, length=16)


def _allow_states(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """Another CHECK constraint for the state; SQLite, which cannot change one, copies the table into a new one."""
    with op.batch_alter_table("transfers", copy_from=_transfers(old)) as batch:
        batch.alter_column(
            "state",
            existing_type=_words("transfers", "state", *old),
            type_=_words("transfers", "state", *new),
            existing_nullable=False,
        )


def _transfers(states: tuple[str, ...]) -> sa.Table:
    """The transfers as revision 0006 has them: what is found in the database lacks its CHECK constraints."""
    return sa.Table(
        "transfers",
        sa.MetaData(),
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
        sa.Column("state", _words("transfers", "state", *states), nullable=False),
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
        sa.Column("refusals", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("queued_at", sa.BigInteger()),
        sa.Column("record_length", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("records", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("reached", sa.BigInteger()),
        sa.Column("security", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("cipher", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("compression", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("envelope", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("signed_response", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("original_size", sa.BigInteger()),
        sa.Column("forwarded_from", sa.String(length=16)),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_transfers_partner_id_partners"),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
        sa.UniqueConstraint(
            "direction", "originator", "destination", "dataset", "date", "time", name="uq_transfers_duplicate_key"
        ),
        sa.Index("ix_transfers_next", "partner_id", "state", "kind", "id"),
        sa.Index("ix_transfers_state", "state", "id"),
        sa.Index("uq_transfers_forwarded_from", "forwarded_from", unique=True),
    )
