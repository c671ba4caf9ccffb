"""The rows of a PostgreSQL database, all as of one moment, by COPY.

No `pg_dump` is needed, which would have to be as new as the server. Tables are made again by the
same migrations, up to the step that they were at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import create_engine, inspect, make_url

from services.chassis.migrations import Migrations
from services.standalone.backup.record import BackupError, Schema, Table, kept_as


def plain(url: str) -> str:
    """The address as libpq has it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def save(url: str, migrations: Sequence[Migrations], target: Path) -> list[Schema]:
    """Write every table of every service's schema, while others write."""
    target.mkdir(parents=True)
    engine, made = create_engine(url), []
    try:
        with psycopg.connect(plain(url)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            _refuse_unknown(connection, migrations)
            for one in migrations:
                revision = one.revision(engine)
                if revision:
                    made.append(_save(connection, engine, one, revision, target))
    finally:
        engine.dispose()
    return made


def _refuse_unknown(connection: psycopg.Connection, migrations: Sequence[Migrations]) -> None:
    """A schema that nobody here knows could not be restored, so nothing is pretended."""
    rows = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE tablename LIKE 'alembic_version_%'"
    )
    unknown = {schema for schema, _ in rows} - {one.service for one in migrations}
    if unknown:
        raise BackupError(
            f"the database has services that this version does not know: {', '.join(unknown)}; "
            "take the backup with the version that runs"
        )


def _save(
    connection: psycopg.Connection, engine: object, one: Migrations, revision: str, target: Path
) -> Schema:
    inspector = inspect(engine)
    tables = []
    # Parents come before the rows that refer to them.
    for name, _ in inspector.get_sorted_table_and_fkc_names(schema=one.service):
        if name is None or name == one.version_table:
            continue
        columns = [column["name"] for column in inspector.get_columns(name, schema=one.service)]
        path = target / f"{one.service}.{name}.copy"
        with path.open("wb") as out, connection.cursor() as cursor:
            with cursor.copy(_copy(one.service, name, columns, "TO STDOUT")) as pieces:
                for piece in pieces:
                    out.write(piece)
            rows = cursor.rowcount
        kept = kept_as(path.name, path)
        tables.append(Table(name=name, columns=columns, rows=rows, kept=kept))
    sequences = connection.execute(
        "SELECT sequencename, last_value FROM pg_sequences "
        "WHERE schemaname = %s AND last_value IS NOT NULL",
        (one.service,),
    ).fetchall()
    return Schema(service=one.service, revision=revision, tables=tables, sequences=dict(sequences))


def used(url: str, migrations: Sequence[Migrations]) -> list[str]:
    """Schemas that are there already. Raises `BackupError` while somebody works on them."""
    with psycopg.connect(plain(url)) as connection:
        others = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchone()
        if others and others[0]:
            raise BackupError(
                f"{others[0]} sessions are open on the database: stop every service and worker "
                "(and other clients) before a restore"
            )
        rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    known = {one.service for one in migrations}
    return sorted(name for (name,) in rows if name in known)


def restore(
    url: str, schemas: Sequence[Schema], migrations: Sequence[Migrations], source: Path
) -> None:
    """Make each schema as it was and fill it; what was there is gone."""
    by_service = {one.service: one for one in migrations}
    engine = create_engine(url)
    try:
        for schema in schemas:
            one = by_service[schema.service]
            with psycopg.connect(plain(url)) as connection:
                drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
                connection.execute(drop.format(sql.Identifier(schema.service)))
            one.make(engine, schema.revision)
            with psycopg.connect(plain(url)) as connection:
                _fill(connection, schema, source)
    finally:
        engine.dispose()


def _fill(connection: psycopg.Connection, schema: Schema, source: Path) -> None:
    """One transaction: a schema is filled or empty."""
    for table in schema.tables:
        assert table.kept is not None
        with (source / table.kept.name).open("rb") as rows, connection.cursor() as cursor:
            into = _copy(schema.service, table.name, table.columns, "FROM STDIN")
            with cursor.copy(into) as sink:
                while piece := rows.read(2**20):
                    sink.write(piece)
            if cursor.rowcount != table.rows:
                raise BackupError(
                    f"{schema.service}.{table.name}: {cursor.rowcount} rows of {table.rows} came in"
                )
    for name, last in schema.sequences.items():
        where = sql.Identifier(schema.service, name).as_string(connection)
        connection.execute("SELECT setval(%s::regclass, %s)", (where, last))


def _copy(schema: str, table: str, columns: Sequence[str], how: str) -> sql.Composed:
    return sql.SQL("COPY {} ({}) {}").format(
        sql.Identifier(schema, table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(how),
    )
