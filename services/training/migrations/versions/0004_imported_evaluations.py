"""Scores of other programs, scores without an interval, and what a metric tells beside its mean."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step; what is there was found by evaluations here, and has no figures."""
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("metric", sa.String(length=100), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("source", sa.String(length=40), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("figures", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.alter_column("low", existing_type=sa.Float(), nullable=True)
        batch_op.alter_column("high", existing_type=sa.Float(), nullable=True)


def downgrade() -> None:
    """Undo this step; scores of other programs, and those without an interval, are lost."""
    op.execute("DELETE FROM evaluations WHERE source <> '' OR low IS NULL")
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.alter_column("high", existing_type=sa.Float(), nullable=False)
        batch_op.alter_column("low", existing_type=sa.Float(), nullable=False)
        batch_op.drop_column("figures")
        batch_op.drop_column("source")
        batch_op.drop_column("metric")
