"""The dataset store's long-lived objects."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import Sources
from services.chassis.telemetry.health_gauges import Watch
from services.chassis.work.queue import Queue
from services.chassis.work.team_share import TeamShare
from services.chassis.work.units import WorkUnits
from services.chassis.work.worker import Worker
from services.datasets.governance.audits import AUDIT_TASK, Audits
from services.datasets.governance.deletion_steps import DeletionSweep
from services.datasets.governance.deletions import DELETION_TASK, Deletions
from services.datasets.governance.exports import Exports
from services.datasets.governance.garbage import GarbageCollection
from services.datasets.governance.history import History
from services.datasets.governance.quotas import Storage
from services.datasets.governance.takedowns import TAKEDOWN_TASK, Takedowns
from services.datasets.governance.usage import StorageUse
from services.datasets.layers.imports import LayerImports
from services.datasets.layers.layers import Layers
from services.datasets.layers.lineage import Reading
from services.datasets.settings import DatasetsSettings
from services.datasets.tables import WorkUnitRow
from services.datasets.versions.exclusion import Exclusions
from services.datasets.versions.exclusion_shards import EXCLUSION_TASK, ExclusionShards
from services.datasets.versions.in_place import InPlace
from services.datasets.versions.incoming import Incoming
from services.datasets.versions.ingest import INGEST_TASK, Ingest
from services.datasets.versions.uploads import Uploads
from services.datasets.versions.versions import Versions
from vila2.client import Client
from vila2.data.fetch import FetchPolicy
from vila2.schemas.rest.identity import DAY, Limits


class DatasetsContext:
    """Built once per process; `start` begins ingests, audits, take-downs and deletions.

    `spool` is a folder for incoming uploads; `limits` returns a team's limits.
    """

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        queue: Queue,
        platform: Callable[[str], Client],
        sources: Sources,
        spool: Path,
        fetching: FetchPolicy | None = None,
        limits: Callable[[str], Limits] = lambda _: Limits(),
        settings: DatasetsSettings | None = None,
    ) -> None:
        settings = settings or DatasetsSettings()
        self.database = database
        self.objects = objects
        self.spool = spool
        spool.mkdir(parents=True, exist_ok=True)
        self.units = WorkUnits(database, WorkUnitRow)
        self.storage = Storage(database, limits)
        self.versions = Versions(
            database, self.units, sources, self.storage, most_waiting=settings.team_ingests
        )
        self.uploads = Uploads(database, objects, self.storage)
        self.layers = Layers(database, objects)
        self.imports = LayerImports(database, objects, self.layers)
        self.reading = Reading(database, objects, platform)
        self.exports = Exports(database)
        self.history = History(database)
        self.audits = Audits(database, objects, self.units)
        self.takedowns = Takedowns(database, objects, self.units, self.layers, platform)
        self.deletions = Deletions(database, self.units, platform)
        self.exclusions = Exclusions(
            database, objects, self.units, versions=self.versions, storage=self.storage
        )
        self.usage = StorageUse(database, objects, self.storage)
        self.garbage = GarbageCollection(database, objects, self.deletions)
        ingest = Ingest(
            database,
            objects,
            self.units,
            incoming=Incoming(database, objects, fetching or FetchPolicy(), settings.bounds),
            in_place=InPlace(sources),
            uploads=self.uploads,
        )
        exclusion = ExclusionShards(database, objects, self.units)
        # Take-downs are not held back by anything.
        share = TeamShare(settings.ingest_workers - 1)
        self.worker = Worker(
            self.units,
            queue,
            {
                INGEST_TASK: share.of(ingest.run),
                EXCLUSION_TASK: share.of(exclusion.run),
                AUDIT_TASK: share.of(self.audits.run),
                TAKEDOWN_TASK: self.takedowns.run,
                DELETION_TASK: share.of(DeletionSweep(database, objects, self.units).run),
            },
        )
        self.watch = Watch("datasets", units=self.units, objects=objects)

    def start(self) -> None:
        """Start background work, including work left by an earlier process."""
        self.uploads.sweep()
        _remove_old(self.spool)
        self.worker.start()
        self.watch.start()

    def check(self) -> None:
        """Raise the database's error if requests that change something would fail."""
        self.database.check()

    def stop(self) -> None:
        """Stop working and close the database."""
        self.watch.stop()
        self.worker.stop()
        self.database.close()


def _remove_old(spool: Path) -> None:
    """Remove old files of killed processes; newer ones may still be in use by others."""
    for left in spool.iterdir():
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - DAY:
                left.unlink()
