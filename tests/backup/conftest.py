"""A small world over either kind of storage, and what an undisturbed run on it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.settings import StorageSettings
from tests.plane.outcome import outcome
from tests.plane.plane import Plane, recipe, start, workspace
from tests.servers.postgres import PostgresServer
from tests.servers.seaweedfs import S3Server


@dataclass(frozen=True)
class Site:
    """A place for a platform; `use` points the environment at it."""

    workspace: Path
    settings: dict[str, str]
    use: Callable[[], None]

    @property
    def storage(self) -> StorageSettings:
        self.use()
        return StorageSettings()


@pytest.fixture(params=["embedded", pytest.param("apart", marks=pytest.mark.server)])
def sites(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Site]:
    """Makes empty sites: SQLite and a directory, or PostgreSQL and a bucket."""

    def make(name: str) -> Site:
        settings: dict[str, str] = {}
        if request.param == "apart":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            bucket: S3Server = request.getfixturevalue("s3")
            settings = {
                "VILA2_DATABASE_URL": server.new_database(),
                "VILA2_S3_ENDPOINT": bucket.endpoint,
                "VILA2_S3_ACCESS_KEY": bucket.access_key,
                "VILA2_S3_SECRET_KEY": bucket.secret_key,
                "VILA2_S3_SECURE": "false",
                "VILA2_S3_BUCKET": f"b-{uuid4().hex[:12]}",
            }

        def use() -> None:
            for key, value in settings.items():
                monkeypatch.setenv(key, value)

        return Site(tmp_path / name, settings, use)

    return make


def small() -> Any:
    """One round and one specialist."""
    return recipe(rounds={"maximum": 1, "patience": 1}, controls=[])


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run comes to of which no backup was taken."""
    with Plane(workspace(tmp_path_factory.mktemp("undisturbed"))) as plane:
        run = start(plane, small(), token="the-run")
        plane.finish(run)
        return outcome(plane.client, run)
