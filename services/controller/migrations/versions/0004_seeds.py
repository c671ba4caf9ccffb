"""Rounds with several seeds; one that is there already was trained with one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("seed_models", sa.JSON(), nullable=False, server_default="{}")
        )
        batch_op.add_column(
            sa.Column("seed_evaluations", sa.JSON(), nullable=False, server_default="{}")
        )


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_column("seed_evaluations")
        batch_op.drop_column("seed_models")
