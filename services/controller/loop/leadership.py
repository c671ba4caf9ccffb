"""One controller leads, the others stand by: a lease in the database, kept while its holder lives.

The lease saves work, and keeps two from asking for the same thing at the same time. Nothing else
hangs on it: a holder that slept past its lease loses by compare-and-set, and whatever it asks of
other services carries a token that they know already.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

import structlog
from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.telemetry.metrics import LEADER, LEADERSHIPS
from services.controller.tables import LeaseRow

_log = structlog.get_logger()
LEASE_SECONDS = 15.0


class Leadership:
    """A claim to one role; `lead` takes it, keeps it, or tells that somebody else has it."""

    def __init__(
        self,
        database: Database,
        *,
        role: str = "reconciler",
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._database, self._role, self._seconds = database, role, seconds
        # The row holds the database's time, which all processes share; how long ago this process
        # asked is told by a clock that nobody sets.
        self._clock, self._since = clock, clock or time.monotonic
        # A process that was started anew is another holder, whatever its id.
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
        """Renew our lease or take one that ran out: its fence, or `None`."""
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
        """Let another lead at once."""
        self._until = 0.0
        self._free(LeaseRow.holder == self.holder)

    def depose(self) -> None:
        """At the start of the only process there is: whoever held the lease is gone."""
        self._free(LeaseRow.holder != "")

    def _free(self, whose: object) -> None:
        with self._database.transaction() as session:
            session.execute(
                update(LeaseRow)
                .where(LeaseRow.role == self._role, whose)  # type: ignore[arg-type]
                .values(until=0.0)
            )
