"""The engine port: generates text from images.

Adapters: the continuous batch and transformers' `generate` in this process, a Triton server, and
any OpenAI-compatible endpoint. `routed.py` chooses one by what is stored of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chassis.web.errors import ServiceError
from services.chassis.work.units import Postponed
from services.chassis.work.worker import PermanentError
from vila2.engine.requests import Generation, ImageInput, Request, Scoring
from vila2.schemas.endpoint_model import Prices


class EngineUnavailable(ServiceError, Postponed):
    """The engine is temporarily unavailable; the request itself is fine and can be retried."""

    code, status = "engine-unavailable", 503


class EngineRefused(ServiceError, PermanentError):
    """The engine will never answer this request or this model; the message says why."""

    code, status = "engine-refused", 422


class ModelRefused(RuntimeError):
    """The engine cannot load this model; the message says why."""


class CannotScore(RuntimeError):
    """This engine cannot compute consistency scores; the message says why and which can."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine and version that serve a model; part of every layer's recipe hash."""

    kind: str  # embedded, transformers, endpoint, triton-python or triton-vllm
    version: str  # of the inference program


NO_SYSTEM = "this model was trained without system messages: put the text into the question"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine supports. A non-empty text says why a feature is not supported."""

    no_scores: str = ""
    no_system: str = ""
    no_seeds: str = ""
    most_images: int = 1
    prices: Prices | None = None


class Engine(Protocol):
    """A model that is loaded and ready; safe for concurrent use."""

    image_input: ImageInput

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Generate all answers, in order; raises `EngineUnavailable`."""

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Yield pieces of text as they are generated, then the answer."""

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Consistency scores of captions, nats per token, in order.

        See `vila2.engine.consistency`. Raises `CannotScore` or `EngineUnavailable`.
        """


class Engines(Protocol):
    """Models, addressed by the prefix of their files in the object store."""

    def info(self, prefix: str) -> EngineInfo:
        """The engine that serves a model, without loading it; raises `EngineUnavailable`."""

    def abilities(self, prefix: str) -> Abilities:
        """What a model supports, without loading it."""

    def get(self, prefix: str) -> Engine:
        """The model's engine, loaded if necessary; raises `EngineUnavailable`."""

    def release(self, prefix: str) -> bool:
        """Free an unused model's memory; False while it is in use."""

    def close(self) -> None:
        """Release all resources."""
