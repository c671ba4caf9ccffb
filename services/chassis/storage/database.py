"""The database port: one engine per service, and sessions that commit or roll back as a unit.

SQLite runs in WAL mode with a busy timeout. Write transactions take the lock at the start
(`BEGIN IMMEDIATE`), so two writers queue and neither fails halfway; read-only transactions use
`reading` and never wait. PostgreSQL lets writers overlap, so code that checks and then writes
must call `exclusively`.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Float,
    MetaData,
    create_engine,
    event,
    literal,
    literal_column,
    make_url,
    select,
    text,
)
from sqlalchemy.orm import Session, sessionmaker

from services.chassis.storage.migrations import Migrations
from vila2.system.files import make_private

_SQLITE_WAIT = 30.0
_READS = "vila2_reads"
# The statement's time, not the wall clock's: constant within a statement, so an index can be used.
_SERVER_TIME = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"
# Detect a dead server within about 30 seconds, and let the server release the locks of a client
# that disappeared in a transaction.
_ALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds
}
_IDLE_IN_TRANSACTION = "SET idle_in_transaction_session_timeout TO '120s'"


class Database:
    """A service's tables and the sessions on them.

    With `migrations`, opening applies every pending step; without, tables are created directly.
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
        """Open a URL: `sqlite:///file` or `postgresql+psycopg://user@host/name`."""
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
        """Open a SQLite file, creating it if necessary."""
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path)  # SQLite gives its other files the same mode
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

        Keeps up to `pool_size` connections and opens up to twice as many under load.
        """
        engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_recycle=1800,
            isolation_level="READ COMMITTED",
            connect_args=_ALIVE,
        )
        schema = migrations.service if migrations is not None else ""

        @event.listens_for(engine, "connect")
        def _session(connection: Any, _: Any) -> None:
            # Commit now, or the pool's first rollback would undo it.
            connection.autocommit = True
            connection.execute(_IDLE_IN_TRANSACTION)
            if schema:
                connection.execute(f'SET search_path TO "{schema}"')
            connection.autocommit = False

        return cls(engine, metadata, migrations)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits on exit, or rolls back on an exception."""
        with self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read-only session on one snapshot; it does not block writers.

        Do not write in it: in SQLite that fails if another transaction has written in between.
        """
        options: dict[str, Any] = {_READS: True}
        if self._engine.dialect.name == "postgresql":
            # By default each statement would see its own snapshot.
            options["isolation_level"] = "REPEATABLE READ"
        with self._sessions() as session, session.begin():
            session.connection(execution_options=options)
            yield session

    def now(self) -> ColumnElement[float]:
        """SQL expression for Unix time in seconds, which decides when leases start and end.

        In PostgreSQL it is the server's time, so a process with a wrong clock cannot take over live
        leases or grant expired ones. SQLite is local and uses the machine's clock.
        """
        if self._engine.dialect.name == "postgresql":
            return literal_column(_SERVER_TIME, Float)
        return literal(time.time(), Float)

    def time(self, session: Session) -> float:
        """The current value of `now()`, Unix time in seconds."""
        return float(session.scalar(select(self.now())) or 0.0)

    def check(self) -> None:
        """Raise `OSError` or SQLAlchemy's error unless the database can be written to."""
        with self.transaction() as session:  # SQLite refuses to begin it on a read-only file
            if self._engine.dialect.name == "postgresql":
                told = session.scalar(text("SELECT current_setting('transaction_read_only')"))
                if told == "on":
                    raise OSError(errno.EROFS, "the database is read-only")
            else:
                session.execute(text("SELECT count(*) FROM sqlite_master"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL, retrying because SQLite ignores its busy timeout for this statement."""
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
    """Hold a lock on `name` until this transaction ends.

    For code that checks and then inserts. SQLite's write transactions are already exclusive.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text(
                "SELECT pg_advisory_xact_lock("
                "hashtextextended(current_schema() || ':' || :name, 0))"
            ),
            {"name": name},
        )
