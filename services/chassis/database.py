"""The database seam: one engine per service, sessions that commit or roll back whole.

SQLite runs in WAL mode with a busy timeout, and its writes take the lock at once
(`BEGIN IMMEDIATE`), so that two writers queue instead of failing half-way through; what only reads
says so, and waits for nobody. PostgreSQL lets writers overlap: there, what looks up and then writes
says so with `exclusively`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event, make_url, text
from sqlalchemy.orm import Session, sessionmaker

from services.chassis.migrations import Migrations

_SQLITE_WAIT = 30.0
_READS = "vila2_reads"


class Database:
    """A service's tables and the sessions on them.

    With `migrations` the tables are brought to the newest step; without, they are just made.
    """

    def __init__(
        self, engine: Engine, metadata: MetaData, migrations: Migrations | None = None
    ) -> None:
        self._engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        if migrations is None:
            metadata.create_all(engine)
        else:
            migrations.upgrade(engine)

    @classmethod
    def open(cls, url: str, metadata: MetaData, migrations: Migrations | None = None) -> Database:
        """Open what the URL names: `sqlite:///file` or `postgresql+psycopg://user@host/name`."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return cls.sqlite(Path(parsed.database), metadata, migrations)
        if parsed.get_backend_name() == "postgresql":
            return cls.postgres(url, metadata, migrations)
        raise ValueError(
            f"cannot open the database {parsed.render_as_string()}: use sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
        )

    @classmethod
    def sqlite(
        cls, path: Path, metadata: MetaData, migrations: Migrations | None = None
    ) -> Database:
        """Open (or make) a SQLite file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            f"sqlite:///{path}", connect_args={"timeout": _SQLITE_WAIT, "check_same_thread": False}
        )

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # SQLAlchemy's own BEGIN decides, see below
            _write_ahead(connection)
            for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            reads = connection.get_execution_options().get(_READS, False)
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

        return cls(engine, metadata, migrations)

    @classmethod
    def postgres(
        cls,
        url: str,
        metadata: MetaData,
        migrations: Migrations | None = None,
        *,
        pool_size: int = 5,
    ) -> Database:
        """Open a PostgreSQL database, in the service's own schema if it has migrations.

        At most `pool_size` connections are kept, and as many again opened in a rush.
        """
        engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_recycle=1800,
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": 10},
        )
        if migrations is not None:
            schema = migrations.service

            @event.listens_for(engine, "connect")
            def _schema(connection: Any, _: Any) -> None:
                # Committed at once, or the pool's first rollback would undo it.
                connection.autocommit = True
                connection.execute(f'SET search_path TO "{schema}"')
                connection.autocommit = False

        return cls(engine, metadata, migrations)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed on leaving, or rolled back on an exception."""
        with self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads, at one moment's state; it holds no writer up.

        Writing in it is a mistake: in SQLite it fails where another has written meanwhile.
        """
        with self._sessions() as session, session.begin():
            session.connection(execution_options={_READS: True})
            yield session

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL: SQLite does not wait for others here, whatever its timeout, so we do."""
    deadline = time.monotonic() + _SQLITE_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def exclusively(session: Session, name: str) -> None:
    """Until this transaction ends, no other passes here with the same name.

    For what looks up and then inserts. SQLite's transactions exclude each other as they are.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text(
                "SELECT pg_advisory_xact_lock("
                "hashtextextended(current_schema() || ':' || :name, 0))"
            ),
            {"name": name},
        )
