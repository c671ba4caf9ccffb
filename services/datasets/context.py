"""The dataset store's long-lived objects."""

from __future__ import annotations

from services.chassis.database import Database
from services.chassis.objects import ObjectStore
from services.chassis.queue import Queue
from services.chassis.work import WorkUnits
from services.chassis.worker import Worker
from services.datasets.ingest import INGEST_TASK, Ingest
from services.datasets.layers import Layers
from services.datasets.tables import WorkUnitRow
from services.datasets.versions import Versions


class DatasetsContext:
    """Built once per process; `start` begins ingest work."""

    def __init__(self, *, database: Database, objects: ObjectStore, queue: Queue) -> None:
        self.database = database
        self.objects = objects
        self.units = WorkUnits(database, WorkUnitRow)
        self.versions = Versions(database, objects, self.units)
        self.layers = Layers(database, objects)
        ingest = Ingest(database, objects, self.units)
        self.worker = Worker(self.units, queue, {INGEST_TASK: ingest.run})

    def start(self) -> None:
        """Take up ingest work, also what an earlier process left."""
        self.worker.start()

    def stop(self) -> None:
        """Stop working and close the database."""
        self.worker.stop()
        self.database.close()
