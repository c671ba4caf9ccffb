"""Buckets in Redis, for processes apart: one script per request, on the server's clock.

Where the server does not answer, each process limits by itself until it does: that lets more
through than the limit, but neither everything nor nothing.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from services.chassis.identity.limiter import Limiter
from services.chassis.identity.limiter_inprocess import InProcessLimiter
from services.chassis.metrics import LIMITER_ALONE

_log = structlog.get_logger()
_PREFIX = "vila2:requests:"
_RETRY_SECONDS = 5.0
# The rule of `limiter.take`; the suite of the adapters holds the two together.
_TAKE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local most = tonumber(ARGV[1])
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = most
if held[1] then
  local passed = math.max(0, now - tonumber(held[2]))
  tokens = math.min(most, tonumber(held[1]) + passed * most / 60)
end
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) * 60 / most end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens),
           'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], 120000)
return string.format('%.6f', wait)
"""


class RedisLimiter(Limiter):
    """Buckets that all processes of a platform share."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis: Any = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._take = self._redis.register_script(_TAKE)
        self._silent: type[Exception] = redis.RedisError
        self._alone = InProcessLimiter()
        self._ask_again = 0.0

    def wait(self, name: str, per_minute: int) -> float:
        """Take one from a bucket; never raises."""
        if time.monotonic() >= self._ask_again:
            try:
                return float(self._take(keys=[_PREFIX + name], args=[per_minute]))
            except self._silent as error:
                self._ask_again = time.monotonic() + _RETRY_SECONDS
                _log.warning("request limits are kept by each process alone", error=str(error))
        LIMITER_ALONE.inc()
        return self._alone.wait(name, per_minute)

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()
