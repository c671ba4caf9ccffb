"""One gRPC connection to Triton, shared by all threads of this process.

All asynchronous work runs on one event loop in its own thread. Error classes match what the caller
must do: retry later (`Busy`, `Down`), load the model (`NotLoaded`), reload it (`Crashed`), or give
up (`Refused`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.caption.engines.event_loop import EventLoop
from services.caption.triton.contract import OUTPUTS, image_bytes, sampling_text, scoring_text
from vila2.engine.requests import Generation, Request, Scoring
from vila2.system import tracing

T = TypeVar("T")
# Images are small and answers short; model configurations are not sent this way.
_MESSAGE_BYTES = 64 * 1024 * 1024


class TritonError(RuntimeError):
    """Base class of failed requests."""


class Busy(TritonError):
    """The model's queue is full."""


class Down(TritonError):
    """The server does not answer."""


class NotLoaded(TritonError):
    """The server does not know the model, or is not ready with it."""


class Crashed(TritonError):
    """The model's process has died, although the server still reports the model as ready."""


class Refused(TritonError):
    """The request itself is invalid."""


class Connection:
    """A connection to a server's gRPC address, HOST:PORT."""

    def __init__(self, url: str, *, request_seconds: float = 600.0) -> None:
        self.url, self._seconds = url, request_seconds
        self._loop = EventLoop("triton-client")
        self._client: triton.InferenceServerClient = self.run(self._connect())

    async def _connect(self) -> triton.InferenceServerClient:
        options = [
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            # Reconnect within two seconds; gRPC's default back-off reaches two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        return triton.InferenceServerClient(self.url, channel_args=options)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result."""
        return self._loop.run(work)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop."""
        return self._loop.begin(work)

    def close(self) -> None:
        """Close the connection and end the thread."""
        self.run(self._client.close())
        self._loop.close()

    async def ready(self) -> bool:
        """Whether the server answers."""
        try:
            return bool(await self._client.is_server_ready(client_timeout=2.0))
        except (InferenceServerException, grpc.RpcError):
            return False

    async def version(self) -> str:
        """The server's version; raises `Down`."""
        try:
            about: Any = await self._client.get_server_metadata(client_timeout=2.0)
        except (InferenceServerException, grpc.RpcError) as error:
            raise Down(f"the inference server does not answer: {error}") from error
        return str(about.version)

    def load(self, model: str) -> None:
        """Load a model; no effect if loaded. Raises `Refused` with Triton's reason."""
        self.run(self._control(self._client.load_model(model)))

    def unload(self, model: str) -> None:
        """Unload a model; requests in progress finish."""
        self.run(self._control(self._client.unload_model(model)))

    async def _control(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except InferenceServerException as error:
            if "UNAVAILABLE" in str(error.status()):
                raise Down(error.message()) from error
            raise Refused(error.message()) from error

    async def score(self, model: str, prompt: str, request: Scoring) -> float:
        """One caption's consistency score, nats per token."""
        made = await self.infer(model, prompt, request)
        assert made.logprob is not None
        return made.logprob

    async def infer(self, model: str, prompt: str, request: Request | Scoring) -> Generation:
        """Generate one answer."""
        async for piece in self.pieces(model, prompt, request, stream=False):
            if isinstance(piece, Generation):
                return piece
        raise Down(f"{model} ended an answer without its last part")

    async def pieces(
        self, model: str, prompt: str, request: Request | Scoring, *, stream: bool = True
    ) -> AsyncIterator[str | Generation]:
        """Yield pieces of text as they arrive, then the answer."""
        # Encoded in a thread, so that it does not block the loop for all other requests.
        inputs = await asyncio.to_thread(_inputs, prompt, request, stream)

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": model, "inputs": inputs, "outputs": _WANTED}

        said, last = "", None
        try:
            # Triton's own spans, if it records any, join the request's trace.
            answers: Any = self._client.stream_infer(
                one(), stream_timeout=self._seconds, headers=tracing.headers()
            )
            async for result, error in answers:
                if error is not None:
                    raise _kind(error.message())
                piece = _text(result.as_numpy("text_output"))
                said += piece
                if piece and stream:
                    yield piece
                if _text(result.as_numpy("finish_reason")):
                    last = _answer(said, result)
            # Raise only now: leaving a stream early cancels it, and a race in Triton's cancellation
            # can crash the server (triton-inference-server/server#8034).
            if last is not None:
                yield last
        except InferenceServerException as error:
            raise _kind(str(error)) from error
        except grpc.RpcError as error:
            raise Down(str(error)) from error


_WANTED = [triton.InferRequestedOutput(tensor.name) for tensor in OUTPUTS]


def _inputs(prompt: str, request: Request | Scoring, stream: bool) -> list[Any]:
    if isinstance(request, Scoring):
        sampling = scoring_text(request.caption)
    else:
        sampling = sampling_text(request.sampling, seed=request.seed)
    values: dict[str, bytes | bool] = {
        "text_input": prompt.encode(),
        "image": image_bytes(request.pixels),
        "stream": stream,
        "sampling_parameters": sampling.encode(),
    }
    return [_input(name, value) for name, value in values.items()]


def _input(name: str, value: bytes | bool) -> Any:
    array = np.array([value], dtype=object if isinstance(value, bytes) else bool)
    tensor = triton.InferInput(name, [1], np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _answer(text: str, result: Any) -> Generation:
    finish = _text(result.as_numpy("finish_reason"))
    counted = int(_last(result.as_numpy("num_output_tokens")))
    return Generation(
        text=text.strip(),
        # The count includes the end-of-sequence token.
        tokens=counted - (finish == "stop"),
        logprob=float(_last(result.as_numpy("cumulative_logprob"))) / max(1, counted),
        finish_reason=finish,
        prompt_tokens=int(_last(result.as_numpy("num_input_tokens"))),
    )


def _last(array: Any) -> Any:
    return 0 if array is None or not array.size else array.reshape(-1)[-1]


def _text(array: Any) -> str:
    value = _last(array)
    return value.decode() if isinstance(value, bytes) else ""


def _kind(message: str) -> TritonError:
    """Classify an error by its text: on a stream, Triton gives no status code."""
    lower = message.lower()
    if "maximum queue size" in lower:
        return Busy(message)
    if "is not healthy" in lower or "stub process" in lower:
        return Crashed(message)
    if "unknown model" in lower or "is not ready" in lower or "not found" in lower:
        return NotLoaded(message)
    if any(word in lower for word in ("unavailable", "deadline", "cancelled", "shutting down")):
        return Down(message)
    return Refused(message)
