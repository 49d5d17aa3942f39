"""Files for a third party: which partner may send them, how they were secured, and the end response as it was made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("partners", sa.Column("may_forward", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("security", "cipher", "compression", "envelope"):
        op.add_column("transfers", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("transfers", sa.Column("signed_response", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("transfers", sa.Column("original_size", sa.BigInteger()))
    op.add_column("transfers", sa.Column("forwarded_from", sa.String(length=16)))
    op.create_index("uq_transfers_forwarded_from", "transfers", ["forwarded_from"], unique=True)
    op.add_column("receipts", sa.Column("hash", sa.LargeBinary()))
    op.add_column("receipts", sa.Column("signature", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("receipts", "signature")
    op.drop_column("receipts", "hash")
    op.drop_index("uq_transfers_forwarded_from", "transfers")
    for name in ("forwarded_from", "original_size", "signed_response", "envelope", "compression", "cipher", "security"):
        op.drop_column("transfers", name)
    op.drop_column("partners", "may_forward")
