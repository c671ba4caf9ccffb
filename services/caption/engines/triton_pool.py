"""Several Triton servers as one: each request goes to the least busy server that answers.

A server may come and go, as on idle machines of a cluster. What it had not answered is asked of
another; it is tried again after a pause. Each server has its own ledger of loaded models.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from services.caption.engines.engine import (
    Abilities,
    Engine,
    EngineInfo,
    Engines,
    EngineUnavailable,
)
from vila2.engine.requests import Generation, Request, Scoring

T = TypeVar("T")
_log = structlog.get_logger()
# A server that did not answer is left alone for so long, while others do.
PAUSE_SECONDS = 20.0


@dataclass(slots=True)
class Member:
    """A server: its engines, how many requests it holds, and until when it is left alone."""

    address: str
    engines: Engines
    open: int = 0
    away_until: float = 0.0


class TritonPool:
    """The engine port over several servers, which share a model repository."""

    def __init__(self, members: Sequence[Member], *, pause: float = PAUSE_SECONDS) -> None:
        self.members, self._pause = members, pause
        self._lock = threading.Lock()

    def info(self, prefix: str) -> EngineInfo:
        """Of the first server that answers."""
        return self.answered(lambda member: member.engines.info(prefix))

    def abilities(self, prefix: str) -> Abilities:
        """The same for every server."""
        return self.members[0].engines.abilities(prefix)

    def get(self, prefix: str) -> PooledEngine:
        """The model, loaded on one server at least; raises `EngineUnavailable` if none answers."""
        first = self.answered(lambda member: member.engines.get(prefix))
        return PooledEngine(self, prefix, first)

    def release(self, prefix: str) -> bool:
        """Unload the model everywhere; False while a server uses it."""
        released = [member.engines.release(prefix) for member in self.members]
        return all(released)

    def close(self) -> None:
        """Close all connections."""
        for member in self.members:
            member.engines.close()

    def answered(self, ask: Callable[[Member], T], *, weight: int = 1) -> T:
        """What the least busy server says, or the next if it does not answer.

        Raises the last server's `EngineUnavailable`. A refusal is an answer.
        """
        tried: set[str] = set()
        while True:
            member = self._next(tried)
            tried.add(member.address)
            try:
                with self._holding(member, weight):
                    answer = ask(member)
                member.away_until = 0.0
                return answer
            except EngineUnavailable as error:
                member.away_until = time.monotonic() + self._pause
                _log.warning("server does not answer", server=member.address, reason=str(error))
                if len(tried) == len(self.members):
                    raise

    def _next(self, tried: set[str]) -> Member:
        """The server with the fewest open requests; those that were away come last."""
        now = time.monotonic()
        with self._lock:
            left = [member for member in self.members if member.address not in tried]
            return min(left, key=lambda member: (member.away_until > now, member.open))

    @contextmanager
    def _holding(self, member: Member, weight: int) -> Iterator[None]:
        with self._lock:
            member.open += weight
        try:
            yield
        finally:
            with self._lock:
                member.open -= weight


class PooledEngine:
    """One model on the servers of a pool."""

    def __init__(self, pool: TritonPool, prefix: str, first: Engine) -> None:
        self._pool, self._prefix = pool, prefix
        # As many chunks at once as there are servers, so that none is idle.
        self.image_input = replace(first.image_input, lanes=len(pool.members))

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """All answers of one server, in order; raises `EngineUnavailable`."""
        return self._pool.answered(
            lambda member: member.engines.get(self._prefix).generate(requests, progress=progress),
            weight=len(requests),
        )

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """All scores of one server, in order; raises `EngineUnavailable`."""
        return self._pool.answered(
            lambda member: member.engines.get(self._prefix).score(requests), weight=len(requests)
        )

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Pieces of text, then the answer; another server is asked only before the first piece."""
        pieces, first = self._pool.answered(self._begun(request))
        yield first
        yield from pieces

    def _begun(
        self, request: Request
    ) -> Callable[[Member], tuple[Iterator[str | Generation], str | Generation]]:
        def begin(member: Member) -> tuple[Iterator[str | Generation], str | Generation]:
            pieces = iter(member.engines.get(self._prefix).stream(request))
            return pieces, next(pieces)

        return begin
