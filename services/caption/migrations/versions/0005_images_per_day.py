"""Images per day."""

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
        "image_days",
        sa.Column("team", sa.String(length=60), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("team", "day"),
    )
    with op.batch_alter_table("layer_jobs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("waiting", sa.String(length=300), server_default="", nullable=False)
        )
        batch_op.add_column(
            sa.Column("waiting_until", sa.Float(), server_default="0", nullable=False)
        )


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("layer_jobs", schema=None) as batch_op:
        batch_op.drop_column("waiting_until")
        batch_op.drop_column("waiting")

    op.drop_table("image_days")
