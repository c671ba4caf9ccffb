"""Rate limits: at most N requests in any 60 seconds, counted by the `limits` library.

With a broker, all processes share one count; otherwise each counts in memory. If the broker is
unavailable, each process falls back to its own count, so the total can exceed the limit but stays
bounded.
"""

from __future__ import annotations

import time

import structlog
from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from services.chassis.telemetry.metrics import LIMITER_ALONE

_log = structlog.get_logger()
_RETRY_SECONDS = 5.0


class Limiter:
    """Counts by name. Thread-safe; `wait` never raises.

    `window` is in seconds; 60 except in tests.
    """

    def __init__(self, broker_url: str = "", *, window: int = 60) -> None:
        self._window = window
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._broker: RedisStorage | None = None
        self._ask_again = 0.0
        if broker_url:
            # A request must not wait long for a broker that is unavailable.
            self._broker = RedisStorage(
                broker_url, wrap_exceptions=True, socket_timeout=1, socket_connect_timeout=1
            )

    def wait(self, name: str, most: int) -> float:
        """Count one request: 0 if it is within the limit, else the seconds until one is."""
        limit = RateLimitItemPerSecond(most, self._window, namespace="vila2")
        if self._broker is not None:
            if time.monotonic() >= self._ask_again:
                try:
                    return _wait(MovingWindowRateLimiter(self._broker), limit, name)
                except StorageError as error:
                    self._ask_again = time.monotonic() + _RETRY_SECONDS
                    _log.warning("each process counts requests alone", error=str(error))
            LIMITER_ALONE.inc()
        return _wait(self._own, limit, name)

    def close(self) -> None:
        """Close the broker's connections."""
        if self._broker is not None:
            self._broker.storage.close()


def _wait(limiter: MovingWindowRateLimiter, limit: RateLimitItemPerSecond, name: str) -> float:
    if limiter.hit(limit, name):
        return 0.0
    # The window's oldest request may have expired in the meantime.
    return max(limiter.get_window_stats(limit, name).reset_time - time.time(), 0.001)
