"""The controller's long-lived objects."""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.storage.database import Database
from services.chassis.telemetry.health_gauges import Watch
from services.chassis.work.loop import Loop
from services.controller.estimates.service import Estimates
from services.controller.leadership import Leadership
from services.controller.loop.reconciler import Reconciler
from services.controller.report.report import Reports
from services.controller.runs.event_relay import EventRelay, EventSink, LogSink
from services.controller.runs.gauges import measure
from services.controller.runs.runs import Runs
from vila2.client import Client


class ControllerContext:
    """Built once per process; `start` begins reconciling, in one of several processes at a time."""

    def __init__(
        self,
        *,
        database: Database,
        platform: Callable[[str], Client],
        sink: EventSink | None = None,
    ) -> None:
        self._database = database
        self.platform = platform
        self.runs = Runs(database)
        self.estimates = Estimates(database)
        self.reports = Reports(self.runs, self.estimates)
        self.leadership = Leadership(database)
        self.reconciler = Reconciler(self.runs, platform, self.leadership.lead)
        self.relay = EventRelay(database, sink or LogSink())
        self._relay_loop = Loop("event-relay", self._publish, seconds=1.0)
        self.watch = Watch("controller", lambda: measure(database))

    def _publish(self) -> None:
        if self.leadership.lead():
            self.relay.tick()

    def start(self) -> None:
        """Start reconciling every run that has not ended."""
        self.reconciler.loop.start()
        self._relay_loop.start()
        self.watch.start()

    def check(self) -> None:
        """Raise the database's error if requests that change something would fail."""
        self._database.check()

    def stop(self) -> None:
        """Stop and close the database; runs resume at the next start."""
        self.watch.stop()
        self.reconciler.loop.stop()
        self._relay_loop.stop()
        self.leadership.resign()
        self._database.close()
