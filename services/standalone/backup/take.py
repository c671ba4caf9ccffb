"""Take a backup while the platform runs."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

from services.chassis.settings import StorageSettings
from services.chassis.sources import sources_of
from services.standalone.backup import rows_postgres, rows_sqlite
from services.standalone.backup.contents import save_files, save_objects
from services.standalone.backup.record import FILES, OBJECTS, ROWS, Backup, BackupError, Kept, Place
from services.standalone.databases import all_migrations


def take(workspace: Path, storage: StorageSettings, target: Path) -> Backup:
    """Write rows, objects and files into the folder `target`, which must be empty.

    The objects are copied twice, before and after the rows: what an ingest or a take-down deletes
    meanwhile is in the first copy, what was just written in the second, which is short.
    """
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target} is not empty: name another folder for each backup")
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o700)  # keys and everybody's data lie in it
    place, migrations = Place(target), all_migrations()
    store = storage.objects(workspace, sources_of(workspace), create=False)
    objects: dict[str, Kept] = {}
    save_objects(store, place, objects)
    url = storage.database_url.get_secret_value()
    if url:
        schemas = rows_postgres.save(url, migrations, target / ROWS)
    else:
        schemas = rows_sqlite.save(workspace / "db", migrations, target / ROWS)
    save_objects(store, place, objects)
    files, left_out = save_files(workspace, place)
    place.list(OBJECTS, [objects[key] for key in sorted(objects)])
    place.list(FILES, files)
    about = Backup(
        version=version("vila2"),
        made_at=time.time(),
        database="postgresql" if url else "sqlite",
        schemas=schemas,
        objects=len(objects),
        files=len(files),
        left_out=left_out,
    )
    place.write(about)
    return about
