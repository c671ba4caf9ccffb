"""The engine port: generates text from images, in this process or on a Triton server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chassis.web.errors import ServiceError
from services.chassis.work.units import Postponed
from vila2.engine.requests import Generation, Request, Scoring


class EngineUnavailable(ServiceError, Postponed):
    """The engine is temporarily unavailable; the request itself is fine and can be retried."""

    code, status = "engine-unavailable", 503


class ModelRefused(RuntimeError):
    """The engine cannot load this model; the message says why."""


class CannotScore(RuntimeError):
    """This engine cannot compute consistency scores; the message says why and which can."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine's identity; part of every layer's recipe hash."""

    kind: str  # embedded, triton-python or triton-vllm
    version: str  # of the inference program


class Engine(Protocol):
    """A model that is loaded and ready; safe for concurrent use."""

    image_size: int

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Generate all answers, in order; raises `EngineUnavailable`."""

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Yield pieces of text as they are generated, then the answer."""

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """How much each caption owes to its image, nats per token, in order (see
        `vila2.engine.consistency`); raises `CannotScore`, `EngineUnavailable`.
        """


class Engines(Protocol):
    """Models by the prefix of their files in the object store.

    `no_scores` says why these engines cannot score; it is empty if they can.
    """

    no_scores: str

    def info(self) -> EngineInfo:
        """What these engines are; raises `EngineUnavailable`."""

    def get(self, prefix: str) -> Engine:
        """The model's engine, loaded if necessary; raises `EngineUnavailable`."""

    def release(self, prefix: str) -> bool:
        """Free an unused model's memory; False while it is in use."""

    def close(self) -> None:
        """Release all resources."""
