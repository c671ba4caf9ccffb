"""The controller's long-lived objects."""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.database import Database
from services.controller.estimates.store import Estimates
from services.controller.reconciler import Reconciler
from services.controller.reports import Reports
from services.controller.runs import Runs
from vila2.client import Client


class ControllerContext:
    """Built once per process; `start` begins reconciling."""

    def __init__(self, *, database: Database, platform: Callable[[str], Client]) -> None:
        self._database = database
        self.platform = platform
        self.runs = Runs(database)
        self.reports = Reports(self.runs)
        self.estimates = Estimates(database)
        self.reconciler = Reconciler(self.runs, platform)

    def start(self) -> None:
        """Take up every run that is not over."""
        self.reconciler.loop.start()

    def stop(self) -> None:
        """Stop and close the database; runs go on when somebody starts again."""
        self.reconciler.loop.stop()
        self._database.close()
