"""Kept replies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "kept_replies",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("kept_replies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_kept_replies_until"), ["until"], unique=False)


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("kept_replies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_kept_replies_until"))

    op.drop_table("kept_replies")
