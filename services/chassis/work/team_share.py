"""A team's share of a process's workers: one team's units never occupy all of them."""

from __future__ import annotations

import threading
from collections import Counter

from services.chassis.work.units import Claim, Postponed
from services.chassis.work.worker import Report, Run


class TeamShare:
    """Runs at most `most` units of each team at once, and postpones its others.

    A unit's team is the `team` of its payload; units without one are a team of their own.
    Thread-safe. It counts in this process: another process has workers of its own.
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def of(self, run: Run) -> Run:
        """The task that runs only within the share; it raises `Postponed` beyond."""

        def within(claim: Claim, report: Report) -> None:
            team = str(claim.payload.get("team", ""))
            with self._lock:
                if self._running[team] >= self._most:
                    raise Postponed(f"team {team} has {self._most} others in progress")
                self._running[team] += 1
            try:
                run(claim, report)
            finally:
                with self._lock:
                    self._running[team] -= 1
                    if not self._running[team]:
                        del self._running[team]

        return within
