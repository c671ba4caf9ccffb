"""The relay: tells the world what happened to runs, after it has been committed.

Events go to a sink in the order of each run; one that fails is told again, so a reader may see an
event twice and knows it by (run, sequence). Without a broker the sink is the service's log.
"""

from __future__ import annotations

from typing import Any, Protocol

import structlog

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import EVENTS_PUBLISHED
from services.controller.runs.events import mark_published, unpublished

_log = structlog.get_logger()
STREAM = "vila2:run-events"
# A reader that is further behind than this reads the run's own list of events.
KEPT = 100_000


class EventSink(Protocol):
    """Where events go; raises where it cannot take one now."""

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        """Tell of one event; `body` is a `RunEvent` of proto/ as JSON."""


class LogSink:
    """Events as lines of the structured log."""

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        """One line."""
        _log.info("run event", run=run_id, sequence=sequence, body=body)


class RedisSink:
    """Events in a Redis stream (`XADD`), for whoever reads `vila2:run-events`."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis: Any = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        """One entry; the stream keeps about the newest hundred thousand."""
        fields = {"run": run_id, "sequence": sequence, "event": body}
        self._redis.xadd(STREAM, fields, maxlen=KEPT, approximate=True)


class EventRelay:
    """Publishes what the outbox holds; one per leader."""

    def __init__(self, database: Database, sink: EventSink) -> None:
        self._database, self._sink = database, sink

    def tick(self) -> int:
        """Publish what waits; returns how many."""
        with self._database.transaction() as session:
            waiting = unpublished(session)
        if not waiting:
            return 0
        for row in waiting:
            self._sink.publish(row.run_id, row.sequence, row.body)
        crashpoint("events.published")
        with self._database.transaction() as session:
            mark_published(session, waiting)
        EVENTS_PUBLISHED.inc(len(waiting))
        return len(waiting)
