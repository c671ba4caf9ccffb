"""Which waiting job starts next, and why the others wait. Pure.

Slots are shared between teams by weight. The next slot goes to the team with the fewest busy
processes for its share; on a tie, to the team that used the least lately, then to the job that has
waited longest. Priority orders jobs within a team only, so no team can starve another with it
(Kueue also shares between queues and orders within one). When a team reaches its quota, its jobs
wait: they are never refused, and running jobs are never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

NO_SLOT = "waiting for a free slot"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that could start."""

    id: str
    team: str
    unit: str  # "gpu" or "process": the unit that it uses
    processes: int
    priority: int
    since: float


@dataclass(frozen=True, slots=True)
class Team:
    """A team's usage: running jobs and processes, and the state of its quota.

    `spent` maps a unit whose quota is used up to a sentence that says until when. `recent` is the
    team's usage in the last day, process-hours of either unit.
    """

    running: int = 0
    busy: int = 0
    recent: float = 0.0
    share: float = 1.0
    max_jobs: int | None = None
    spent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs to start, in order, and for each of the others why it waits."""

    start: tuple[str, ...]
    reasons: Mapping[str, str]


def plan(
    waiting: Sequence[Waiting], teams: Mapping[str, Team], *, running: int, slots: int
) -> Plan:
    """Fill the free slots. `running` counts the jobs of all teams that hold one."""
    standing = {job.team: teams.get(job.team, Team()) for job in waiting}
    left = sorted(waiting, key=lambda job: (-job.priority, job.since, job.id))
    start: list[str] = []
    while running + len(start) < slots:
        first: dict[str, Waiting] = {}
        for job in left:
            if job.team not in first and not _held(job, standing[job.team]):
                first[job.team] = job
        if not first:
            break
        chosen = min(first.values(), key=lambda job: _turn(job, standing[job.team]))
        left.remove(chosen)
        start.append(chosen.id)
        team = standing[chosen.team]
        standing[chosen.team] = replace(
            team, running=team.running + 1, busy=team.busy + chosen.processes
        )
    reasons = {job.id: _held(job, standing[job.team]) or NO_SLOT for job in left}
    return Plan(tuple(start), reasons)


def _turn(job: Waiting, team: Team) -> tuple[float, float, float, str]:
    return team.busy / team.share, team.recent / team.share, job.since, job.id


def _held(job: Waiting, team: Team) -> str:
    """Why the team's own limits delay a job; empty if they do not."""
    if job.unit in team.spent:
        return team.spent[job.unit]
    if team.max_jobs is not None and team.running >= team.max_jobs:
        return f"waiting: the team runs {team.running} jobs, its quota is {team.max_jobs} at once"
    return ""
