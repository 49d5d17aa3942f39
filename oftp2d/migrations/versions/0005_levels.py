"""What is agreed with a partner for its sessions: the highest release level, the direction of files, and restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("partners", sa.Column("level", sa.Integer(), nullable=False, server_default="5"))
    op.add_column("partners", sa.Column("mode", sa.String(length=16), nullable=False, server_default="both"))
    op.add_column("partners", sa.Column("restart", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    op.drop_column("partners", "restart")
    op.drop_column("partners", "mode")
    op.drop_column("partners", "level")
