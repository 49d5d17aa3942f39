"""Records of F and V files, how far a file came, and how a partner's text differs from ours."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("transfers", sa.Column("record_length", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("transfers", sa.Column("records", sa.BigInteger(), nullable=False, server_default="0"))
    # Null: nobody noted how far those came that are under way.
    op.add_column("transfers", sa.Column("reached", sa.BigInteger()))
    op.add_column("partners", sa.Column("text_charset", sa.Text()))
    op.add_column("partners", sa.Column("text_line_ends", sa.String(length=16), nullable=False, server_default="as-is"))


def downgrade() -> None:
    op.drop_column("partners", "text_line_ends")
    op.drop_column("partners", "text_charset")
    op.drop_column("transfers", "reached")
    op.drop_column("transfers", "records")
    op.drop_column("transfers", "record_length")
