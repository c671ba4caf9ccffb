"""A platform that was lost is there again, and its runs go on to the same end."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.chassis.settings import StorageSettings
from services.standalone import operations, serve
from services.standalone.app import Standalone, WorkspaceBusy
from services.standalone.backup import rows_sqlite
from services.standalone.backup.record import ABOUT, BackupError, Place
from services.standalone.backup.restore import restore
from services.standalone.backup.take import take
from services.standalone.databases import all_migrations
from services.standalone.targets import TARGETS
from tests.backup.conftest import Site, small
from tests.plane.outcome import outcome
from tests.plane.plane import Plane, start, workspace
from tests.standalone import until
from vila2.api.datasets import DatasetIn, VersionIn

Sites = Callable[[str], Site]


@pytest.mark.slow
def test_a_run_goes_on_from_a_backup_to_the_same_end(
    sites: Sites, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """Taken in the middle of captioning, while the platform works; restored elsewhere."""
    before, after = sites("before"), sites("after")
    before.use()
    made = workspace(tmp_path / "made")
    with Plane(made) as plane:
        run = start(plane, small(), token="the-run")
        plane.until(run, "round 1", "captioning")
        plane.controller.reconciler.tick()
        told = take(made, before.storage, tmp_path / "backup")
        for _ in range(6):  # the lost platform went on
            plane.turn()
    assert (told.rows > 20, told.objects > 10, told.files > 3) == (True, True, True)
    restored = restore(after.workspace, after.storage, tmp_path / "backup")
    assert restored == told
    with Plane(after.workspace) as plane:
        assert start(plane, small(), token="the-run") == run
        until(plane.controller.leadership.lead)  # the lost platform's lease came along
        held = plane.finish(run)
        assert held.state == "finished", held.error
        assert outcome(plane.client, run) == undisturbed


def test_keys_are_as_valid_as_before(sites: Sites, tmp_path: Path) -> None:
    before, after = sites("before"), sites("after")
    before.use()
    with Standalone(before.workspace) as platform:
        key = platform.key
        take(before.workspace, before.storage, tmp_path / "backup")
    restore(after.workspace, after.storage, tmp_path / "backup")
    after.use()
    with Standalone(after.workspace) as platform:
        assert platform.key == key
    assert (after.workspace / "key").stat().st_mode & 0o077 == 0


def test_new_rows_do_not_take_the_numbers_of_restored_ones(sites: Sites, tmp_path: Path) -> None:
    """In PostgreSQL numbers come from sequences, which rows alone do not bring back."""
    before, after = sites("before"), sites("after")
    before.use()
    with Standalone(before.workspace) as platform:
        platform.client.datasets.create(DatasetIn(name="one", kind="pairs"))
        platform.client.datasets.open_version("one", VersionIn())
        take(before.workspace, before.storage, tmp_path / "backup")
    restore(after.workspace, after.storage, tmp_path / "backup")
    after.use()
    with Standalone(after.workspace) as platform:
        platform.client.datasets.create(DatasetIn(name="two", kind="pairs"))
        made = platform.client.datasets.open_version("two", VersionIn())
        assert made.version == 1


def test_a_platform_that_is_there_is_not_overwritten_unasked(sites: Sites, tmp_path: Path) -> None:
    site = sites("there")
    site.use()
    with Standalone(site.workspace):
        take(site.workspace, site.storage, tmp_path / "backup")
    with pytest.raises(BackupError, match="--overwrite"):
        restore(site.workspace, site.storage, tmp_path / "backup")
    restore(site.workspace, site.storage, tmp_path / "backup", overwrite=True)
    with Standalone(site.workspace) as platform:
        assert platform.client.datasets.all() == []


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Of a workspace with one object and one dataset's rows."""
    with Standalone(tmp_path / "lost") as platform:
        (platform.workspace / "objects" / "shards").mkdir(parents=True, exist_ok=True)
        (platform.workspace / "objects" / "shards" / "a.tar").write_bytes(b"pictures")
        take(platform.workspace, StorageSettings(), tmp_path / "backup")
    return tmp_path / "backup"


def damage_an_object(backup: Path) -> None:
    (backup / "objects" / "shards" / "a.tar").write_bytes(b"pictured")


def damage_rows(backup: Path) -> None:
    path = backup / "rows" / "controller.sqlite"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def lose_an_object(backup: Path) -> None:
    (backup / "objects" / "shards" / "a.tar").unlink()


def interrupt(backup: Path) -> None:
    (backup / ABOUT).unlink()


