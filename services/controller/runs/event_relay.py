"""The relay: publishes run events after they have been committed.

Events go to a sink in order within each run. Delivery is at least once: a reader may see an
event twice and deduplicates by (run, sequence). Without a broker the sink is the service's log.
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
# A reader further behind than this must read the run's event list instead.
KEPT = 100_000


class EventSink(Protocol):
    """Where events are published; raises if it cannot accept one now."""

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        """Publish one event; `body` is a `RunEvent` of proto/ as JSON."""


class LogSink:
    """Events as lines of the structured log."""

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        """Log the event as one line."""
        _log.info("run event", run=run_id, sequence=sequence, body=body)


class RedisSink:
    """Events in the Redis stream `vila2:run-events` (`XADD`)."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis: Any = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        """Append one entry; the stream keeps about the newest 100,000."""
        fields = {"run": run_id, "sequence": sequence, "event": body}
        self._redis.xadd(STREAM, fields, maxlen=KEPT, approximate=True)


class EventRelay:
    """Publishes what the outbox holds; one per leader."""

    def __init__(self, database: Database, sink: EventSink) -> None:
        self._database, self._sink = database, sink

    def tick(self) -> int:
        """Publish pending events; returns their number."""
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
