"""Units by the million: one index for every question that is asked of work units."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
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
