"""Trouble of the storage: a reply that names it, and a process that is not ready."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, insert, select, text
from sqlalchemy.exc import OperationalError

from services.chassis.storage.database import Database
from services.chassis.storage.trouble import AWAY, DAMAGED, FULL, READ_ONLY, Trouble, trouble_of
from services.chassis.telemetry.logging import configure_logging
from services.identity.identity import Identity
from tests.support.chassis.example_service import ExampleService, Idle, example_service

TABLES = MetaData()
ROWS = Table("rows", TABLES, Column("id", Integer, primary_key=True), Column("held", LargeBinary))


def full(database: Database, _: Path) -> None:
    with database.transaction() as session:
        session.execute(text("PRAGMA max_page_count=10"))
        session.execute(insert(ROWS), {"held": bytes(1_000_000)})


def read_only(database: Database, _: Path) -> None:
    with database.reading() as session:
        session.execute(text("PRAGMA query_only=ON"))
    database.check()
    with database.transaction() as session:
        session.execute(insert(ROWS), {"held": b""})


def damaged(database: Database, path: Path) -> None:
    with database.transaction() as session:
        session.execute(insert(ROWS), [{"held": bytes(3000)} for _ in range(100)])
    database.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    path.write_bytes(data)
    with database.reading() as session:
        session.execute(select(ROWS)).all()


@pytest.mark.parametrize(
    ("happens", "named"), [(full, FULL), (read_only, READ_ONLY), (damaged, DAMAGED)]
)
def test_what_happens_to_sqlite_is_named(
    tmp_path: Path, happens: Callable[[Database, Path], None], named: Trouble
) -> None:
    database = Database.sqlite(tmp_path / "a.sqlite", TABLES)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        happens(database, tmp_path / "a.sqlite")
    database.close()
    assert trouble_of(caught.value) == named


@pytest.mark.parametrize(
    ("state", "named"),
    [("53100", FULL), ("25006", READ_ONLY), ("XX001", DAMAGED), ("57P01", AWAY), ("08006", AWAY)],
)
def test_what_happens_to_postgresql_is_named(state: str, named: Trouble) -> None:
    error = OperationalError("SELECT 1", {}, SimpleNamespace(sqlstate=state))  # type: ignore[arg-type]
    assert trouble_of(error) == named


def test_a_cause_is_looked_for_behind_an_error() -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("not written") from OSError(errno.ENOSPC, "no space left on device")
    assert trouble_of(caught.value) == FULL
    assert trouble_of(ValueError("a fault of ours")) is None


def test_the_reply_and_the_readiness_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Identity, "principal", broken)
    with example_service(tmp_path) as app:
        assert app.send("GET", "readyz").status_code == 200
        monkeypatch.setattr(Idle, "check", broken)
        refused(app, "readyz", 507)
        refused(app, "v1/whoami", 507)
        assert app.send("GET", "healthz").status_code == 200


def test_a_line_of_the_log_that_cannot_be_written_costs_no_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a full disk; the line goes to standard error instead."""
    with example_service(tmp_path) as app:
        configure_logging(path=Path("/dev/full"))
        try:
            monkeypatch.setattr(Idle, "check", lambda _: 1 / 0)
            refused(app, "readyz", 500)
        finally:
            configure_logging()
    assert "not ready" in capsys.readouterr().err


def refused(app: ExampleService, path: str, status: int) -> None:
    reply = app.send("GET", path, key="a.b")
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status_code, reply.json()["status"]) == (status, status)
    assert reply.json()["fix"]
