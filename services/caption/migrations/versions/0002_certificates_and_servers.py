"""A deployment's certificate in place of its golden check's result; models by server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.alter_column("golden", new_column_name="certificate")
    _served_models(sa.Column("server", sa.String(length=200), nullable=False))
    rows = _rows()
    for id_, old in op.get_bind().execute(sa.select(rows.c.id, rows.c.certificate)).all():
        if old:
            _set(rows, id_, _certificate(old))


def downgrade() -> None:
    """Undo this step."""
    _served_models()
    rows = _rows()
    for id_, _ in op.get_bind().execute(sa.select(rows.c.id, rows.c.certificate)).all():
        _set(rows, id_, {})
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.alter_column("certificate", new_column_name="golden")


def _served_models(*server: sa.Column[str]) -> None:
    """The table anew and empty: what is loaded is loaded again, which changes nothing."""
    op.drop_table("served_models")
    op.create_table(
        "served_models",
        *server,
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint(*(column.name for column in server), "prefix"),
    )


def _rows() -> sa.TableClause:
    return sa.table("deployments", sa.column("id", sa.String), sa.column("certificate", sa.JSON))


def _set(rows: sa.TableClause, id_: str, value: dict[str, object]) -> None:
    op.get_bind().execute(rows.update().where(rows.c.id == id_).values(certificate=value))


def _certificate(old: dict[str, object]) -> dict[str, object]:
    """What the earlier check found: answers and log-probabilities, of an engine not recorded."""
    items, same, drift = old.get("items") or 0, old.get("same") or 0, old.get("drift")
    reason = old.get("reason") or ""
    share = same / items if items else None  # type: ignore[operator]
    checks = [
        {"name": "greedy answers", "passed": not reason, "value": share, "bound": 0.75},
        {"name": "log-probabilities", "passed": not reason, "value": drift, "bound": 0.05},
    ]
    return {
        "engine": "", "version": "", "items": items, "checks": checks, "reason": reason, "at": 0.0,
    }  # fmt: skip
