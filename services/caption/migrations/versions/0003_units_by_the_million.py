"""Units by the million: one index for every question, and a job's sums on its own row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    with op.batch_alter_table("layer_jobs", schema=None) as batch_op:
        # The zeros say that all units of the jobs of before are planned and none is recorded.
        for name in ("shards", "planned"):
            batch_op.add_column(sa.Column(name, sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column("captioned", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.add_column(
            sa.Column("quarantined", sa.JSON(), server_default="{}", nullable=False)
        )
        batch_op.add_column(
            sa.Column("tokens", sa.BigInteger(), server_default="0", nullable=False)
        )
        batch_op.add_column(sa.Column("seconds", sa.Float(), server_default="0", nullable=False))
        batch_op.alter_column("samples", existing_type=sa.Integer(), type_=sa.BigInteger())
        batch_op.create_index(batch_op.f("ix_layer_jobs_state"), ["state"], unique=False)

    with op.batch_alter_table("work_units", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_work_units_state"))
        batch_op.drop_index(batch_op.f("ix_work_units_subject"))
        batch_op.create_index(
            "ix_work_units_state_subject", ["state", "subject", "not_before", "id"], unique=False
        )


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("work_units", schema=None) as batch_op:
        batch_op.drop_index("ix_work_units_state_subject")
        batch_op.create_index(batch_op.f("ix_work_units_subject"), ["subject"], unique=False)
        batch_op.create_index(batch_op.f("ix_work_units_state"), ["state"], unique=False)
    # Software of before knows no units that are recorded.
    op.execute("UPDATE work_units SET state = 'done' WHERE state = 'recorded'")

    with op.batch_alter_table("layer_jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_layer_jobs_state"))
        batch_op.alter_column("samples", existing_type=sa.BigInteger(), type_=sa.Integer())
        for name in ("seconds", "tokens", "quarantined", "captioned", "planned", "shards"):
            batch_op.drop_column(name)
