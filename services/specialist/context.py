"""The specialist service's long-lived objects."""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.storage.database import Database
from services.chassis.telemetry.health_gauges import Watch
from services.chassis.work.loop import Loop
from services.specialist.specialists import Specialists
from vila2.client import Client


class SpecialistContext:
    """Built once per process; `start` begins advancing specialists."""

    def __init__(self, *, database: Database, platform: Callable[[str], Client]) -> None:
        self._database = database
        self.specialists = Specialists(database, platform)
        self.loop = Loop("specialists", self.specialists.tick, seconds=1.0)
        self.watch = Watch("specialist", self.specialists.measure)

    def start(self) -> None:
        """Start advancing every specialist, including those of an earlier process."""
        self.loop.start()
        self.watch.start()

    def check(self) -> None:
        """Raise the database's error if requests that change something would fail."""
        self._database.check()

    def stop(self) -> None:
        """Stop and close the database."""
        self.watch.stop()
        self.loop.stop()
        self._database.close()
