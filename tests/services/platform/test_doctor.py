"""Installations that are really broken, and what the doctor says of them."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from services.platform import serve
from services.platform.doctor import findings
from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.platform_http import served
from tests.support.servers.seaweedfs import S3Server
from tests.support.servers.valkey import Broker
from vila2.cli.main import app
from vila2.client import SERVICES
from vila2.doctor import machine
from vila2.doctor.finding import Finding
from vila2.doctor.platform import findings as of_services

RUN = CliRunner()


def of(found: list[Finding], check: str) -> Finding:
    """The one finding of a check."""
    (one,) = [finding for finding in found if finding.check.startswith(check)]
    return one


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace in which the platform has run."""
    with EmbeddedPlatform(tmp_path / "workspace") as made:
        return made.workspace


def test_a_sound_workspace_has_no_problem(workspace: Path) -> None:
    told = RUN.invoke(app, ["doctor", "-w", str(workspace), "--json"])
    assert told.exit_code == 0, told.output
    checks = {finding["check"] for finding in json.loads(told.output)["findings"]}
    assert {"Python", "packages", "objects", "database of controller"} <= checks


def test_a_problem_ends_the_command_with_one(workspace: Path) -> None:
    (workspace / "key").chmod(0o644)
    told = RUN.invoke(app, ["doctor", "-w", str(workspace)])
    assert told.exit_code == 1
    assert "chmod 600" in told.output


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_workspace_that_cannot_be_written_is_a_problem(workspace: Path) -> None:
    workspace.chmod(0o500)
    try:
        assert of(machine.findings(workspace), "workspace").state == "problem"
    finally:
        workspace.chmod(0o700)


def test_a_database_of_before_the_newest_step_is_a_problem(workspace: Path) -> None:
    engine = create_engine(f"sqlite:///{workspace / 'db' / 'controller.sqlite'}")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version_controller"))
    found = of(findings(workspace), "database of controller")
    assert (found.state, "--prepare" in found.fix) == ("problem", True)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO alembic_version_controller VALUES ('9999')"))
    found = of(findings(workspace), "database of controller")
    assert (found.state, "upgrade" in found.fix) == ("problem", True)


def test_a_file_that_is_no_database_is_a_problem(workspace: Path) -> None:
    (workspace / "db" / "caption.sqlite").write_bytes(b"not a database" * 100)
    assert of(findings(workspace), "database of caption").state == "problem"


def test_a_fresh_postgresql_asks_to_be_prepared(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_DATABASE_URL", postgres_url)
    found = findings(tmp_path)
    assert of(found, "clock of database").state == "ok"
    assert of(found, "database of training").fix.startswith("run `vila2-service --prepare`")


def test_a_postgresql_that_is_away_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+psycopg://user:hidden-word@127.0.0.1:{closed_port()}/vila2"
    monkeypatch.setenv("VILA2_DATABASE_URL", url)
    found = of(findings(tmp_path), "database")
    assert found.state == "problem"
    assert "hidden-word" not in found.found


def test_an_unknown_value_of_a_setting_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_TRAINING_BACKEND", "cloud")
    assert of(findings(tmp_path), "setting VILA2_TRAINING_BACKEND").state == "problem"


def test_slurm_without_its_commands_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_TRAINING_BACKEND", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert of(findings(tmp_path), "backend slurm").state == "problem"


def test_a_triton_that_is_away_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_TRITON_URL", f"127.0.0.1:{closed_port()}")
    assert of(findings(tmp_path), "Triton").state == "problem"


def test_a_broker_that_drops_entries_is_told(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    monkeypatch.setenv("VILA2_BROKER_URL", broker.url)
    assert of(findings(tmp_path), "broker").state == "ok"
    redis.Redis.from_url(broker.url).config_set("maxmemory-policy", "allkeys-lru")
    assert of(findings(tmp_path), "broker").state == "warning"


@pytest.mark.parametrize(("secret", "state"), [("tester-secret", "ok"), ("another", "problem")])
def test_a_wrong_key_of_the_bucket_is_a_problem(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, state: str
) -> None:
    settings = {
        "ENDPOINT": s3.endpoint, "ACCESS_KEY": s3.access_key, "SECRET_KEY": secret,
        "SECURE": "false",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"VILA2_S3_{name}", value)
    assert of(findings(tmp_path), "objects").state == state


def test_services_tell_version_and_time_and_know_the_key(platform: EmbeddedPlatform) -> None:
    with served(platform) as url:
        found = of_services(url, platform.key)
    assert {finding.state for finding in found} == {"ok"}
    assert of(found, "clock of caption").state == "ok"


def test_an_unknown_key_is_a_problem(platform: EmbeddedPlatform) -> None:
    with served(platform) as url:
        assert of(of_services(url, "none.such"), "key").state == "problem"


def test_services_that_are_away_are_each_named() -> None:
    found = of_services(f"http://127.0.0.1:{closed_port()}", "some.key")
    away = [finding.check for finding in found if finding.state == "problem"]
    assert away[:5] == [f"service {name}" for name in SERVICES]


def test_the_server_has_the_same_doctor(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve.main(["--doctor", "--json", "--workspace", str(workspace)]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"]


def closed_port() -> int:
    """A port of the loopback at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
