"""Sites on either kind of storage, the two scripts, and what an undisturbed run comes to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from tests.support.paths import REPOSITORY
from tests.support.runs.outcome import outcome
from tests.support.runs.stepped_platform import SteppedPlatform, recipe, start, workspace
from tests.support.servers.postgres import PostgresServer, binaries
from tests.support.servers.seaweedfs import S3Server

Done = subprocess.CompletedProcess[str]
DEPLOY = REPOSITORY / "deploy"


@dataclass(frozen=True)
class Site:
    """A place for a platform; `use` points the environment at it."""

    workspace: Path
    settings: dict[str, str]
    use: Callable[[], None]

    @property
    def objects(self) -> ObjectStore:
        self.use()
        return StorageSettings().objects(self.workspace, sources_of(self.workspace))

    def run(self, script: str, *words: str | Path, **more: str | Path) -> Done:
        """Run one of the scripts as an operator of this site would, beside the workspace."""
        settings = {"PYTHON": sys.executable, "VILA2_WORKSPACE": self.workspace.name}
        if self.settings:
            settings["PG_DUMP"] = str(binaries() / "pg_dump")
            settings["PG_RESTORE"] = str(binaries() / "pg_restore")
        settings |= {**self.settings, **{name: str(value) for name, value in more.items()}}
        return subprocess.run(
            [DEPLOY / script, *words], cwd=self.workspace.parent, env={**os.environ, **settings},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def back_up(self, folder: Path) -> None:
        done = self.run("backup.sh", folder)
        assert done.returncode == 0, done.stderr

    def restore(self, folder: Path, *name: str) -> None:
        done = self.run("restore.sh", folder, *name)
        assert done.returncode == 0, done.stderr

    def refuses(self, folder: Path, *name: str) -> str:
        """What a restore that must not happen says."""
        done = self.run("restore.sh", folder, *name)
        assert done.returncode != 0
        return done.stderr


Sites = Callable[[str], Site]


@pytest.fixture
def embedded(tmp_path: Path) -> Sites:
    """Makes empty sites with SQLite and a directory."""
    return lambda name: Site(tmp_path / name, {}, lambda: None)


@pytest.fixture
def distributed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres_server: PostgresServer,
    s3: S3Server,
) -> Sites:
    """Makes empty sites with a PostgreSQL database and a bucket."""

    def make(name: str) -> Site:
        settings = {
            "VILA2_DATABASE_URL": postgres_server.new_database(),
            "VILA2_S3_ENDPOINT": s3.endpoint,
            "VILA2_S3_ACCESS_KEY": s3.access_key,
            "VILA2_S3_SECRET_KEY": s3.secret_key,
            "VILA2_S3_SECURE": "false",
            "VILA2_S3_BUCKET": f"b-{uuid4().hex[:12]}",
        }

        def use() -> None:
            for key, value in settings.items():
                monkeypatch.setenv(key, value)

        return Site(tmp_path / name, settings, use)

    return make


@pytest.fixture(params=["embedded", pytest.param("distributed", marks=pytest.mark.server)])
def sites(request: pytest.FixtureRequest) -> Sites:
    """Each of both: what uses it holds for either."""
    made: Sites = request.getfixturevalue(request.param)
    return made


def small_recipe() -> Any:
    """One round and one specialist."""
    return recipe(rounds={"maximum": 1, "patience": 1}, controls=[])


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run comes to of which no backup was taken."""
    with SteppedPlatform(workspace(tmp_path_factory.mktemp("undisturbed"))) as stepped:
        run = start(stepped, small_recipe(), token="the-run")
        stepped.finish(run)
        return outcome(stepped.client, run)
