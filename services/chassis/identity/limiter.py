"""The rate limiter port, and the rule that its adapters keep: a token bucket per name.

A bucket holds a minute's requests, is refilled evenly, and each request takes one: as many as the
limit may come at once, and over time no more than the limit a minute.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a bucket held at a moment (seconds on whatever clock the adapter has)."""

    tokens: float
    at: float

    @classmethod
    def full(cls, per_minute: int) -> Bucket:
        """A bucket that nothing was taken from."""
        return cls(float(per_minute), float("-inf"))


def take(bucket: Bucket, per_minute: int, now: float) -> tuple[Bucket, float]:
    """Take one token, and 0; or the bucket as it is, and how many seconds until there is one."""
    rate = per_minute / 60
    passed = max(0.0, now - bucket.at)
    held = min(float(per_minute), bucket.tokens + passed * rate)
    if held >= 1:
        return Bucket(held - 1, now), 0.0
    return Bucket(held, now), (1 - held) / rate


class Limiter(ABC):
    """Buckets by name. Safe to use from many threads."""

    @abstractmethod
    def wait(self, name: str, per_minute: int) -> float:
        """Take one from a bucket: 0 where there was one, else the seconds until there is."""

    @abstractmethod
    def close(self) -> None:
        """Give connections back."""
