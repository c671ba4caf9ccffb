"""The database seam: one engine per service, sessions that commit or roll back whole.

SQLite runs in WAL mode with a busy timeout, and its writes take the lock at once
(`BEGIN IMMEDIATE`), so that two writers queue instead of failing half-way through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.orm import Session, sessionmaker


class Database:
    """A service's tables and the sessions on them."""

    def __init__(self, engine: Engine, metadata: MetaData) -> None:
        self._engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        metadata.create_all(engine)

    @classmethod
    def sqlite(cls, path: Path, metadata: MetaData) -> Database:
        """Open (or make) a SQLite file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False}
        )

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # SQLAlchemy's own BEGIN decides, see below
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return cls(engine, metadata)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed on leaving, or rolled back on an exception."""
        with self._sessions() as session, session.begin():
            yield session

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()
