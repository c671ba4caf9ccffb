"""What a captioner is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vila2.schemas.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one picture; `pixels` is uint8 (H, W, 3) at the model's input size."""

    pixels: np.ndarray
    question: str
    seed: int
    sampling: Sampling
    sha256: str = ""  # of the picture, where its features may be cached


@dataclass(frozen=True, slots=True)
class Scoring:
    """A caption to hold against a picture, as an answer to a question; pixels as in `Request`."""

    pixels: np.ndarray
    question: str
    caption: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer. `logprob` is the mean over its tokens in nats; `finish_reason` stop or length."""

    text: str
    tokens: int
    logprob: float
    finish_reason: str
    prompt_tokens: int = 0
