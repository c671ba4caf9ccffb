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

_SQLITE_WAIT = 30.0
_READS = "vila2_reads"
# The time of the statement, not the clock's: constant within one, so that an index can be used.
_SERVER_TIME = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"
# A server that is gone without a word is given up after about half a minute, and one that lost a
# client in the middle of a transaction gives back what it held.
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
            connect_args=_ALIVE,
        )
        schema = migrations.service if migrations is not None else ""

        @event.listens_for(engine, "connect")
        def _session(connection: Any, _: Any) -> None:
            # Committed at once, or the pool's first rollback would undo it.
            connection.autocommit = True
            connection.execute(_IDLE_IN_TRANSACTION)
            if schema:
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
        options: dict[str, Any] = {_READS: True}
        if self._engine.dialect.name == "postgresql":
            # Else each statement sees a moment of its own.
            options["isolation_level"] = "REPEATABLE READ"
        with self._sessions() as session, session.begin():
            session.connection(execution_options=options)
            yield session

    def now(self) -> ColumnElement[float]:
        """Seconds since 1970, in a statement: the time by which leases are given and end.

        Of PostgreSQL it is the server's time: a process with a wrong clock would take everybody's
        leases, or give ones that have ended. SQLite is used on one machine, by that one's clock.
        """
        if self._engine.dialect.name == "postgresql":
            return literal_column(_SERVER_TIME, Float)
        return literal(time.time(), Float)

    def time(self, session: Session) -> float:
        """That time, asked for now."""
        return float(session.scalar(select(self.now())) or 0.0)

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
