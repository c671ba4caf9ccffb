"""A service's own eye on its tables and its object store, for /metrics.

It looks in a loop of its own, never in a scrape: a database that hangs then leaves the metrics of
everything else as they are, and says so by `vila2_looked_timestamp_seconds` standing still.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from services.chassis.storage.objects import ObjectStore
from services.chassis.telemetry.metrics import (
    DATABASE_UP,
    LEASE_AGE,
    LOOKED_AT,
    OBJECTS_UP,
    QUEUE_AGE,
)
from services.chassis.work.loop import Loop
from services.chassis.work.units import WorkUnits

_log = structlog.get_logger()
SECONDS = 5.0
_NOWHERE = "watch/nothing"  # probed but never written: "absent" shows that the store answers


class Watch:
    """Calls `look`, which sets gauges from a service's tables; also measures `units` if given."""

    def __init__(
        self,
        service: str,
        look: Callable[[], None] = lambda: None,
        *,
        units: WorkUnits | None = None,
        objects: ObjectStore | None = None,
    ) -> None:
        self._service, self._look = service, look
        self._units, self._objects = units, objects
        self._tables = Loop(f"watch-{service}", self.look_at_tables, seconds=SECONDS)
        # In its own loop, since an unresponsive store blocks.
        self._store = Loop(f"watch-{service}-objects", self.look_at_objects, seconds=3 * SECONDS)

    def start(self) -> None:
        """Start the loops."""
        self._tables.start()
        if self._objects is not None:
            self._store.start()

    def stop(self) -> None:
        """Stop after the current iteration."""
        self._tables.stop()
        self._store.stop()

    def look_at_tables(self) -> None:
        """Update the gauges once; an unresponsive database is recorded as down."""
        try:
            self._look()
            if self._units is not None:
                ages = self._units.ages()
                QUEUE_AGE.labels(self._service).set(ages.oldest_claimable)
                LEASE_AGE.labels(self._service).set(ages.oldest_lease)
        except Exception as error:
            DATABASE_UP.labels(self._service).set(0)
            _log.warning("tables cannot be looked at", service=self._service, error=_short(error))
            return
        DATABASE_UP.labels(self._service).set(1)
        LOOKED_AT.labels(self._service).set_to_current_time()

    def look_at_objects(self) -> None:
        """Probe the object store once."""
        assert self._objects is not None
        try:
            self._objects.exists(_NOWHERE)
        except Exception as error:
            OBJECTS_UP.labels(self._service).set(0)
            _log.warning("object store does not answer", service=self._service, error=_short(error))
            return
        OBJECTS_UP.labels(self._service).set(1)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
