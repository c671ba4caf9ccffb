"""Attempts, quotas, evaluations and stage changes; what jobs and models tell of themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step; rows that are there get what they would have had."""
    op.create_table(
        "attempts",
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("team", sa.String(length=60), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=8), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("ended", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("job", "number"),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempts_ended_at"), ["ended_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_attempts_team"), ["team"], unique=False)

    op.create_table(
        "evaluations",
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("benchmark", sa.String(length=200), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=400), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job", "benchmark"),
    )
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_evaluations_model"), ["model"], unique=False)

    op.create_table(
        "quotas",
        sa.Column("team", sa.String(length=60), nullable=False),
        sa.Column("gpu_hours", sa.Float(), nullable=True),
        sa.Column("process_hours", sa.Float(), nullable=True),
        sa.Column("period", sa.String(length=8), nullable=False),
        sa.Column("max_jobs", sa.Integer(), nullable=True),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(length=60), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("team"),
    )
    op.create_table(
        "stage_changes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("team", sa.String(length=60), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("line", sa.String(length=63), nullable=False),
        sa.Column("action", sa.String(length=12), nullable=False),
        sa.Column("before", sa.String(length=12), nullable=False),
        sa.Column("after", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("replaced", sa.String(length=200), nullable=False),
        sa.Column("asked_by", sa.String(length=60), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("require", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("stage_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stage_changes_model"), ["model"], unique=False)
        batch_op.create_index(batch_op.f("ix_stage_changes_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_stage_changes_team"), ["team"], unique=False)

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("run", sa.String(length=200), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("parent", sa.String(length=40), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("children", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("seed", sa.BigInteger(), nullable=True))
        batch_op.add_column(
            sa.Column("unit", sa.String(length=8), nullable=False, server_default="process")
        )
        batch_op.add_column(
            sa.Column("processes", sa.Integer(), nullable=False, server_default="1")
        )
        batch_op.add_column(sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(
            sa.Column("lease_until", sa.Float(), nullable=False, server_default="0")
        )
        batch_op.add_column(
            sa.Column("cancel_wanted", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(
            sa.Column("waiting", sa.String(length=300), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("lineage", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(
            sa.Column("mirrored", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.create_index(batch_op.f("ix_jobs_parent"), ["parent"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_run"), ["run"], unique=False)

    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("files", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("lineage", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("config", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("result", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(
            sa.Column("run", sa.String(length=200), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("stage", sa.String(length=12), nullable=False, server_default="candidate")
        )
        batch_op.add_column(
            sa.Column("line", sa.String(length=63), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("revision", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("carded", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("mirrored", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Undo this step."""
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_column("mirrored")
        batch_op.drop_column("carded")
        batch_op.drop_column("revision")
        batch_op.drop_column("line")
        batch_op.drop_column("stage")
        batch_op.drop_column("run")
        batch_op.drop_column("result")
        batch_op.drop_column("config")
        batch_op.drop_column("lineage")
        batch_op.drop_column("files")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_run"))
        batch_op.drop_index(batch_op.f("ix_jobs_parent"))
        batch_op.drop_column("mirrored")
        batch_op.drop_column("lineage")
        batch_op.drop_column("waiting")
        batch_op.drop_column("cancel_wanted")
        batch_op.drop_column("lease_until")
        batch_op.drop_column("fence")
        batch_op.drop_column("processes")
        batch_op.drop_column("unit")
        batch_op.drop_column("seed")
        batch_op.drop_column("children")
        batch_op.drop_column("parent")
        batch_op.drop_column("run")

    with op.batch_alter_table("stage_changes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stage_changes_team"))
        batch_op.drop_index(batch_op.f("ix_stage_changes_state"))
        batch_op.drop_index(batch_op.f("ix_stage_changes_model"))

    op.drop_table("stage_changes")
    op.drop_table("quotas")
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_evaluations_model"))

    op.drop_table("evaluations")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempts_team"))
        batch_op.drop_index(batch_op.f("ix_attempts_ended_at"))

    op.drop_table("attempts")
