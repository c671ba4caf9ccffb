"""Operations on runs: recipes by number, origins of branches, tries, leases, events as outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "leases",
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("role"),
    )
    op.create_table(
        "run_recipes",
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("recipe_hash", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("run_id", "number"),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("relayed", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.create_index(batch_op.f("ix_events_relayed"), ["relayed"], unique=False)

    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("recipe_number", sa.Integer(), nullable=False, server_default="1")
        )
        batch_op.add_column(
            sa.Column("failed_in", sa.String(length=12), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("tries", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("origin", sa.JSON(), nullable=True))

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("recipe_number", sa.Integer(), nullable=False, server_default="1")
        )
        batch_op.add_column(sa.Column("origin", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("trouble", sa.String(), nullable=False, server_default=""))
    # A run that is there already has had one recipe.
    op.execute(
        'INSERT INTO run_recipes (run_id, number, recipe, recipe_hash, "by", reason, at) '
        "SELECT id, 1, recipe, recipe_hash, '', '', created_at FROM runs"
    )


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("trouble")
        batch_op.drop_column("version")
        batch_op.drop_column("origin")
        batch_op.drop_column("recipe_number")

    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_column("origin")
        batch_op.drop_column("tries")
        batch_op.drop_column("failed_in")
        batch_op.drop_column("recipe_number")

    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_relayed"))
        batch_op.drop_column("relayed")

    op.drop_table("run_recipes")
    op.drop_table("leases")
