"""Turns: how many requests of one team are in progress at once, and how many more may wait.

Ordinary requests share a large pool of threads, of which a team can take only some. Requests that
call a model take seconds, so they run in a small pool of their own: whatever one team sends, the
others and the health checks find a free thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import copy_context
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio import to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.chassis.web.errors import TooManyRequests
from services.chassis.web.limit_settings import RequestSettings

T = TypeVar("T")
_END = object()
RETRY_SECONDS = 1.0


class PerLoop(Generic[T]):
    """One object for each event loop that asks; `vila2 up` serves the same apps on two."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def here(self) -> T:
        """The running loop's object, made when it is first asked for."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]


class Turns:
    """At most `most` turns of each team at once, and `waiting` more in order of arrival.

    Used on one event loop. `setting` is the variable that raises the limit.
    """

    def __init__(self, most: int, waiting: int, *, setting: str) -> None:
        self._most, self._waiting, self._setting = most, waiting, setting
        # Teams without a request have no entry, so made-up names leave nothing behind.
        self._taken: dict[str, int] = {}
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, team: str) -> None:
        """Wait for a turn; raises `TooManyRequests` at once if too many wait already."""
        taken = self._taken.get(team, 0)
        if taken < self._most:
            self._taken[team] = taken + 1
            return
        queue = self._queues.setdefault(team, deque())
        if len(queue) >= self._waiting:
            raise TooManyRequests(
                f"team {team} has {taken} such requests in progress and {len(queue)} waiting",
                retry_after=RETRY_SECONDS,
                fix=f"send fewer at once, or have the operator raise {self._setting}",
            )
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(team)  # it had just been handed the turn
            else:
                with suppress(ValueError):
                    queue.remove(turn)
            raise

    def give_back(self, team: str) -> None:
        """End a turn; the longest waiting request of the team takes it over."""
        queue = self._queues.get(team)
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._queues.pop(team, None)
        left = self._taken[team] - 1
        if left:
            self._taken[team] = left
        else:
            del self._taken[team]

    @asynccontextmanager
    async def _held(self, team: str) -> AsyncIterator[None]:
        await self.take(team)
        try:
            yield
        finally:
            self.give_back(team)

    def of(self, team: str) -> AbstractAsyncContextManager[None]:
        """A turn for the duration of a block; raises as `take` does."""
        return self._held(team)


def ordinary_turns(settings: RequestSettings) -> Turns:
    """The turns of ordinary requests; also gives the running loop its number of threads."""
    threads = to_thread.current_default_thread_limiter()
    threads.total_tokens = max(threads.total_tokens, settings.request_threads)
    return Turns(settings.team_requests, settings.team_waiting, setting="VILA2_TEAM_REQUESTS")


class SlowRequests:
    """Runs requests that call a model: in threads of their own, a few of each team at once."""

    def __init__(self, settings: RequestSettings | None = None) -> None:
        given = settings or RequestSettings()
        self._turns = PerLoop(
            lambda: Turns(
                given.team_slow_requests,
                given.team_slow_waiting,
                setting="VILA2_TEAM_SLOW_REQUESTS",
            )
        )
        # Of ordinary priority: what loads a model here makes the threads that all jobs compute
        # with, and a thread that steps back while it holds the interpreter stops every other.
        self._pool = ThreadPoolExecutor(given.slow_threads, "slow")

    async def run(self, team: str, work: Callable[[], T]) -> T:
        """Call `work` in a thread of the pool; raises what it raises, or `TooManyRequests`."""
        async with self._turns.here().of(team):
            return await _in(self._pool, work)

    async def stream(
        self, team: str, begin: Callable[[], Iterator[str]], *, media_type: str
    ) -> StreamingResponse:
        """Stream what `begin` returns; the turn lasts until the reply's end.

        Errors of `begin` are raised here, before the reply starts.
        """
        turns = self._turns.here()
        await turns.take(team)
        try:
            pieces = await _in(self._pool, begin)
        except BaseException:
            turns.give_back(team)
            raise
        return _Held(_each(pieces, self._pool), media_type, lambda: turns.give_back(team))


async def _in(pool: Executor, work: Callable[[], T]) -> T:
    """Call `work` in a thread of the pool, with the request's context variables."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, copy_context().run, work)


async def _each(pieces: Iterator[str], pool: Executor) -> AsyncIterator[str]:
    while True:
        piece = await _in(pool, lambda: next(pieces, _END))
        if not isinstance(piece, str):
            return
        yield piece


class _Held(StreamingResponse):
    """A streamed reply that ends its turn, also if the client goes away before the first piece."""

    def __init__(
        self, pieces: AsyncIterator[str], media_type: str, ended: Callable[[], None]
    ) -> None:
        super().__init__(pieces, media_type=media_type)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()
