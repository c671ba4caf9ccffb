"""The relay: a hint for every unit that waits, in turns between subjects, as far as there is room.

It goes through each subject's ready units once, from the longest wait on, and remembers where it
stopped: a backlog of a million is hinted piece by piece as the queue empties, and none of it twice
before the rest has had its turn. A hint that was lost is sent again in the next pass. Between
subjects it deals in turns, so that a small job is not held up until a large one is done.
"""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.work.units import WorkUnits
from vila2.system.tracing import within

# Units of one subject before the next has its turn.
TURN = 50
Publish = Callable[[str, str], bool]  # (task, unit id); False: there is no room now


class Relay:
    """Publishes hints for one service's units; what it remembers it may forget without harm."""

    def __init__(self, units: WorkUnits, publish: Publish) -> None:
        self._units, self._publish = units, publish
        self._behind: dict[str, tuple[float, str]] = {}  # subject -> the last unit hinted
        self._last = ""  # the subject that had its turn last

    def once(self) -> None:
        """Publish until every unit that waits has been hinted, or there is no room."""
        for unit_id, task in self._units.expired():
            if not self._publish(task, unit_id):
                return
        subjects = self._subjects()
        while subjects:
            subject = subjects.pop(0)
            ended = self._turn(subject)
            if ended is None:
                return
            self._last = subject
            if not ended:
                subjects.append(subject)

    def _subjects(self) -> list[str]:
        """Those behind the last one first; what no longer waits is forgotten."""
        found = self._units.waiting_subjects(after=self._last)
        found += [s for s in self._units.waiting_subjects() if s not in set(found)]
        self._behind = {s: self._behind[s] for s in found if s in self._behind}
        return found

    def _turn(self, subject: str) -> bool | None:
        """Whether the subject's pass has ended with this turn; `None` without room."""
        start = self._behind.get(subject, (0.0, ""))
        page = self._units.waiting(subject, after=start, limit=TURN)
        for unit in page:
            with within(unit.trace):
                room = self._publish(unit.task, unit.unit_id)
            if not room:
                return None
            self._behind[subject] = (unit.since, unit.unit_id)
        if len(page) == TURN:
            return False
        self._behind.pop(subject, None)
        return True
