"""The engine port: what answers questions about pictures, in this process or on a Triton server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.chassis.work import Postponed


@dataclass(frozen=True, slots=True)
class Ask:
    """One question for an engine; `pixels` uint8 (H, W, 3) at the engine's input size."""

    pixels: np.ndarray
    question: str
    seed: int
    temperature: float
    top_p: float
    max_new_tokens: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ScoreAsk:
    """One caption to hold against its picture, as an answer to `question`; pixels as in `Ask`."""

    pixels: np.ndarray
    question: str
    caption: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine said; `logprob` is the mean per token, nats."""

    text: str
    tokens: int
    logprob: float
    finish_reason: str
    prompt_tokens: int = 0


class EngineUnavailable(Postponed):
    """The engine cannot answer now, through no fault of the request: try again later."""


class ModelRefused(RuntimeError):
    """The engine cannot load this model; the message says why."""


class CannotScore(RuntimeError):
    """This engine gives no consistency scores; the message says why, and what does."""


class Engine(Protocol):
    """A model that is loaded and ready; safe for concurrent use."""

    image_size: int

    def answer(self, asks: Sequence[Ask], *, progress: Callable[[int], None]) -> list[Answer]:
        """Answer all, in order; raises `EngineUnavailable`."""

    def stream(self, ask: Ask) -> Iterator[str | Answer]:
        """Pieces of the text as they are made, then the answer."""

    def score(self, asks: Sequence[ScoreAsk]) -> list[float]:
        """How much each caption owes to its picture, nats per token, in order (see
        `vila2.model.consistency`); raises `CannotScore`, `EngineUnavailable`.
        """


class Engines(Protocol):
    """Models by the prefix of their files in the object store.

    `no_scores` says why these engines cannot score, and is empty where they can.
    """

    no_scores: str

    def get(self, prefix: str) -> Engine:
        """The engine of that model, loaded if need be; raises `EngineUnavailable`."""

    def release(self, prefix: str) -> bool:
        """Nobody will ask this model soon: give its memory back; False while it is in use."""

    def close(self) -> None:
        """Let go of everything."""
