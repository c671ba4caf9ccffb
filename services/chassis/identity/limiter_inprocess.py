"""Buckets in this process's memory: for one process alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from services.chassis.identity.limiter import Bucket, Limiter, take

_FORGOTTEN_SECONDS = 120.0  # a bucket is full again after one minute


class InProcessLimiter(Limiter):
    """Buckets in a dictionary; those that are full again are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.Lock()
        self._swept = clock()

    def wait(self, name: str, per_minute: int) -> float:
        """Take one from a bucket."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            held = self._buckets.get(name) or Bucket.full(per_minute)
            self._buckets[name], seconds = take(held, per_minute, now)
        return seconds

    def close(self) -> None:
        """There is nothing to give back."""

    def _sweep(self, now: float) -> None:
        if now - self._swept > _FORGOTTEN_SECONDS:
            self._swept = now
            self._buckets = {
                name: bucket
                for name, bucket in self._buckets.items()
                if now - bucket.at < _FORGOTTEN_SECONDS
            }
