"""The engine behind any OpenAI-compatible endpoint: vLLM, SGLang, TGI, a hosted API.

A bounded window of requests adapts to 429, 503 and Retry-After. The endpoint chooses the model, its
processor and the image resolution. It does not guarantee that a seed reproduces an answer, nor that
the weights behind a name stay the same; the recipe hash and `abilities` reflect that.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from queue import Queue
from typing import Any

import httpx2

from services.caption.engines.endpoint.protocol import (
    MOST_BYTES,
    Later,
    RequestRefused,
    answer_of,
    piece_of,
    request_body,
)
from services.caption.engines.engine import (
    CannotScore,
    EngineRefused,
    EngineUnavailable,
)
from services.caption.engines.event_loop import EventLoop
from services.caption.engines.streams import pieces_of
from services.caption.engines.window import Window
from services.chassis.telemetry.metrics import ENGINE_TROUBLE
from vila2.client.http import authority, is_loopback
from vila2.engine.requests import Generation, ImageInput, Request, Scoring
from vila2.schemas.endpoint_model import EndpointModel

NO_SCORES = (
    "an endpoint cannot score captions: it gives no log-probabilities of a given text; use a model "
    "whose weights are registered here"
)
# After this long without any answer, the shard is released and retried later.
PATIENCE_SECONDS = 120.0
_FIRST_SECONDS = 10.0
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
_REFUSED_IN_A_ROW = 8


class EndpointEngine:
    """One model at one endpoint."""

    def __init__(
        self,
        spec: EndpointModel,
        loop: EventLoop,
        *,
        key: str = "",
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.spec, self._loop, self._patience = spec, loop, patience
        self.image_input = ImageInput(
            encoded=True, max_pixels=spec.max_pixels, chunk=max(32, spec.concurrency), lanes=3
        )
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._not_before = 0.0  # by the last Retry-After
        self._answered = 0.0
        self._known_good = False
        self._refused = 0  # requests in a row
        self._window, self._http = loop.run(self._open())

    async def _open(self) -> tuple[Window, httpx2.AsyncClient]:
        """Creates the window and the client on the loop that uses them."""
        most = self.spec.concurrency
        url = self.spec.url
        mounts: dict[str, None] = {f"all://{authority(url)}": None} if is_loopback(url) else {}
        client = httpx2.AsyncClient(
            headers=self._headers,
            timeout=httpx2.Timeout(self.spec.timeout_seconds, connect=10.0),
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            follow_redirects=False,
            mounts=mounts,
        )
        # The user set the endpoint's concurrency; if it is too high, the window halves.
        return Window(first=most, most=most), client

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Generate all answers, in order; raises `EngineUnavailable` or `EngineRefused`."""
        self._answered = time.monotonic()
        return self._loop.run(self._all(requests, progress))

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Yield pieces of text, then the answer; retried only before the first piece."""
        events: Queue[Any] = Queue()
        self._answered = time.monotonic()
        working = self._loop.begin(self._stream(request, events))
        try:
            yield from pieces_of(events)
        finally:
            working.cancel()

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Raises `CannotScore`."""
        raise CannotScore(NO_SCORES)

    def close(self) -> None:
        """Close the connections."""
        self._loop.run(self._http.aclose())

    async def _all(
        self, requests: Sequence[Request], progress: Callable[[int], None]
    ) -> list[Generation]:
        answers: dict[int, Generation] = {}
        waiting = iter(range(len(requests)))

        async def some() -> None:
            for number in waiting:  # the same iterator for all: each takes the next
                answers[number] = await self._one(requests[number])
                progress(len(answers))

        takers = [asyncio.create_task(some()) for _ in range(min(len(requests), self._window.most))]
        try:
            await asyncio.gather(*takers)
        finally:
            for taker in takers:
                taker.cancel()
            await asyncio.gather(*takers, return_exceptions=True)
        return [answers[number] for number in range(len(requests))]

    async def _one(self, request: Request) -> Generation:
        attempt = 0
        while True:
            async with self._window.slot() as epoch:
                try:
                    made = await self._ask(request)
                except Later as error:
                    trouble = error
                    if error.busy:
                        self._window.overfull(epoch)
                except RequestRefused as error:
                    return self._refusal(error)
                else:
                    self._window.succeeded()
                    self._answered, self._refused = time.monotonic(), 0
                    self._known_good = True
                    return made
            await self._wait_out(trouble, attempt)
            attempt += 1

    def _refusal(self, error: RequestRefused) -> Generation:
        """A refused request fails its sample only, unless several in a row are refused."""
        self._answered = time.monotonic()
        self._refused += 1
        if self._refused >= _REFUSED_IN_A_ROW:
            self._refused = 0
            raise EngineRefused(
                f"{_REFUSED_IN_A_ROW} requests in a row were refused, the last because {error}",
                field="model",
                fix="is the model one that takes images, and do prompt and max_new_tokens fit?",
            )
        text = f"endpoint-refused: {error}"
        return Generation("", 0, None, "refused", refusal=text, cost=error.cost)

    async def _ask(self, request: Request) -> Generation:
        # Encoded in a thread, so that it does not block the loop for all other requests.
        body = await asyncio.to_thread(_encoded, self.spec, request, False)
        async with _posted(self._http, self.spec, body) as reply:
            data = await _read(reply)
            return answer_of(self.spec, reply.status_code, reply.headers, data)

    async def _stream(self, request: Request, events: Queue[Any]) -> None:
        said, attempt = False, 0
        try:
            body = await asyncio.to_thread(_encoded, self.spec, request, True)
            while True:
                try:
                    async for piece in self._pieces(body):
                        events.put(piece)
                        said = True
                    return
                except Later as error:
                    if said:
                        raise EngineUnavailable(str(error)) from error
                    await self._wait_out(error, attempt)
                    attempt += 1
        except RequestRefused as error:
            events.put(EngineRefused(str(error)))
        except Exception as error:
            events.put(error)

    async def _pieces(self, body: bytes) -> AsyncIterator[str | Generation]:
        said, finish, usage = "", "stop", None
        async with _posted(self._http, self.spec, body) as reply:
            if reply.status_code != 200:
                answer_of(self.spec, reply.status_code, reply.headers, await _read(reply))
            async for line in reply.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                text, ended, told = piece_of(data)
                finish, usage, said = ended or finish, told or usage, said + text
                if text:
                    yield text
                if len(said) > MOST_BYTES:
                    raise RequestRefused("its stream does not end")
        choice = {"message": {"content": said}, "finish_reason": finish}
        whole = json.dumps({"choices": [choice], "usage": usage}).encode()
        yield answer_of(self.spec, 200, {}, whole)

    async def _wait_out(self, trouble: Later, attempt: int) -> None:
        """Return when a retry is worthwhile; raises `EngineUnavailable` if none is."""
        ENGINE_TROUBLE.labels("busy" if trouble.busy else "down").inc()
        now = time.monotonic()
        self._not_before = max(self._not_before, now + trouble.pause)
        # If it has never answered, the address may be wrong.
        patience = self._patience if self._known_good else min(self._patience, _FIRST_SECONDS)
        if now - self._answered > patience and not trouble.pause:
            raise EngineUnavailable(f"the endpoint gives no answer: {trouble}")
        pause = _PAUSES[min(attempt, len(_PAUSES) - 1)] * random.uniform(0.5, 1.5)
        await asyncio.sleep(max(pause, self._not_before - now))


@asynccontextmanager
async def _posted(
    http: httpx2.AsyncClient, spec: EndpointModel, body: bytes
) -> AsyncIterator[httpx2.Response]:
    """The reply to a POST, before its body is read; transport errors become `Later`."""
    url, headers = f"{spec.url}/chat/completions", {"content-type": "application/json"}
    try:
        # httpx's timeout applies to each read; this one bounds a reply that trickles in.
        async with (
            asyncio.timeout(spec.timeout_seconds),
            http.stream("POST", url, content=body, headers=headers) as reply,
        ):
            yield reply
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise Later(f"{spec.url} gave no answer within {spec.timeout_seconds:g} s") from error
    except httpx2.HTTPError as error:
        told = str(error) or type(error).__name__
        raise Later(f"{spec.url} cannot be reached: {told}") from error


async def _read(reply: httpx2.Response) -> bytes:
    data = bytearray()
    async for piece in reply.aiter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            raise RequestRefused(f"its reply has more than {MOST_BYTES:,} bytes")
    return bytes(data)


def _encoded(spec: EndpointModel, request: Request, stream: bool) -> bytes:
    return json.dumps(request_body(spec, request, stream=stream)).encode()
