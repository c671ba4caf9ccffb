"""The worker: claims a hinted unit, renews its lease, runs its task and records the outcome."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable

import structlog

from services.chassis.telemetry.metrics import (
    LEASES_LOST,
    UNIT_SECONDS,
    UNITS_CLAIMED,
    UNITS_ENDED,
    UNITS_REDELIVERED,
)
from services.chassis.work.loop import Loop
from services.chassis.work.queue import Queue
from services.chassis.work.relay import Relay
from services.chassis.work.transient_errors import is_passing
from services.chassis.work.units import LEASE_SECONDS, Claim, Postponed, WorkUnits
from vila2.data.errors import Damaged
from vila2.system import tracing

_log = structlog.get_logger()

# Delay before a postponed unit is tried again, in seconds.
POSTPONED_SECONDS = 5.0
AGAIN_SECONDS = 1.0
# A worker that receives no hints polls SQL: the broker or its client may be failing.
IDLE_SECONDS = 5.0
Report = Callable[[int], None]
Run = Callable[[Claim, Report], None]


class PermanentError(Exception):
    """Retrying cannot help; the message gives the reason."""


class Worker:
    """Runs one service's units; `tasks` maps task names to functions.

    A task receives its claim and a progress callback, and completes the unit itself in the
    transaction that records its output. Tasks can run twice and must be idempotent.
    """

    def __init__(self, units: WorkUnits, queue: Queue, tasks: dict[str, Run]) -> None:
        self._units, self._queue, self._tasks = units, queue, tasks
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._hints = Relay(units, queue.publish)
        self._relay = Loop("relay", self.relay_once, seconds=0.5)
        self._look = Loop("look", self._look_for_work, seconds=IDLE_SECONDS)
        self._took = time.monotonic()
        self._busy, self._ending = 0, False
        self._counting = threading.Lock()
        for task in tasks:
            queue.register(task, self.take)
            # Start at 0: Prometheus sees no increase in a series that first appears as 1.
            for counter in (UNITS_CLAIMED, UNITS_REDELIVERED, LEASES_LOST):
                counter.labels(task)

    def start(self, *, relay: bool = True) -> None:
        """Start the queue; with `relay`, also publish a hint for every waiting unit."""
        self._queue.start()
        (self._relay if relay else self._look).start()

    def stop(self) -> None:
        """Stop publishing and wait for running units to finish."""
        self._ending = True
        self._relay.stop()
        self._look.stop()
        self._queue.stop()

    def nudge(self) -> None:
        """Wake the relay because units were added."""
        self._relay.nudge()

    def relay_once(self) -> None:
        """Publish hints for waiting units until the queue is full."""
        self._hints.once()

    def _look_for_work(self) -> None:
        """Poll SQL for claimable units while no hints arrive."""
        if time.monotonic() - self._took < IDLE_SECONDS:
            return
        while not (self._ending or self._busy):
            found = self._units.claimable(limit=1)
            if not found or not self.take(found[0][0]):
                return

    def take(self, unit_id: str) -> bool:
        """Claim and run a unit; False if another worker holds it."""
        claim = self._units.claim(unit_id, owner=self._owner)
        if claim is None:
            return False
        self._count(1)
        named = {"task": claim.task, "unit": unit_id, "job": claim.subject}
        try:
            with (
                tracing.span(f"unit {claim.task}", kind="consumer", parent=claim.trace) as span,
                structlog.contextvars.bound_contextvars(**named, attempt=claim.attempt),
            ):
                span.set(**{f"vila2__{name}": value for name, value in named.items()})
                span.set(vila2__outcome=self._run(unit_id, claim))
        finally:
            self._count(-1)
        return True

    def _give_back(self, claim: Claim, error: Exception) -> str:
        """Return or fail a unit whose task raised; returns the outcome's label."""
        postponed = isinstance(error, Postponed)
        reason = str(error) if postponed else f"{type(error).__name__}: {error}"
        reason = _without_scratch(reason)
        if postponed or is_passing(error):
            _log.warning("unit postponed", unit=claim.unit_id, reason=reason[:300])
            self._insist(lambda: self._units.postpone(claim, reason, seconds=POSTPONED_SECONDS))
            return "postponed"
        # Bytes that changed do not change back by themselves.
        if isinstance(error, PermanentError | Damaged):
            self._insist(lambda: self._units.fail(claim, str(error), final=True))
            return "refused"
        _log.error("unit failed", unit=claim.unit_id, attempt=claim.attempt, exc_info=error)
        self._insist(lambda: self._units.fail(claim, reason))
        return "failed"

    def _insist(self, settle: Callable[[], None]) -> None:
        """Retry `settle` while the database is down; otherwise the lease would have to expire."""
        deadline = time.monotonic() + LEASE_SECONDS
        while True:
            try:
                settle()
                return
            except Exception as error:
                if self._ending or not is_passing(error) or time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_SECONDS)

    def _count(self, more: int) -> None:
        with self._counting:
            self._busy += more
            self._took = time.monotonic()

    def _run(self, unit_id: str, claim: Claim) -> str:
        UNITS_CLAIMED.labels(claim.task).inc()
        if claim.taken_over:
            UNITS_REDELIVERED.labels(claim.task).inc()
        began, outcome = time.monotonic(), "done"
        seen = {"progress": 0}

        def report(done: int) -> None:
            seen["progress"] = done

        ending = threading.Event()

        def beat() -> None:
            # A third of the lease, and often enough to show progress.
            while not ending.wait(min(1.0, LEASE_SECONDS / 3)):
                try:
                    self._units.heartbeat(claim, progress=seen["progress"])
                except Exception:  # database unavailable: keep trying
                    _log.warning("heartbeat missed", unit=unit_id, exc_info=True)

        heart = threading.Thread(target=beat, name=f"heartbeat-{unit_id}", daemon=True)
        heart.start()
        try:
            self._tasks[claim.task](claim, report)
        except Exception as error:
            outcome = self._give_back(claim, error)
        finally:
            ending.set()
            heart.join()
            seconds = time.monotonic() - began
            UNITS_ENDED.labels(claim.task, outcome).inc()
            UNIT_SECONDS.labels(claim.task).observe(seconds)
        _log.info("unit ended", outcome=outcome, seconds=round(seconds, 3))
        return outcome


def _without_scratch(text: str) -> str:
    """The text without the folders of temporary files, which tell a team nothing."""
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/(?:[^\s'\"/]+/)+", "", text)
