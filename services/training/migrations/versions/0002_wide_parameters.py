"""Models of more than two billion parameters fit into their column."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.alter_column(
            "parameters", existing_type=sa.INTEGER(), type_=sa.BigInteger(), existing_nullable=False
        )


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.alter_column(
            "parameters", existing_type=sa.BigInteger(), type_=sa.INTEGER(), existing_nullable=False
        )