def come_from_the_future(backup: Path) -> None:
    told = json.loads((backup / ABOUT).read_text())
    (backup / ABOUT).write_text(json.dumps({**told, "format": 2}))


def shorten_the_list(backup: Path) -> None:
    (backup / "objects.jsonl").write_text("")


@pytest.mark.parametrize(
    "spoil",
    [damage_an_object, damage_rows, lose_an_object, interrupt, come_from_the_future,
     shorten_the_list],
)  # fmt: skip
def test_a_spoilt_backup_makes_no_platform(
    backup: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """No rows are restored, so nothing can be taken for a whole platform."""
    spoil(backup)
    with pytest.raises(BackupError):
        restore(tmp_path / "new", StorageSettings(), backup)
    assert not (tmp_path / "new" / "db").exists()


def test_a_platform_that_runs_is_not_restored_into(backup: Path, tmp_path: Path) -> None:
    with Standalone(tmp_path / "runs") as platform, pytest.raises(WorkspaceBusy):
        restore(platform.workspace, StorageSettings(), backup, overwrite=True)


def test_a_database_in_use_is_not_restored_into(
    backup: Path, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_DATABASE_URL", postgres_url)
    with Standalone(tmp_path / "a"):
        take(tmp_path / "a", StorageSettings(), tmp_path / "of-postgres")
        with pytest.raises(BackupError, match="sessions are open"):
            restore(tmp_path / "b", StorageSettings(), tmp_path / "of-postgres", overwrite=True)


def test_a_backup_goes_back_into_its_own_kind_of_database(
    backup: Path, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_DATABASE_URL", postgres_url)
    with pytest.raises(BackupError, match="unset VILA2_DATABASE_URL"):
        restore(tmp_path / "new", StorageSettings(), backup)


def test_all_databases_are_copied_as_of_one_moment(tmp_path: Path) -> None:
    """A writer counts in one file and then in the other: never are they two apart."""
    names = [one.service for one in all_migrations()][:2]
    folder, ending = tmp_path / "db", threading.Event()
    folder.mkdir()
    for name in names:
        with sqlite3.connect(folder / f"{name}.sqlite") as made:
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("CREATE TABLE count (n INTEGER, filling BLOB)")
            made.execute("INSERT INTO count VALUES (0, zeroblob(3000000))")

    def write() -> None:
        held = [sqlite3.connect(folder / f"{n}.sqlite", timeout=30) for n in names]
        while not ending.is_set():
            for one in held:
                with one:
                    one.execute("UPDATE count SET n = n + 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for attempt in range(10):
            target = tmp_path / f"copy-{attempt}"
            rows_sqlite.save(folder, all_migrations()[:2], target)
            first, second = (
                sqlite3.connect(target / f"{n}.sqlite").execute("SELECT n FROM count").fetchone()[0]
                for n in names
            )
            assert first - second in (0, 1)
    finally:
        ending.set()
        writer.join()


def test_a_checkpoint_that_is_being_written_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one and half of the next would be taken for a whole one."""
    from services.standalone.backup import contents

    with Standalone(tmp_path / "w") as platform:
        slot = platform.workspace / "training" / "jobs" / "job-1" / "checkpoint" / "a"
    slot.mkdir(parents=True)
    (slot / "manifest.json").write_text("0")
    copied = contents._copied

    def and_write(workspace: Path, name: Path, place: Place) -> Any:
        made = copied(workspace, name, place)
        if name.name == "manifest.json":
            (slot / "manifest.json").write_text(
                "1" * (len((slot / "manifest.json").read_text()) + 1)
            )
        return made

    monkeypatch.setattr(contents, "_copied", and_write)
    assert operations.back_up(tmp_path / "w", tmp_path / "backup") == 0
    assert "job-1/checkpoint/a" in capsys.readouterr().out
    assert not list((tmp_path / "backup" / "files").rglob("manifest.json"))


def test_two_commands_do_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Standalone(tmp_path / "lost") as platform:
        key = platform.key
    there = ["--workspace", str(tmp_path / "lost")]
    assert serve.main(["--backup", str(tmp_path / "backup"), *there]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in (*TARGETS, "identity"))
    shutil.rmtree(tmp_path / "lost")
    assert serve.main(["--restore", str(tmp_path / "backup"), *there]) == 0
    assert (tmp_path / "lost" / "key").read_text().strip() == key
    assert serve.main(["--restore", str(tmp_path / "backup"), *there]) == 1
    assert "--overwrite" in capsys.readouterr().err
