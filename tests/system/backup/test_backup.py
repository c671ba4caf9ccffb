"""A platform that was lost exists again, and its runs continue to the same end."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.platform import backup as steps
from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import images, submitted
from tests.support.runs.outcome import outcome
from tests.support.runs.stepped_platform import SteppedPlatform, start, workspace
from tests.support.waiting import until
from tests.system.backup.conftest import Site, Sites, small_recipe
from vila2.schemas.rest.datasets import DatasetIn, VersionIn


@pytest.mark.slow
def test_a_run_continues_from_a_backup_to_the_same_end(
    sites: Sites, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """Taken in the middle of captioning, while the platform works; restored elsewhere."""
    before, after = sites("before"), sites("after")
    before.use()
    before = replace(before, workspace=workspace(tmp_path / "made"))
    with SteppedPlatform(before.workspace) as stepped:
        run = start(stepped, small_recipe(), token="the-run")
        stepped.until(run, "round 1", "captioning")
        stepped.controller.reconciler.tick()
        before.back_up(tmp_path / "backup")
        for _ in range(6):  # the platform that is lost goes on
            stepped.turn()
    after.use()
    after.restore(tmp_path / "backup")
    with SteppedPlatform(after.workspace) as stepped:
        assert start(stepped, small_recipe(), token="the-run") == run
        until(stepped.controller.leadership.lead)  # the lease of the lost platform came along
        ended = stepped.finish(run)
        assert ended.state == "finished", ended.error
        assert outcome(stepped.client, run) == undisturbed


def test_keys_are_as_valid_as_before(sites: Sites, tmp_path: Path) -> None:
    before, after = sites("before"), sites("after")
    before.use()
    with EmbeddedPlatform(before.workspace) as platform:
        key = platform.key
        before.back_up(tmp_path / "backup")
    after.use()
    after.restore(tmp_path / "backup")
    with EmbeddedPlatform(after.workspace) as platform:
        assert platform.key == key
    assert (after.workspace / "key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


def test_new_rows_do_not_take_the_numbers_of_restored_ones(sites: Sites, tmp_path: Path) -> None:
    """In PostgreSQL numbers come from sequences."""
    before, after = sites("before"), sites("after")
    before.use()
    with EmbeddedPlatform(before.workspace) as platform:
        platform.client.datasets.create(DatasetIn(name="one", kind="pairs"))
        platform.client.datasets.open_version("one", VersionIn())
        before.back_up(tmp_path / "backup")
    after.use()
    after.restore(tmp_path / "backup")
    with EmbeddedPlatform(after.workspace) as platform:
        platform.client.datasets.create(DatasetIn(name="two", kind="pairs"))
        made = platform.client.datasets.open_version("two", VersionIn())
        assert made.version == 1


def test_a_platform_that_exists_is_not_overwritten(sites: Sites, tmp_path: Path) -> None:
    site, other = sites("there"), sites("other")
    other.use()
    with EmbeddedPlatform(other.workspace):
        other.back_up(tmp_path / "backup")
    site.use()
    with EmbeddedPlatform(site.workspace) as platform:
        assert "there is a platform already" in site.refuses(tmp_path / "backup")
        assert (site.workspace / "key").read_text().strip() == platform.key


def test_a_lost_shard_is_restored_by_its_digest(sites: Sites, tmp_path: Path) -> None:
    """And its index by its own, while the platform runs; nothing else changes."""
    site = sites("there")
    site.use()
    with EmbeddedPlatform(site.workspace) as platform:
        submitted(platform.client, images(tmp_path / "in"), name="foxes", shard_samples=2)
        held = list(site.objects.keys("shards")) + list(site.objects.keys("indexes"))
        site.back_up(tmp_path / "backup")
        for key in held:
            site.objects.delete(key)
        lost = next(iter(platform.client.datasets.shards("foxes", 1)))
        index = next(key for key in held if key.startswith("indexes/") and "/000000-" in key)
        for name in (lost.sha256, index.partition("-")[2]):
            site.restore(tmp_path / "backup", name)
        found = list(site.objects.keys("shards")) + list(site.objects.keys("indexes"))
        assert sorted(found) == sorted([next(k for k in held if lost.sha256 in k), index])


def test_a_lost_layer_is_restored_by_its_id(sites: Sites, tmp_path: Path) -> None:
    site = sites("there")
    layers = ["layers/layer-1/000000-7.parquet", "layers/layer-1/manifest.json",
              "layers/layer-2/manifest.json"]  # fmt: skip
    for key in layers:
        site.objects.put(key, key.encode())
    site.back_up(tmp_path / "backup")
    for key in layers:
        site.objects.delete(key)
    site.restore(tmp_path / "backup", "layer-1")
    assert list(site.objects.keys("layers")) == layers[:2]
    assert site.objects.get(layers[0]) == layers[0].encode()


@pytest.fixture(scope="module")
def taken_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a workspace with one object."""
    folder = tmp_path_factory.mktemp("taken-once")
    site = Site(folder / "lost", {}, lambda: None)
    with EmbeddedPlatform(site.workspace):
        site.objects.put("shards/a.tar", b"images")
        site.back_up(folder / "backup")
    return folder / "backup"


@pytest.fixture
def backup(taken_once: Path, tmp_path: Path) -> Path:
    """The same for each test, which may damage it."""
    return shutil.copytree(taken_once, tmp_path / "backup")


