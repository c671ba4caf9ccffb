"""Daily quota arithmetic. Pure; days are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Spent:
    """A used-up daily quota: the reason to wait, and until when (Unix time, seconds)."""

    why: str
    until: float


def day_of(now: float) -> str:
    """The UTC day of a Unix time, as YYYY-MM-DD."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"


def next_day(now: float) -> float:
    """Start of the next UTC day, Unix time in seconds."""
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=1)).timestamp()


def spent(used: int, most: int | None, now: float) -> Spent | None:
    """The wait if the quota is used up, else `None`; any remainder allows another shard."""
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
