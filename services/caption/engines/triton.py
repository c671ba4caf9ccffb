"""The engine on a Triton server: an adaptive window of requests, with retries.

If the server is full, down or restarting, one probe checks for it while all requests wait, and only
unanswered requests are sent again.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from queue import Queue
from typing import Any, TypeVar

import numpy as np
import structlog

from services.caption.engines.engine import (
    NO_SYSTEM,
    Abilities,
    EngineInfo,
    EngineUnavailable,
)
from services.caption.engines.streams import pieces_of
from services.caption.engines.triton_connection import (
    Busy,
    Connection,
    Crashed,
    Down,
    NotLoaded,
    TritonError,
)
from services.caption.engines.window import Window
from services.caption.triton.prompts import PromptFormat
from services.caption.triton.served import ServedModels
from services.chassis.storage.objects import ObjectStore
from services.chassis.telemetry.metrics import ENGINE_IN_FLIGHT, ENGINE_TROUBLE, ENGINE_WINDOW
from vila2.engine.requests import Generation, ImageInput, Request, Scoring
from vila2.schemas.sampling import Sampling

A = TypeVar("A", Request, Scoring)
T = TypeVar("T")
_log = structlog.get_logger()
# After this long without any answer, the unit is postponed so that another worker can take it.
PATIENCE_SECONDS = 45.0
_SILENCE_SECONDS = 5.0
_BUSY_SECONDS = 0.1
_BUSY_PATIENCE = 6
_REVIVALS = 3
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)


class TritonEngine:
    """One model on the server."""

    def __init__(
        self,
        connection: Connection,
        served: ServedModels,
        prefix: str,
        prompts: PromptFormat,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection, self._served, self._prefix = connection, served, prefix
        self._name = name_of(prefix)
        self._prompts, self._patience = prompts, patience
        self.image_input = ImageInput(side=prompts.image_size)
        self.window = window = connection.run(_window())
        # Evaluated on scrape, so that an idle engine reports its current value.
        ENGINE_IN_FLIGHT.labels(self._name).set_function(lambda: window.in_flight)
        ENGINE_WINDOW.labels(self._name).set_function(lambda: int(window.limit))
        self._mending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[Any]] = set()  # requests at the server
        self._answered = time.monotonic()
        self._revivals = 0  # since the last answer

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Generate all answers, in order; raises `EngineUnavailable`."""
        self._answered = time.monotonic()
        return self._connection.run(self._all(requests, self._connection.infer, progress))

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Score all, in order; raises `EngineUnavailable`."""
        self._answered = time.monotonic()
        return self._connection.run(self._all(requests, self._connection.score, lambda _: None))

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Yield pieces of text, then the answer; retried only before the first piece."""
        events: Queue[Any] = Queue()
        self._answered = time.monotonic()
        # If the caller stops iterating, the stream still runs to its end: see `Connection.pieces`.
        self._connection.begin(self._pieces(request, events))
        return pieces_of(events)

    async def _all(
        self,
        requests: Sequence[A],
        send: Callable[[str, str, A], Coroutine[Any, Any, T]],
        progress: Callable[[int], None],
    ) -> list[T]:
        answers: dict[int, T] = {}
        waiting = iter(range(len(requests)))
        done = 0

        async def some() -> None:
            nonlocal done
            for number in waiting:  # the same iterator for all: each takes the next
                answers[number] = await self._one(requests[number], send)
                done += 1
                progress(done)
                self._served.touch(self._prefix)

        # One task per slot of the largest window; the window limits how many run. After an error
        # the others run to their end, because cancelling many streams at once can crash the server.
        takers = (some() for _ in range(min(len(requests), self.window.most)))
        ended = await asyncio.gather(*takers, return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        return [answers[number] for number in range(len(requests))]

    async def _one(self, request: A, send: Callable[[str, str, A], Coroutine[Any, Any, T]]) -> T:
        prompt = self._prompts.render(request.question)
        attempt = 0
        while True:
            async with self.window.slot() as epoch:
                try:
                    answer = await self._watched(send(self._name, prompt, request))
                    self.window.succeeded()
                    self._answered, self._revivals = time.monotonic(), 0
                    return answer
                except (Busy, Down, NotLoaded, Crashed) as error:
                    trouble: TritonError = error
                    self.window.overfull(epoch)
            await self._wait_out(trouble, attempt)
            attempt += 1

    async def _pieces(self, request: Request, events: Queue[Any]) -> None:
        prompt = self._prompts.render(request.question)
        attempt, said = 0, False
        while True:
            try:

                async def take() -> None:
                    nonlocal said
                    async for piece in self._connection.pieces(self._name, prompt, request):
                        events.put(piece)
                        said = True

                await self._watched(take())
                self._served.touch(self._prefix)
                return
            except (Busy, Down, NotLoaded, Crashed) as error:
                try:
                    if said:
                        raise EngineUnavailable(str(error)) from error
                    await self._wait_out(error, attempt)
                except Exception as final:
                    events.put(final)
                    return
                attempt += 1
            except Exception as error:
                events.put(error)
                return

    async def _watched(self, request: Coroutine[Any, Any, T]) -> T:
        """Wait for a request; raises `Crashed` if the model's process died with it."""
        task = asyncio.create_task(request)
        self._open.add(task)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and task not in self._open:
                raise Crashed(f"the process of {self._name} ended with the request") from None
            task.cancel()
            raise
        finally:
            self._open.discard(task)

    async def _watch(self) -> None:
        """While requests are open and none is answered, probe the model.

        When a model's process dies, Triton refuses new requests but leaves the open ones hanging.
        """
        while self._open:
            await asyncio.sleep(1.0)
            if time.monotonic() - self._answered < _SILENCE_SECONDS or not self._open:
                continue
            side = self.image_input.side
            pixels = np.zeros((side, side, 3), np.uint8)
            canary = Request(pixels, "canary", 0, Sampling(max_new_tokens=1))
            try:
                prompt = self._prompts.render(canary.question)
                await self._connection.infer(self._name, prompt, canary)
                self._answered = time.monotonic()
            except (Crashed, NotLoaded) as error:
                await asyncio.shield(self._mend_once(error))
            except TritonError as error:
                _log.info("canary was not answered", model=self._name, reason=str(error)[:200])

    def _mend_once(self, trouble: TritonError) -> asyncio.Task[None]:
        """Start one recovery that all requests share."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(trouble))
        return self._mending

    async def _wait_out(self, trouble: TritonError, attempt: int) -> None:
        """Return when a retry is worthwhile; raises `EngineUnavailable` if none is."""
        ENGINE_TROUBLE.labels(type(trouble).__name__.lower()).inc()
        if self._mending is not None and not self._mending.done():
            # Reloading a model may take longer than the timeout for a silent server.
            await asyncio.shield(self._mending)
            return
        # A server that reports a full queue is alive, and other clients may be ahead.
        patience = self._patience * (_BUSY_PATIENCE if isinstance(trouble, Busy) else 1)
        if time.monotonic() - self._answered > patience:
            raise EngineUnavailable(f"the inference server gives no answer: {trouble}")
        if isinstance(trouble, Busy):
            # The window has been halved, which is what reduces the load.
            await asyncio.sleep(random.uniform(0.5, 1.5) * _BUSY_SECONDS)
            return
        await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
        await asyncio.shield(self._mend_once(trouble))

    async def _mend(self, trouble: TritonError) -> None:
        if isinstance(trouble, Crashed):
            lost, self._open = self._open, set()
            for request in lost:
                request.cancel()
        attempt = 0
        while not await self._connection.ready():
            if time.monotonic() - self._answered > self._patience:
                raise EngineUnavailable(f"the inference server is down: {trouble}")
            await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            attempt += 1
        if self._revivals >= _REVIVALS:
            self._revivals = 0
            raise EngineUnavailable(
                f"{self._name} was loaded {_REVIVALS} times and ended each time without an "
                f"answer: {trouble}. The inference server's log says why"
            )
        self._revivals += 1
        # A restarted server has no models loaded; a model whose process died must be reloaded.
        await asyncio.to_thread(self._served.revive, self._prefix, str(trouble))
        self._answered = time.monotonic()


class TritonEngines:
    """Models on one Triton server, which several processes may use."""

    def __init__(
        self,
        connection: Connection,
        objects: ObjectStore,
        served: ServedModels,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection, self._objects, self._served = connection, objects, served
        self._patience = patience
        self._known: dict[str, TritonEngine] = {}
        self._version = ""
        self._lock = threading.Lock()
        for kind in (
            Busy,
            Down,
            NotLoaded,
            Crashed,
        ):  # start at 0, so that the first increase is visible
            ENGINE_TROUBLE.labels(kind.__name__.lower())

    def abilities(self, prefix: str) -> Abilities:
        """The same for every model: this layout's prompts have no system message."""
        return Abilities(no_system=NO_SYSTEM)

    def info(self, prefix: str) -> EngineInfo:
        """The server's backend and version; the last known ones if it does not answer."""
        try:
            self._version = self._connection.run(self._connection.version())
        except Down as error:
            if not self._version:
                raise EngineUnavailable(str(error)) from error
        version = " ".join(filter(None, (self._version, self._served.version)))
        return EngineInfo(f"triton-{self._served.backend}", version)

    def get(self, prefix: str) -> TritonEngine:
        """The engine of that model, loaded if necessary."""
        self._served.ensure(prefix)
        with self._lock:
            engine = self._known.get(prefix)
            if engine is None:
                prompts = PromptFormat.of_model(self._objects, prefix)
                engine = TritonEngine(
                    self._connection, self._served, prefix, prompts, patience=self._patience
                )
                self._known[prefix] = engine
            return engine

    def release(self, prefix: str) -> bool:
        """Unload the model once its requests have ended; False while it is in use."""
        return self._served.release(prefix)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def name_of(prefix: str) -> str:
    """Triton's name for a model: its registered name, which includes its digest."""
    return prefix.rpartition("/")[2]


async def _window() -> Window:
    """Create a window on the event loop that uses it."""
    return Window()
