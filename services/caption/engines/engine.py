"""The engine port: what answers questions about images, in this process or on a Triton server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chassis.web.errors import ServiceError
from services.chassis.work.units import Postponed
from vila2.engine.requests import Generation, Request, Scoring


class EngineUnavailable(ServiceError, Postponed):
    """The engine cannot answer now, through no fault of the request: try again later."""

    code, status = "engine-unavailable", 503


class ModelRefused(RuntimeError):
    """The engine cannot load this model; the message says why."""


class CannotScore(RuntimeError):
    """This engine gives no consistency scores; the message says why, and what does."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What computes the answers: a part of every layer's recipe hash."""

    kind: str  # embedded, triton-python or triton-vllm
    version: str  # of the program that computes


class Engine(Protocol):
    """A model that is loaded and ready; safe for concurrent use."""

    image_size: int

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Answer all, in order; raises `EngineUnavailable`."""

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Pieces of the text as they are made, then the answer."""

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """How much each caption owes to its image, nats per token, in order (see
        `vila2.engine.consistency`); raises `CannotScore`, `EngineUnavailable`.
        """


class Engines(Protocol):
    """Models by the prefix of their files in the object store.

    `no_scores` says why these engines cannot score, and is empty where they can.
    """

    no_scores: str

    def info(self) -> EngineInfo:
        """What these engines are; raises `EngineUnavailable`."""

    def get(self, prefix: str) -> Engine:
        """The engine of that model, loaded if need be; raises `EngineUnavailable`."""

    def release(self, prefix: str) -> bool:
        """Nobody will ask this model soon: give its memory back; False while it is in use."""

    def close(self) -> None:
        """Let go of everything."""
