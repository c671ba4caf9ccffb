"""What a team's images of a day come to, and when the next day begins: pure. Days are UTC's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Spent:
    """A day's quota that is used up: why work waits, and until when (seconds since 1970)."""

    why: str
    until: float


def day_of(now: float) -> str:
    """The day that an image counts for, as 2026-11-26."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"


def next_day(now: float) -> float:
    """When the next day begins."""
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=1)).timestamp()


def spent(used: int, most: int | None, now: float) -> Spent | None:
    """Whether a team must wait: a shard is begun as long as anything is left of the day."""
    if most is None or used < most:
        return None
    until = next_day(now)
    if most == 0:
        return Spent("waiting until the quota is raised: the team may caption no images", until)
    at = datetime.fromtimestamp(until, UTC)
    return Spent(
        f"waiting until {at:%Y-%m-%d %H:%M} UTC: the team has captioned its {most:,} images of "
        "today",
        until,
    )
