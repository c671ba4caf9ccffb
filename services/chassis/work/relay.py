"""The relay: publishes a hint for every waiting unit, round-robin over subjects.

It walks each subject's ready units once, longest wait first, and keeps a cursor. A backlog of a
million is hinted in pieces as the queue drains, and no unit twice before all others. Lost hints are
sent again in the next pass. Round-robin keeps a large job from delaying a small one.
"""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.work.units import WorkUnits
from vila2.system.tracing import within

# Units hinted per subject and turn.
TURN = 50
Publish = Callable[[str, str], bool]  # (task, unit id); False if the queue is full


class Relay:
    """Publishes hints for one service's units; its state is only a cursor and can be lost."""

    def __init__(self, units: WorkUnits, publish: Publish) -> None:
        self._units, self._publish = units, publish
        self._behind: dict[str, tuple[float, str]] = {}  # subject -> the last unit hinted
        self._last = ""  # the subject of the last turn

    def once(self) -> None:
        """Publish until every waiting unit has been hinted or the queue is full."""
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
        """Waiting subjects, starting after the last one; drops cursors of the others."""
        found = self._units.waiting_subjects(after=self._last)
        found += [s for s in self._units.waiting_subjects() if s not in set(found)]
        self._behind = {s: self._behind[s] for s in found if s in self._behind}
        return found

    def _turn(self, subject: str) -> bool | None:
        """Whether this turn ended the subject's pass; `None` if the queue is full."""
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
