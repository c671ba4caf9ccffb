"""Usage counted by a quota, and when a used-up quota has hours again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HOUR = 3600.0
_ROLLING = 30 * 24 * HOUR
_NAMES = {"gpu": "GPU-hours", "process": "process-hours"}


@dataclass(frozen=True, slots=True)
class Used:
    """Processes that were busy from `start` to `end`, seconds since 1970."""

    start: float
    end: float
    processes: int


def window_start(window: str, now: float) -> float:
    """The start of the window: the first of the month (UTC), or 30 days ago."""
    if window == "30d":
        return now - _ROLLING
    return _month(now).timestamp()


def hours(used: Sequence[Used], since: float) -> float:
    """Processes x hours from `since` on."""
    return sum(u.processes * max(0.0, u.end - max(u.start, since)) for u in used) / HOUR


def free_again(window: str, limit: float, used: Sequence[Used], now: float) -> float | None:
    """When usage falls below `limit` hours if nothing else runs; None if never.

    Running jobs are assumed to end now, so the time is the earliest possible.
    """
    if limit <= 0:
        return None
    if window == "month":
        return (_month(now) + timedelta(days=32)).replace(day=1).timestamp()
    excess = (hours(used, now - _ROLLING) - limit) * HOUR
    # Usage leaves the window at the rate at which it came in: step from edge to edge.
    edges = sorted({t for u in used for t in (u.start, u.end) if t > now - _ROLLING})
    at = now - _ROLLING
    for edge in edges:
        rate = sum(u.processes for u in used if u.start <= at < u.end)
        gone = rate * (edge - at)
        if gone > excess:
            return at + excess / rate + _ROLLING if excess > 0 else now
        excess -= gone
        at = edge
    return at + _ROLLING


def spent_sentence(unit: str, window: str, limit: float, until: float | None) -> str:
    """Why a job waits for its team's quota, and until when (UTC, rounded up to the minute)."""
    period = "this month" if window == "month" else "30 days"
    cause = f"the team has used its {limit:g} {_NAMES[unit]} of {period}"
    if until is None:
        return f"waiting until the quota is raised: {cause}"
    at = datetime.fromtimestamp(until + 59, UTC)
    return f"waiting until {at:%Y-%m-%d %H:%M} UTC: {cause}"


def _month(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
