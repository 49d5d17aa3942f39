"""Credential sets: what became of asking their sources, their candidates, who is to be told, and the secrets kept here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STATES = (
    "answered",
    "unreadable",
    "empty",
    "staged",
    "refused",
    "validated",
    "probed",
    "active",
    "former",
    "rolled back",
    "ended",
    "superseded",
)


def upgrade() -> None:
    _create_sets()
    _create_candidates()
    _create_tellings()
    _create_secrets()


def downgrade() -> None:
    # A former release knows no credential sets: what they hold goes with them.
    for table in ("credential_secrets", "tellings", "candidates", "credential_sets"):
        op.drop_table(table)


def _create_sets() -> None:
    op.create_table(
        "credential_sets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("advice", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("attempted_at", sa.BigInteger()),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("attempts_day", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("blocked", sa.Text(), nullable=False),
        sa.Column("blocked_advice", sa.Text(), nullable=False),
        sa.Column("blocked_at", sa.BigInteger()),
        sa.Column("secret_digest", sa.Text(), nullable=False),
        sa.Column("notifications", sa.Text(), nullable=False),
        sa.Column("tended_at", sa.BigInteger()),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_credential_sets")),
    )


def _create_candidates() -> None:
    op.create_table(
        "candidates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("state", _words("candidates", "state", *_STATES), nullable=False),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("answer", sa.LargeBinary()),
        sa.Column("container", sa.LargeBinary()),
        sa.Column("passphrase", sa.LargeBinary()),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.BigInteger()),
        sa.Column("valid_until", sa.BigInteger()),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("staged_at", sa.BigInteger()),
        sa.Column("activated_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("problems", sa.Text(), nullable=False),
        sa.Column("trial", sa.Text(), nullable=False),
        sa.Column("trial_ok", sa.Boolean()),
        sa.ForeignKeyConstraint(
            ["set_name"], ["credential_sets.name"], name=op.f("fk_candidates_set_name_credential_sets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidates")),
    )
    op.create_index("ix_candidates_set_name", "candidates", ["set_name", "state", "id"])
    op.create_index("ix_candidates_state", "candidates", ["state", "valid_until"])
    active = sa.text("state = 'active'")
    op.create_index(
        "uq_candidates_active", "candidates", ["set_name"], unique=True, sqlite_where=active, postgresql_where=active
    )


def _create_tellings() -> None:
    op.create_table(
        "tellings",
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("candidate_id", sa.Integer(), nullable=False),
        sa.Column("former_id", sa.Integer()),
        sa.Column("event", _words("tellings", "event", "activated", "rolled back"), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("state", _words("tellings", "state", "pending", "done", "failed"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("told_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["set_name"], ["credential_sets.name"], name=op.f("fk_tellings_set_name_credential_sets")
        ),
        sa.ForeignKeyConstraint(["candidate_id"], ["candidates.id"], name=op.f("fk_tellings_candidate_id_candidates")),
        sa.ForeignKeyConstraint(["former_id"], ["candidates.id"], name=op.f("fk_tellings_former_id_candidates")),
        sa.PrimaryKeyConstraint("set_name", "consumer", name=op.f("pk_tellings")),
    )
    op.create_index("ix_tellings_candidate_id", "tellings", ["candidate_id"])
    op.create_index("ix_tellings_next_at", "tellings", ["next_at"])


def _create_secrets() -> None:
    op.create_table(
        "credential_secrets",
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("proposed", sa.LargeBinary()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["set_name"], ["credential_sets.name"], name=op.f("fk_credential_secrets_set_name_credential_sets")
        ),
        sa.PrimaryKeyConstraint("set_name", "name", name=op.f("pk_credential_secrets")),
    )


def _words(table: str, name: str, *words: str) -> sa.Enum:
    """A text column that takes one of the words, with its CHECK constraint named for any database."""
    return sa.Enum(*words, name=op.f(f"ck_{table}_{name}"), native_enum=False, create_constraint=True, length=16)