def damage_an_object(backup: Path) -> None:
    (backup / "objects" / "shards" / "a.tar").write_bytes(b"imaged")


def damage_rows(backup: Path) -> None:
    path = backup / "rows" / "controller.sqlite"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def lose_an_object(backup: Path) -> None:
    (backup / "objects" / "shards" / "a.tar").unlink()


def interrupt(backup: Path) -> None:
    (backup / "SHA256SUMS").unlink()


def shorten_the_list(backup: Path) -> None:
    sums = backup / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    "spoil", [damage_an_object, damage_rows, lose_an_object, interrupt, shorten_the_list]
)
def test_a_damaged_backup_makes_no_platform(
    embedded: Sites, backup: Path, spoil: Callable[[Path], None]
) -> None:
    """No rows are restored, so nothing can be taken for a whole platform."""
    spoil(backup)
    assert embedded("new").refuses(backup)
    assert not (embedded("new").workspace / "db").exists()


def test_a_damaged_object_is_not_restored(embedded: Sites, backup: Path) -> None:
    damage_an_object(backup)
    assert "did NOT match" in embedded("new").refuses(backup, "a.tar")
    assert not list(embedded("new").objects.keys())


def test_a_name_that_no_object_has_is_an_error(embedded: Sites, backup: Path) -> None:
    assert "no object has b.tar" in embedded("new").refuses(backup, "b.tar")


@pytest.mark.server
def test_a_backup_goes_back_into_its_own_kind_of_database(distributed: Sites, backup: Path) -> None:
    assert "unset VILA2_DATABASE_URL" in distributed("new").refuses(backup)


def test_a_backup_needs_an_empty_folder(embedded: Sites, backup: Path) -> None:
    """Objects of two backups would be mixed."""
    assert "is not empty" in embedded("lost").run("backup.sh", backup).stderr


@pytest.mark.server
def test_a_backup_without_rows_is_not_whole(distributed: Sites, tmp_path: Path) -> None:
    site = distributed("there")
    site.objects.put("shards/a.tar", b"images")
    assert site.run("backup.sh", tmp_path / "backup", PG_DUMP="false").returncode != 0
    assert not (tmp_path / "backup" / "SHA256SUMS").exists()


@pytest.mark.server
def test_objects_are_copied_before_and_after_the_rows(
    distributed: Sites, embedded: Sites, tmp_path: Path
) -> None:
    """One that is deleted, and one that is written, while the rows are dumped."""
    site, dump = embedded("there"), tmp_path / "dump"
    site.objects.put("uploads/old", b"old")
    dump.write_text(f"#!/bin/sh\ncd {site.workspace}/objects/uploads\nrm old\necho new >new\n")
    dump.chmod(0o755)
    database = distributed("database").settings["VILA2_DATABASE_URL"]
    done = site.run("backup.sh", tmp_path / "backup", PG_DUMP=dump, VILA2_DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    copied = tmp_path / "backup" / "objects" / "uploads"
    assert sorted(path.name for path in copied.iterdir()) == ["new", "old"]


def test_all_databases_are_copied_as_of_one_moment(tmp_path: Path) -> None:
    """A writer counts in one file and then in the other: the copies are at most one apart."""
    folder, ending = tmp_path / "db", threading.Event()
    paths = [folder / "a.sqlite", folder / "b.sqlite"]
    folder.mkdir()
    for path in paths:
        with sqlite3.connect(path) as made:
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("CREATE TABLE count (n INTEGER, filling BLOB)")
            made.execute("INSERT INTO count VALUES (0, zeroblob(3000000))")

    def write() -> None:
        opened = [sqlite3.connect(path, timeout=30) for path in paths]
        while not ending.is_set():
            for one in opened:
                with one:
                    one.execute("UPDATE count SET n = n + 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for attempt in range(10):
            target = tmp_path / f"copy-{attempt}"
            steps.save_rows(folder, target)
            first, second = (
                sqlite3.connect(target / path.name).execute("SELECT n FROM count").fetchone()[0]
                for path in paths
            )
            assert first - second in (0, 1)
    finally:
        ending.set()
        writer.join()


def test_a_checkpoint_that_is_being_written_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said so; the other one of the job is copied."""
    job = tmp_path / "w" / "training" / "jobs" / "job-1"
    for slot in ("a", "b"):
        (job / "checkpoint" / slot).mkdir(parents=True)
        (job / "checkpoint" / slot / "manifest.json").write_text("0")
    copy = shutil.copy2

    def copy_while_a_is_written(source: Path, target: Path) -> None:
        copy(source, target)
        if source.parent.name == "a":
            source.write_text("the next")

    monkeypatch.setattr(shutil, "copy2", copy_while_a_is_written)
    steps.save_files(tmp_path / "w", tmp_path / "files")
    assert "job-1/checkpoint/a" in capsys.readouterr().out
    copied = (tmp_path / "files").rglob("manifest.json")
    assert [path.parent.name for path in copied] == ["b"]


def test_the_password_of_the_database_is_not_among_the_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever characters it has: the shell and libpq get what was meant."""
    url = "postgresql+psycopg://me:it%27s%20%40%25@db:5433/vila2?sslmode=require"
    monkeypatch.setenv("VILA2_DATABASE_URL", url)
    steps.take("address", Path())
    script = f'{capsys.readouterr().out}\nprintf "%s|%s" "$url" "$PGPASSWORD"'
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert told == "postgresql://me@db:5433/vila2?sslmode=require|it's @%"
