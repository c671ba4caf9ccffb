"""Generates a service's next migration: the difference between its tables and its migrations.

For developers: run `make migration SERVICE=datasets NAME=add_x` (SERVICE may be `identity`), then
review and correct the generated file.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import cast

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations.ops import DowngradeOps, UpgradeOps
from sqlalchemy import MetaData, create_engine

from services.chassis.storage.migrations import Migrations

_FILE = '''"""{title}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    {upgrade}


def downgrade() -> None:
    """Undo this step."""
    {downgrade}
'''


def write(migrations: Migrations, metadata: MetaData, name: str) -> Path:
    """Write the step from the newest migration to `metadata`; returns the new file's path.

    Raises `SystemExit` if the tables have not changed.
    """
    before = migrations.revisions
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        if before:
            migrations.move(connection, before[-1])
        context = migrations.context(connection, target_metadata=metadata)
        found = produce_migrations(context, metadata)
        up, down = cast(UpgradeOps, found.upgrade_ops), cast(DowngradeOps, found.downgrade_ops)
        if up.is_empty():
            raise SystemExit(f"the tables of {migrations.service} have not changed: no migration")
        upgrade, downgrade = (
            re.sub(
                r" *# ### .*\n?",
                "",
                render_python_code(ops, migration_context=context, render_as_batch=True),
            ).strip()
            for ops in (up, down)
        )
    revision = f"{len(before) + 1:04d}"
    path = Path(migrations.script.versions) / f"{revision}_{name}.py"
    path.write_text(
        _FILE.format(
            title=name.replace("_", " ").capitalize(),
            revision=revision,
            down=before[-1] if before else None,
            upgrade=upgrade,
            downgrade=downgrade,
        )
    )
    return path


if __name__ == "__main__":
    service, step = sys.argv[1].replace("/", "."), sys.argv[2]
    tables = importlib.import_module(f"services.{service}.tables")
    steps = importlib.import_module(f"services.{service}.migrations")
    sys.stdout.write(f"{write(steps.MIGRATIONS, tables.Base.metadata, step)}\n")
