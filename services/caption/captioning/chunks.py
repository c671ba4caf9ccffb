"""Captioning many samples, chunk by chunk: the code path shared by previews and caption jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from services.caption.captioning.attempts import caption_chunk
from services.caption.captioning.how import Captioning, Spent
from services.caption.captioning.images import Prepared, prepared_ahead
from services.caption.engines.engine import Engine
from services.chassis.telemetry.metrics import CAPTION_TOKENS, CAPTION_WORDS, CAPTIONS
from vila2.data.layers import CAPTIONED, CaptionRow
from vila2.data.sample import Sample

Chunk = Sequence[Sample]


class Kept(Protocol):
    """Stores finished chunks of a shard; safe for concurrent use."""

    def recall(self, start: int, chunk: Chunk) -> list[CaptionRow] | None:
        """The chunk's rows if an earlier attempt at the shard stored them, else `None`."""

    def keep(self, start: int, rows: Sequence[CaptionRow]) -> None:
        """Store a finished chunk; `start` is the number of its first sample."""


class Budget(Protocol):
    """Limits the cost of requests; safe for concurrent use."""

    def afford(self, requests: int) -> None:
        """Raise if the budget does not cover that many more requests."""

    def book(self, spent: Spent) -> None:
        """Record the cost of a finished chunk."""


class Unbounded:
    """For synchronous requests: stores nothing and enforces no budget."""

    def recall(self, start: int, chunk: Chunk) -> list[CaptionRow] | None:
        """Return `None`: nothing is ever stored."""
        return None

    def keep(self, start: int, rows: Sequence[CaptionRow]) -> None:
        """Do nothing."""

    def afford(self, requests: int) -> None:
        """Accept any number of requests."""

    def book(self, spent: Spent) -> None:
        """Do nothing."""


_UNBOUNDED = Unbounded()


def caption_samples(
    samples: Sequence[Sample],
    how: Captioning,
    engine: Engine,
    *,
    progress: Callable[[int], None] = lambda _: None,
    kept: Kept = _UNBOUNDED,
    budget: Budget = _UNBOUNDED,
) -> tuple[list[CaptionRow], Spent]:
    """Caption every sample or quarantine it with a reason; rows are in the samples' order.

    `Spent` is what this call used; chunks stored by an earlier attempt are not counted.
    """
    size = engine.image_input.chunk
    rows: dict[int, list[CaptionRow]] = {}
    todo: list[tuple[int, Chunk]] = []
    for start in range(0, len(samples), size):
        chunk = samples[start : start + size]
        held = kept.recall(start, chunk)
        if held is None:
            todo.append((start, chunk))
        else:
            rows[start] = held
    done = _Done(sum(map(len, rows.values())), progress)
    total = Spent()

    def one(start: int, chunk: Chunk, images: Sequence[Prepared]) -> None:
        made, spent = caption_chunk(
            chunk, images, how, engine, afford=budget.afford, progress=done.of(start)
        )
        _count(made)
        budget.book(spent)
        kept.keep(start, made)
        with done.lock:
            rows[start] = made
            total.add(spent)

    ready = prepared_ahead([chunk for _, chunk in todo], engine.image_input)
    starts = iter([start for start, _ in todo])
    lanes = engine.image_input.lanes
    if lanes == 1:
        for chunk, images in ready:
            one(next(starts), chunk, images)
    else:
        _in_lanes(lanes, ((next(starts), *each) for each in ready), one)
    return [row for start in sorted(rows) for row in rows[start]], total


def _in_lanes(lanes: int, given: object, one: Callable[..., None]) -> None:
    """Run `one` on each in up to `lanes` threads; after an error, running calls finish first."""
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(lanes, thread_name_prefix="chunk") as pool:
        for each in given:  # type: ignore[attr-defined]
            running.add(pool.submit(one, *each))
            if len(running) >= lanes:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
        for future in running:
            future.result()


class _Done:
    """Combines the progress of several chunks into one number."""

    def __init__(self, recalled: int, progress: Callable[[int], None]) -> None:
        self.lock = threading.Lock()
        self._recalled, self._progress = recalled, progress
        self._by_chunk: dict[int, int] = {}

    def of(self, start: int) -> Callable[[int], None]:
        """The progress callback of the chunk whose first sample is number `start`."""

        def told(done: int) -> None:
            with self.lock:
                self._by_chunk[start] = done
                self._progress(self._recalled + sum(self._by_chunk.values()))

        return told


def _count(rows: Sequence[CaptionRow]) -> None:
    for row in rows:
        CAPTIONS.labels(row.reason or CAPTIONED).inc()
        CAPTION_TOKENS.inc(row.tokens)
        if row.status == CAPTIONED:
            CAPTION_WORDS.observe(len(row.caption.split()))
