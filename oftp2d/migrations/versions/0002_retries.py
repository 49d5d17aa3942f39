"""What the retry policy counts: refusals that allow another try, the moment from which the time runs, the last ESID."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("transfers", sa.Column("refusals", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("transfers", sa.Column("queued_at", sa.BigInteger()))
    op.add_column("partners", sa.Column("last_reason", sa.Text()))
    # What waits already has its whole time from now on, not from a moment before the limit was known.
    op.execute("UPDATE transfers SET queued_at = updated_at WHERE direction = 'out'")


def downgrade() -> None:
    op.drop_column("partners", "last_reason")
    op.drop_column("transfers", "queued_at")
    op.drop_column("transfers", "refusals")
