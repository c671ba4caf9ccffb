"""Leader election by a lease in the database; the other controllers stand by.

The lease avoids duplicate work and duplicate requests. Correctness does not depend on it: a
holder that outlives its lease fails its compare-and-set, and its requests to other services are
idempotent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.telemetry.metrics import LEADER, LEADERSHIPS
from services.controller.tables import LeaseRow

_log = structlog.get_logger()
LEASE_SECONDS = 15.0
ROLE = "reconciler"


class Leadership:
    """A claim to one role; `lead` acquires or renews it, or reports that another holds it."""

    def __init__(
        self,
        database: Database,
        *,
        role: str = ROLE,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._database, self._role, self._seconds = database, role, seconds
        # The row holds the database's time, which all processes share; the time since our
        # last request is measured with a monotonic clock.
        self._clock, self._since = clock, clock or time.monotonic
        # A restarted process is a new holder, even with the same id.
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.fence = 0
        self._until = 0.0
        self._asking = threading.Lock()

    def lead(self) -> bool:
        """Whether this process leads now; the lease is renewed once a third of it is over."""
        with self._asking:
            return self._lead(self._since())

    def _lead(self, now: float) -> bool:
        if now < self._until - self._seconds * 2 / 3:
            return True
        with self._database.transaction() as session:
            exclusively(session, f"lease:{self._role}")
            if session.get(LeaseRow, self._role) is None:
                session.add(LeaseRow(role=self._role, holder="", fence=0, until=0.0))
                session.flush()
            common = self._clock() if self._clock else self._database.time(session)
            fence = self._take(session, common)
        if fence is None:
            if self._until:
                _log.warning("leadership lost", role=self._role)
            self._until = 0.0
        else:
            if fence != self.fence:
                LEADERSHIPS.labels(self._role).inc()
                _log.info("leading", role=self._role, fence=fence)
            self.fence, self._until = fence, now + self._seconds
        LEADER.labels(self._role).set(fence is not None)
        return fence is not None

    def _take(self, session: Session, now: float) -> int | None:
        """Renew our lease or take an expired one; returns its fence, or `None`."""
        row = session.get_one(LeaseRow, self._role, with_for_update=True)
        fence = row.fence if row.holder == self.holder else row.fence + 1
        changed = session.execute(
            update(LeaseRow)
            .where(
                LeaseRow.role == self._role,
                or_(LeaseRow.holder == self.holder, LeaseRow.until < now),
            )
            .values(holder=self.holder, fence=fence, until=now + self._seconds)
        )
        return fence if changed.rowcount else None  # type: ignore[attr-defined]

    def resign(self) -> None:
        """Release the lease so that another process can lead immediately."""
        self._until = 0.0
        self._free(LeaseRow.holder == self.holder)

    def depose(self) -> None:
        """Clear the lease at startup of a single-process platform: its holder has exited."""
        self._free(LeaseRow.holder != "")

    def _free(self, whose: object) -> None:
        with self._database.transaction() as session:
            session.execute(
                update(LeaseRow)
                .where(LeaseRow.role == self._role, whose)  # type: ignore[arg-type]
                .values(until=0.0)
            )


def no_controller(database: Database) -> str:
    """Why nothing carries a running run on; empty if a controller holds the lease."""
    with database.reading() as session:
        lease = session.get(LeaseRow, ROLE)
        if lease is None or lease.until > database.time(session):
            return ""
        ended = datetime.fromtimestamp(lease.until, UTC)
    return (
        f"no controller carries it on: the last one's lease ended at {ended:%Y-%m-%d %H:%M:%S} "
        "UTC. It continues when `vila2 up` or the controller service runs again"
    )
