"""Copying objects and the workspace's own files, each with its digest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.chassis.objects import ObjectStore
from services.standalone.backup.record import FILES, OBJECTS, Kept, Place, kept_as

_THREADS = 8
# What a workspace holds beside its databases and objects: keys, the operator's list of sources, and
# the folders of jobs. Caches, logs and locks are made again.
_TOP = ("key", "service-key", "pepper", "keys.json", "sources.yaml")
_JOBS = Path("training") / "jobs"
_TRIES = 3


def save_objects(store: ObjectStore, place: Place, held: dict[str, Kept]) -> None:
    """Copy the objects that `held` lacks, and say there what was copied."""
    wanted = [key for key in store.keys() if key not in held]  # noqa: SIM118

    def one(key: str) -> Kept | None:
        path = place.folder / OBJECTS / key
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.fetch(key, path)
        except KeyError:
            return None  # deleted since it was listed
        return kept_as(key, path)

    with ThreadPoolExecutor(_THREADS) as threads:
        held |= {kept.name: kept for kept in threads.map(one, wanted) if kept is not None}


def restore_objects(place: Place, store: ObjectStore) -> int:
    """Put every object where it was, once its digest has been checked; how many."""

    def one(kept: Kept) -> None:
        store.put_file(kept.name, place.checked(OBJECTS, kept))

    with ThreadPoolExecutor(_THREADS) as threads:
        return sum(1 for _ in threads.map(one, place.listed(OBJECTS)))


def save_files(workspace: Path, place: Place) -> tuple[list[Kept], list[str]]:
    """Copy keys and job folders; what was copied, and folders that never stood still."""
    kept = [_copied(workspace, Path(name), place) for name in _TOP if (workspace / name).is_file()]
    left_out: list[str] = []
    jobs = workspace / _JOBS
    for folder in _folders(jobs):
        found = _whole(workspace, folder, place, still=folder.parent != jobs)
        if found is None:
            left_out.append(folder.relative_to(workspace).as_posix())
        else:
            kept += found
    return kept, left_out


def restore_files(place: Place, workspace: Path) -> int:
    """Put every file where it was; how many."""
    count = 0
    for kept in place.listed(FILES):
        target = workspace / kept.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(place.checked(FILES, kept), target)
        count += 1
    return count


def _folders(jobs: Path) -> Iterator[Path]:
    """Each job's folder and those below it."""
    if jobs.is_dir():
        for folder in sorted(jobs.rglob("*")):
            if folder.is_dir():
                yield folder


def _whole(workspace: Path, folder: Path, place: Place, *, still: bool) -> list[Kept] | None:
    """A folder's files; of a checkpoint or a model (`still`) only as they were all at once."""
    for _ in range(_TRIES):
        before = _signature(folder)
        made = []
        for name, _, _ in before:
            try:
                made.append(_copied(workspace, folder.relative_to(workspace) / name, place))
            except FileNotFoundError:
                continue
        if not still or _signature(folder) == before:
            return made
        shutil.rmtree(place.folder / FILES / folder.relative_to(workspace), ignore_errors=True)
        time.sleep(1.0)
    return None


def _signature(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink():
                held = path.stat()
                found.append((path.name, held.st_size, held.st_mtime_ns))
    return found


def _copied(workspace: Path, name: Path, place: Place) -> Kept:
    target = place.folder / FILES / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(workspace / name, target)
    return kept_as(name.as_posix(), target)
