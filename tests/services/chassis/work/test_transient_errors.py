"""Failures that say nothing about the work are told from those that do."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from minio.error import S3Error
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.exc import DBAPIError
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError

from services.chassis.storage.database import Database
from services.chassis.work.transient_errors import is_passing
from vila2.client import ApiError, Client, Unreachable
from vila2.schemas.rest.problem import Problem


def refusal(status: int) -> ApiError:
    return ApiError(Problem(type="about:blank", title="", status=status, detail=""))


def s3(code: str) -> S3Error:
    return S3Error(None, code, "", "", "", "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (refusal(503), True), (refusal(429), True), (refusal(404), False), (refusal(422), False),
        (Unreachable("no answer"), True), (ConnectionResetError(), True), (TimeoutError(), True),
        (OSError(errno.ENOSPC, "full"), True), (OSError(errno.ENOENT, "missing"), False),
        (s3("SlowDown"), True), (s3("AccessDenied"), False),
        (MaxRetryError(HTTPConnectionPool("127.0.0.1"), "/"), True),
        (ValueError("broken"), False), (KeyError("missing"), False),
    ],
)  # fmt: skip
def test_failures_of_the_moment_are_known(error: Exception, passing: bool) -> None:
    assert is_passing(error) == passing


def test_what_was_raised_from_a_passing_failure_passes() -> None:
    error = RuntimeError("the shard cannot be read")
    error.__cause__ = Unreachable("no answer")
    assert is_passing(error)


def raised(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        act()
    return caught.value


def test_a_database_that_is_away_passes() -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    assert is_passing(raised(create_engine(url).connect))


def test_a_connection_that_the_server_ended_passes(postgres_url: str) -> None:
    database = Database.open(postgres_url, MetaData())
    with database.transaction() as session:
        own = session.scalar(text("SELECT pg_backend_pid()"))
        address = postgres_url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(address, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (own,))
        error = raised(lambda: session.execute(text("SELECT 1")))
        session.rollback()
    assert is_passing(error)
    database.close()


def test_a_wrong_statement_does_not_pass(database_url: str) -> None:
    """SQLite calls it an operational error, as it does a full disk."""
    database = Database.open(database_url, MetaData())

    def ask() -> None:
        with database.transaction() as session:
            session.execute(text("SELECT * FROM nowhere"))

    error = raised(ask)
    assert isinstance(error, DBAPIError)
    assert not is_passing(error)
    database.close()


def test_a_locked_file_passes(tmp_path: Path) -> None:
    import sqlite3

    held = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    held.execute("CREATE TABLE t (n INTEGER)")
    held.execute("BEGIN IMMEDIATE")
    engine = create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}", connect_args={"timeout": 0})

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))

    assert is_passing(raised(write))
    engine.dispose()
    held.close()


def test_a_service_that_is_away_passes() -> None:
    client = Client.connect("http://127.0.0.1:9", key="none")
    assert is_passing(raised(lambda: client.datasets.version("x")))
    client.close()
