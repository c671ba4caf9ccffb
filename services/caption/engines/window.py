"""Adaptive concurrency limit: grows while requests succeed, and halves when the server reports a
full queue. This is TCP's additive increase, multiplicative decrease (Chiu and Jain 1989)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Window:
    """Bounds the requests in flight; used within one event loop."""

    def __init__(self, *, first: int = 128, least: int = 1, most: int = 256) -> None:
        self.limit = float(first)
        self.in_flight = 0
        self.most = most
        self._least = least
        self._epoch = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a slot and hold it; yields the epoch to pass to `overfull`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.in_flight < int(self.limit))
            self.in_flight += 1
            epoch = self._epoch
        try:
            yield epoch
        finally:
            async with self._changed:
                self.in_flight -= 1
                self._changed.notify_all()

    def succeeded(self) -> None:
        """Count an answer; a full window of answers enlarges the window by one."""
        self.limit = min(self.most, self.limit + 1 / self.limit)

    def overfull(self, epoch: int) -> None:
        """Halve the window because the server was full; counted once per epoch."""
        if epoch == self._epoch:
            self._epoch += 1
            self.limit = max(self._least, self.limit / 2)
