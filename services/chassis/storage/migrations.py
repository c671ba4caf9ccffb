"""Migrations of a service's tables: ordered steps, applied when its database is opened.

A service keeps its steps in `services/<service>/migrations/versions/` and names them once, in
`services/<service>/migrations/__init__.py`. There is no alembic.ini and no env.py: whoever opens
the database brings it to the newest step, and all others that open it meanwhile wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

# Alembic's `op` is one per process, so threads of one process take turns.
_ONE_AT_A_TIME = threading.RLock()


class DatabaseNewer(RuntimeError):
    """A newer version of the software has migrated the database."""


class DatabaseUnknown(RuntimeError):
    """The database has tables that no migration created."""


class Migrations:
    """The steps of one service; in PostgreSQL its tables live in the schema of its name."""

    def __init__(self, service: str, folder: Path) -> None:
        self.service = service
        self.version_table = f"alembic_version_{service}"
        self.script = ScriptDirectory(str(folder))

    @property
    def revisions(self) -> list[str]:
        """All steps, oldest first."""
        return [script.revision for script in self.script.walk_revisions()][::-1]

    def revision(self, engine: Engine) -> str:
        """The step that a database is at, without changing it; empty before the first."""
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                if not inspect(connection).has_schema(self.service):
                    return ""
                connection.execute(text(f'SET search_path TO "{self.service}"'))
            return ", ".join(self.context(connection).get_current_heads())

    def upgrade(self, engine: Engine) -> None:
        """Bring the database to the newest step, in one transaction that excludes other processes.

        Raises `DatabaseNewer` if the database is ahead of this software, and `DatabaseUnknown` if
        it holds tables that no migration made.
        """
        with _ONE_AT_A_TIME, self._alone(engine) as connection:
            at = self.context(connection).get_current_heads()
            unknown = [revision for revision in at if revision not in self.revisions]
            if unknown:
                raise DatabaseNewer(
                    f"the {self.service} database is at revision {unknown[0]}, and this version "
                    f"knows none after {self.revisions[-1]}: upgrade the software, or restore a "
                    "backup from before its upgrade"
                )
            if not at and (tables := self._tables(connection)):
                raise DatabaseUnknown(
                    f"the {self.service} database has a table {tables[0]} that no migration made: "
                    "give the service an empty database"
                )
            self.move(connection, self.revisions[-1])

    def move(self, connection: Connection, revision: str) -> None:
        """Apply or undo steps until the database is at `revision`; `base` is before the first."""
        steps = ["base", *self.revisions]

        def plan(at: Any, context: MigrationContext) -> Any:
            here = at[0] if at else "base"
            if steps.index(here) <= steps.index(revision):
                return self.script._upgrade_revs(revision, here)
            return self.script._downgrade_revs(revision, here)

        context = self.context(connection, fn=plan)
        with _ONE_AT_A_TIME, Operations.context(context):
            context.run_migrations()

    def context(self, connection: Connection, **options: Any) -> MigrationContext:
        """Alembic's view of a connection; SQLite tables are changed by copying them."""
        known = {"version_table": self.version_table, "render_as_batch": True}
        return MigrationContext.configure(connection, opts={**known, **options})

    def _tables(self, connection: Connection) -> list[str]:
        """Names of all tables except Alembic's own."""
        names = inspect(connection).get_table_names()
        return sorted(name for name in names if name != self.version_table)

    @contextmanager
    def _alone(self, engine: Engine) -> Iterator[Connection]:
        """A transaction that excludes migrations by other processes."""
        if engine.dialect.name == "sqlite":
            yield from _alone_in_sqlite(engine)
            return
        with engine.begin() as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
                {"name": f"migrate:{self.service}"},
            )
            # Not `IF NOT EXISTS` alone: that asks for the right to create even where it exists.
            if not inspect(connection).has_schema(self.service):
                connection.execute(text(f'CREATE SCHEMA "{self.service}"'))
            yield connection


def _alone_in_sqlite(engine: Engine) -> Iterator[Connection]:
    """The engine begins at once with the write lock.

    Foreign keys are off while tables are copied and dropped, and checked at the end. They can only
    be switched outside a transaction, so this is done on the connection below SQLAlchemy's.
    """
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise RuntimeError(f"the migration leaves rows of {broken[0]} without parents")
        finally:
            raw.execute("PRAGMA foreign_keys=ON")
