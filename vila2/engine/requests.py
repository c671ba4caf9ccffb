"""Request and answer types of all engines: in-process, remote, online and batch.

Does not import torch, so that services that use a remote engine can import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vila2.schemas.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one image."""

    pixels: np.ndarray  # uint8 (size, size, 3), RGB, at the model's `image_size`
    question: str  # plain text; the model's chat template is put around it later
    seed: int  # 0 to 2**63; the same request with the same seed gives the same answer
    sampling: Sampling
    sha256: str = ""  # of the encoded image, the key of cached features; "" disables caching


@dataclass(frozen=True, slots=True)
class Scoring:
    """One caption to compare with its image, as an answer to `question`."""

    pixels: np.ndarray  # as in `Request`
    question: str
    caption: str
    sha256: str = ""  # as in `Request`


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to one request."""

    text: str
    tokens: int  # generated, without the token that ends an answer
    logprob: float  # mean per generated token, nats
    finish_reason: str  # stop, or length if it was cut at `max_new_tokens`
    prompt_tokens: int = 0  # read, those of the image included; 0 if unknown
