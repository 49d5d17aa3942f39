"""Certificates in full: origins and intermediates, the history of each, held messages, renewals, and the lists of others."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_HOLDERS = ("own", "partner", "anchor")
_STATES = ("queued", "sent", "accepted", "refused")
_STATES_WITH_HELD = ("queued", "sent", "held", "accepted", "refused")
_ORIGINS = ("generated", "imported", "delivered", "data sheet", "renewed")
_PAGE = 500
"""Audit entries that are in memory at once."""


def upgrade() -> None:
    op.add_column("partners", sa.Column("hold_certificates", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("partners", sa.Column("replace_scope", sa.String(length=16), nullable=False, server_default="slots"))
    op.add_column("partners", sa.Column("only_own_anchors", sa.Boolean(), nullable=False, server_default=sa.false()))
    _certificates_of_any_origin()
    op.add_column("announcements", sa.Column("host", sa.Text()))
    _create_renewals()
    _exchanges_that_may_be_held()
    _create_renewal_partners()
    _create_lists()
    op.add_column("audit", sa.Column("fingerprint", sa.String(length=64)))
    op.create_index("ix_audit_fingerprint", "audit", ["fingerprint"])
    _fill_in_fingerprints()


def downgrade() -> None:
    op.drop_index("ix_audit_fingerprint", "audit")
    op.drop_column("audit", "fingerprint")
    for table in ("revocation_lists", "trust_lists", "renewal_partners"):
        op.drop_table(table)
    op.drop_index("ix_exchanges_kept", "exchanges")
    # A held message is judged again: nothing was answered to it, and its file is still there.
    op.execute("DELETE FROM exchanges WHERE state = 'held'")
    with op.batch_alter_table("exchanges", copy_from=_exchanges(_STATES_WITH_HELD, more=True)) as batch:
        for name in ("renewal_id", "state", "fingerprint"):
            batch.drop_index(f"ix_exchanges_{name}")
        batch.drop_constraint("fk_exchanges_renewal_id_renewals", type_="foreignkey")
        for name in ("reminded_at", "reminders", "renewal_id", "proof", "rule", "der"):
            batch.drop_column(name)
        _change_words(batch, "exchanges", "state", _STATES_WITH_HELD, _STATES)
    op.drop_table("renewals")
    op.drop_column("announcements", "host")
    op.drop_column("certificates", "withdrawn_at")
    # Trusted for one partner only, or for nobody: without the words for it both are trusted for none.
    op.execute("UPDATE certificates SET active = FALSE WHERE holder = 'anchor' AND partner_id IS NOT NULL")
    op.execute("UPDATE certificates SET holder = 'anchor', active = FALSE WHERE holder = 'intermediate'")
    with op.batch_alter_table(
        "certificates",
        copy_from=_certificates((*_HOLDERS, "intermediate"), _words("certificates", "origin", *_ORIGINS)),
    ) as batch:
        _change_words(batch, "certificates", "holder", (*_HOLDERS, "intermediate"), _HOLDERS)
        batch.alter_column(
            "origin",
            new_column_name="source",
            existing_type=_words("certificates", "origin", *_ORIGINS),
            type_=sa.Text(),
            existing_nullable=False,
        )
    op.execute("UPDATE certificates SET source = 'acx' WHERE source = 'delivered'")
    for name in ("only_own_anchors", "replace_scope", "hold_certificates"):
        op.drop_column("partners", name)


def _certificates_of_any_origin() -> None:
    op.execute("UPDATE certificates SET source = 'delivered' WHERE source = 'acx'")
    op.execute("UPDATE certificates SET source = 'imported' WHERE source NOT IN ('generated', 'delivered')")
    with op.batch_alter_table("certificates", copy_from=_certificates(_HOLDERS, None)) as batch:
        _change_words(batch, "certificates", "holder", _HOLDERS, (*_HOLDERS, "intermediate"))
        batch.alter_column(
            "source",
            new_column_name="origin",
            existing_type=sa.Text(),
            type_=_words("certificates", "origin", *_ORIGINS),
            existing_nullable=False,
        )
    op.add_column("certificates", sa.Column("withdrawn_at", sa.BigInteger()))
    # An authority that was not active was chain material.
    op.execute("UPDATE certificates SET holder = 'intermediate', active = TRUE WHERE holder = 'anchor' AND NOT active")


def _create_renewals() -> None:
    op.create_table(
        "renewals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64)),
        sa.Column("station", sa.String(length=25), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("until", sa.BigInteger()),
        sa.Column("state", _words("renewals", "state", "running", "finished", "cancelled"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_renewals")),
    )
    op.create_index("ix_renewals_state", "renewals", ["state"])


def _exchanges_that_may_be_held() -> None:
    with op.batch_alter_table("exchanges", copy_from=_exchanges(_STATES)) as batch:
        _change_words(batch, "exchanges", "state", _STATES, _STATES_WITH_HELD)
        batch.add_column(sa.Column("der", sa.LargeBinary()))
        for name in ("rule", "proof"):
            batch.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("renewal_id", sa.Integer()))
        batch.add_column(sa.Column("reminders", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("reminded_at", sa.BigInteger()))
        batch.create_foreign_key("fk_exchanges_renewal_id_renewals", "renewals", ["renewal_id"], ["id"])
        batch.create_index("ix_exchanges_renewal_id", ["renewal_id"])
        batch.create_index("ix_exchanges_state", ["state", "partner_id"])
        batch.create_index("ix_exchanges_fingerprint", ["partner_id", "direction", "fingerprint", "id"])
    kept = sa.text("der IS NOT NULL")
    columns = ["state", "partner_id", "answered_at"]
    op.create_index("ix_exchanges_kept", "exchanges", columns, sqlite_where=kept, postgresql_where=kept)


def _create_renewal_partners() -> None:
    op.create_table(
        "renewal_partners",
        sa.Column("renewal_id", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("exchange_id", sa.Integer()),
        sa.Column("by_hand", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["renewal_id"], ["renewals.id"], name=op.f("fk_renewal_partners_renewal_id_renewals")),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name=op.f("fk_renewal_partners_partner_id_partners")),
        sa.ForeignKeyConstraint(
            ["exchange_id"], ["exchanges.id"], name=op.f("fk_renewal_partners_exchange_id_exchanges")
        ),
        sa.PrimaryKeyConstraint("renewal_id", "partner_id", name=op.f("pk_renewal_partners")),
    )


def _create_lists() -> None:
    op.create_table(
        "trust_lists",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger()),
        sa.Column("issued_at", sa.BigInteger()),
        sa.Column("next_update", sa.BigInteger()),
        sa.Column("signer", sa.String(length=64)),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary()),
        sa.Column("read_at", sa.BigInteger()),
        sa.Column("tried_at", sa.BigInteger()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_trust_lists")),
    )
    op.create_table(
        "revocation_lists",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary()),
        sa.Column("issuer", sa.String(length=64)),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("this_update", sa.BigInteger()),
        sa.Column("next_update", sa.BigInteger()),
        sa.Column("read_at", sa.BigInteger()),
        sa.Column("tried_at", sa.BigInteger()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_revocation_lists")),
    )


def _fill_in_fingerprints() -> None:
    """Of the certificates that the audit trail has told of so far, page by page."""
    connection = op.get_bind()
    audit = sa.table("audit", sa.column("id"), sa.column("detail"), sa.column("fingerprint"))
    told = sa.select(audit.c.id, audit.c.detail).where(audit.c.detail.like('%"fingerprint"%')).order_by(audit.c.id)
    last = 0
    while rows := connection.execute(told.where(audit.c.id > last).limit(_PAGE)).all():
        for row in rows:
            fingerprint = json.loads(row.detail).get("fingerprint")
            if isinstance(fingerprint, str) and len(fingerprint) == 64:
                connection.execute(sa.update(audit).where(audit.c.id == row.id).values(fingerprint=fingerprint))
        last = rows[-1].id


def _words(table: str, name: str, *words: str) -> sa.Enum:
    """A text column that takes one of the words, with its CHECK constraint named for any database."""
    return sa.Enum(*words, name=op.f(f"ck_{table}_{name}"), native_enum=False, create_constraint=True, length=16)


def _change_words(batch: BatchOperations, table: str, name: str, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """Another CHECK constraint; SQLite, which cannot change one, copies the table into a new one."""
    batch.alter_column(
        name,
        existing_type=_words(table, name, *old),
        type_=_words(table, name, *new),
        existing_nullable=False,
    )


def _certificates(holders: tuple[str, ...], origin: sa.Enum | None) -> sa.Table:
    """The certificates as one of the two revisions has them: what is found in the database lacks its CHECK constraints."""
    return sa.Table(
        "certificates",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("holder", _words("certificates", "holder", *holders), nullable=False),
        sa.Column("partner_id", sa.Integer()),
        sa.Column("station", sa.String(length=25)),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("usages", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("slice_from", sa.BigInteger()),
        sa.Column("slice_until", sa.BigInteger()),
        sa.Column("slot", _words("certificates", "slot", "current", "previous", "withdrawn", "staged"), nullable=False),
        sa.Column("private_key", sa.LargeBinary()),
        sa.Column("source" if origin is None else "origin", sa.Text() if origin is None else origin, nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_certificates_partner_id_partners"),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
        sa.Index("ix_certificates_fingerprint", "fingerprint"),
        sa.Index("ix_certificates_holder", "holder", "partner_id", "station"),
    )


def _exchanges(states: tuple[str, ...], *, more: bool = False) -> sa.Table:
    """The messages as revision 0007 has them, or with what this one adds."""
    table = sa.Table(
        "exchanges",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.Integer(), nullable=False),
        sa.Column("direction", _words("exchanges", "direction", "out", "in"), nullable=False),
        sa.Column("message", _words("exchanges", "message", "REQUEST", "DELIVER", "REPLACE"), nullable=False),
        sa.Column("transfer_id", sa.String(length=16), nullable=False),
        sa.Column("fingerprint", sa.String(length=64)),
        sa.Column("state", _words("exchanges", "state", *states), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_exchanges_partner_id_partners"),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name="fk_exchanges_transfer_id_transfers"),
        sa.PrimaryKeyConstraint("id", name="pk_exchanges"),
        sa.UniqueConstraint("transfer_id", name="uq_exchanges_transfer_id"),
        sa.Index("ix_exchanges_partner_id", "partner_id"),
    )
    if more:
        for column in (
            sa.Column("der", sa.LargeBinary()),
            sa.Column("rule", sa.Text(), nullable=False, server_default=""),
            sa.Column("proof", sa.Text(), nullable=False, server_default=""),
            sa.Column("renewal_id", sa.Integer()),
            sa.Column("reminders", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("reminded_at", sa.BigInteger()),
        ):
            table.append_column(column)
        table.append_constraint(
            sa.ForeignKeyConstraint(["renewal_id"], ["renewals.id"], name="fk_exchanges_renewal_id_renewals")
        )
        sa.Index("ix_exchanges_renewal_id", table.c.renewal_id)
        sa.Index("ix_exchanges_state", table.c.state, table.c.partner_id)
        sa.Index("ix_exchanges_fingerprint", table.c.partner_id, table.c.direction, table.c.fingerprint, table.c.id)
    return table
