"""Make a platform of a backup: objects and files first, the rows that name them last."""

from __future__ import annotations

from pathlib import Path

from services.chassis.settings import StorageSettings
from services.chassis.sources import sources_of
from services.standalone.app import lock_workspace
from services.standalone.backup import rows_postgres, rows_sqlite
from services.standalone.backup.contents import restore_files, restore_objects
from services.standalone.backup.record import ROWS, Backup, BackupError, Place
from services.standalone.databases import all_migrations


def restore(
    workspace: Path, storage: StorageSettings, source: Path, *, overwrite: bool = False
) -> Backup:
    """Fill the databases, the object store and the workspace that the settings name.

    Raises `BackupError` where there is something already, unless told to `overwrite`, and where a
    file of the backup is not what was written. A restore that was interrupted is begun again with
    `overwrite`.
    """
    place, migrations = Place(source), all_migrations()
    about, url = place.read(), storage.database_url.get_secret_value()
    kind = "postgresql" if url else "sqlite"
    if about.database != kind:
        raise BackupError(
            f"the backup is of {about.database}, and the settings name {kind}: "
            f"{'unset' if url else 'set'} VILA2_DATABASE_URL"
        )
    unknown = {schema.service for schema in about.schemas} - {one.service for one in migrations}
    if unknown:
        raise BackupError(
            f"this version knows no service {', '.join(unknown)}: restore with {about.version}"
        )
    workspace.mkdir(parents=True, exist_ok=True)
    with lock_workspace(workspace):
        store = storage.objects(workspace, sources_of(workspace))
        there = rows_postgres.used(url, migrations) if url else []
        there += list(rows_sqlite.paths(workspace / "db", migrations))
        full = [f"the database of {name}" for name in there]
        full += ["the object store"] if next(store.keys(), None) is not None else []
        if full and not overwrite:
            raise BackupError(
                f"there is a platform already ({', '.join(full)}): restore into an empty one, or "
                "give --overwrite to lose what is there"
            )
        for schema in about.schemas:  # before anything is touched
            for kept in (schema.kept, *(table.kept for table in schema.tables)):
                if kept is not None:
                    place.checked(ROWS, kept)
        objects, files = restore_objects(place, store), restore_files(place, workspace)
        if (objects, files) != (about.objects, about.files):
            raise BackupError(f"{source} lists {objects} objects and {files} files, and should "
                              f"{about.objects} and {about.files}")  # fmt: skip
        if url:
            rows_postgres.restore(url, about.schemas, migrations, source / ROWS)
        else:
            for schema in about.schemas:
                rows_sqlite.restore(
                    schema, source / ROWS / f"{schema.service}.sqlite", workspace / "db"
                )
    return about
