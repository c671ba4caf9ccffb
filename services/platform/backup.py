"""Steps of deploy/backup.sh and deploy/restore.sh that need the platform's settings.

python -m services.platform.backup FOLDER STEP ...
"""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from sqlalchemy import create_engine, inspect, make_url

from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from services.platform.databases import all_migrations

# Files of a workspace, besides databases and objects, that cannot be recreated.
_KEYS = ("key", "service-key", "pepper", "keys.json", "sources.yaml")
_JOBS = Path("training", "jobs")


def save_objects(store: ObjectStore, folder: Path) -> None:
    """Copy every object that is missing from the folder."""

    def save(key: str) -> None:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        with suppress(KeyError):  # deleted since it was listed
            store.fetch(key, folder / key)

    _each(save, (key for key in store.keys() if not (folder / key).exists()))  # noqa: SIM118


def _each(work: Callable[[str], None], keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, keys))


def save_rows(databases: Path, folder: Path) -> None:
    """Copy all SQLite files as one consistent snapshot; writers wait until it is complete."""
    folder.mkdir()
    with ExitStack() as locked:
        for path in (paths := sorted(databases.glob("*.sqlite"))):
            writer = sqlite3.connect(path, timeout=60, isolation_level=None)
            locked.enter_context(closing(writer)).execute("BEGIN IMMEDIATE")
        for path in paths:
            source, copy = sqlite3.connect(path), sqlite3.connect(folder / path.name)
            with closing(source), closing(copy):
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")


def save_files(workspace: Path, folder: Path) -> None:
    """Copy keys and job folders, but no checkpoint that changes during the copy.

    A mixture of two checkpoints could pass for a complete one. Skipped folders are printed.
    """
    folder.mkdir()
    for name in _KEYS:
        with suppress(FileNotFoundError):
            shutil.copy2(workspace / name, folder / name)
    # A job's folder is copied before its subfolders: if its status is "done", so is its model.
    for source in sorted(path for path in (workspace / _JOBS).rglob("*") if path.is_dir()):
        target = folder / source.relative_to(workspace)
        target.mkdir(parents=True)
        for name in (names := _files(source)):
            with suppress(FileNotFoundError):
                shutil.copy2(source / name, target / name)
        names |= _files(source)
        same, _, _ = filecmp.cmpfiles(source, target, names)
        if source.parent != workspace / _JOBS and len(same) < len(names):
            shutil.rmtree(target)
            sys.stdout.write(f"skipped, because it changed during the copy: {source}\n")


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*") if path.is_file() and not path.is_symlink()}


def take(step: str, folder: Path) -> None:
    """Run one step with the settings of the environment; `folder` holds the backup.

    `address` prints shell assignments to connect to PostgreSQL. `check` exits with an error if
    there is a platform already. The others save or restore objects, files and SQLite databases.
    """
    workspace, settings = Path(os.environ.get("VILA2_WORKSPACE", ".vila2")), StorageSettings()
    url, rows = settings.database_url.get_secret_value(), workspace / "db"
    if step == "address" and url:  # for `eval`: arguments with a password would be in `ps`
        address = make_url(url).set(drivername="postgresql")
        sys.stdout.write(f"url={shlex.quote(str(address._replace(password=None)))}\n")
        sys.stdout.write(f"export PGPASSWORD={shlex.quote(address.password or '')}\n")
    elif step == "check":
        found = inspect(create_engine(url)).get_schema_names() if url else []
        found += [path.stem for path in rows.glob("*.sqlite")]
        if used := {each.service for each in all_migrations()} & set(found):
            sys.exit(f"error: there is a platform already, with data of {', '.join(sorted(used))}")
    elif step == "save-objects":
        store = settings.objects(workspace, sources_of(workspace), create=False)
        save_objects(store, folder / "objects")
    elif step == "save-rows":
        save_rows(rows, folder / "rows")
    elif step == "save-files":
        save_files(workspace, folder / "files")
    elif step == "put-objects":  # an existing object has the same content
        store = settings.objects(workspace, sources_of(workspace))
        _each(lambda key: store.put_file(key, folder / "objects" / key), sys.stdin.read().split())
    elif step == "put-files":
        shutil.copytree(folder / "files", workspace, dirs_exist_ok=True)
    elif step == "put-rows":
        shutil.copytree(folder / "rows", workspace / "db.partial", dirs_exist_ok=True)
        (workspace / "db.partial").rename(rows)


if __name__ == "__main__":
    for each in sys.argv[2:]:
        take(each, Path(sys.argv[1]))
