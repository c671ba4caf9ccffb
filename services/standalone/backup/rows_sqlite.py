"""The rows of SQLite files, all as of one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import create_engine

from services.chassis.migrations import Migrations
from services.standalone.backup.record import Kept, Schema, Table, kept_as

_WAIT = 60.0  # seconds for a writer that is at work


def paths(folder: Path, migrations: Sequence[Migrations]) -> dict[str, Path]:
    """The databases that are there, by service."""
    each = {one.service: folder / f"{one.service}.sqlite" for one in migrations}
    return {service: path for service, path in each.items() if path.exists()}


def save(folder: Path, migrations: Sequence[Migrations], target: Path) -> list[Schema]:
    """Copy every database, while others write.

    For the moment at which the copies are true, all writers wait: each file is locked, a reader
    begins in each, and the locks are given back before anything is copied.
    """
    target.mkdir(parents=True)
    found = paths(folder, migrations)
    with ExitStack() as held:
        readers = {}
        with ExitStack() as locked:
            for path in found.values():
                writer = locked.enter_context(closing(_opened(path)))
                writer.execute("BEGIN IMMEDIATE")
            for service, path in found.items():
                readers[service] = held.enter_context(closing(_opened(path)))
                readers[service].execute("BEGIN")
                readers[service].execute("SELECT count(*) FROM sqlite_master").fetchone()
        for service, reader in readers.items():
            with closing(sqlite3.connect(target / f"{service}.sqlite")) as copy:
                reader.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
    by_service = {one.service: one for one in migrations}
    return [_schema(target / f"{service}.sqlite", by_service[service]) for service in found]


def restore(schema: Schema, source: Path, folder: Path) -> None:
    """Put a database in its place."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{schema.service}.sqlite"
    for leftover in (target, *(target.with_name(target.name + end) for end in ("-wal", "-shm"))):
        leftover.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as held, closing(sqlite3.connect(target)) as made:
        held.backup(made)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT, isolation_level=None)


def _schema(path: Path, migrations: Migrations) -> Schema:
    engine = create_engine(f"sqlite:///{path}")
    try:
        revision = migrations.revision(engine)
    finally:
        engine.dispose()
    with closing(sqlite3.connect(path)) as held:
        names = [row[0] for row in held.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )]  # fmt: skip
        tables = [
            Table(name=name, rows=held.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608
            for name in sorted(names)
            if name != migrations.version_table
        ]
    kept: Kept = kept_as(path.name, path)
    return Schema(service=migrations.service, revision=revision, tables=tables, kept=kept)
