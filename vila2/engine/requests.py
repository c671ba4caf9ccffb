"""Request and answer types of all engines: in-process, remote, online and batch.

Does not import torch, so that services that use a remote engine can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vila2.schemas.sampling import Sampling

# Of every channel: the image that says nothing, where a model has no reference of its own.
GREY = 128
# A model's own reference, beside its weights: `vila2.engine.reference` writes it.
REFERENCE_FILE = Path("consistency", "vila2_reference.safetensors")
# Pixels, uint8 (H, W, 3) in RGB, or an encoded file, depending on the engine's `ImageInput`.
ImageData = np.ndarray | bytes


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How an engine takes images.

    `side` is the side in pixels of the square to which images are resized; 0 keeps their own size
    and shape, reduced to at most `max_pixels`. With `encoded`, images are files (JPEG, PNG or
    WebP). Images are passed in chunks of `chunk`. Up to `lanes` chunks run at once, so that the
    engine stays busy while a chunk waits for its last answer.
    """

    side: int = 0
    encoded: bool = False
    max_pixels: int = 4_000_000
    chunk: int = 512
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one image, or about several if the engine takes them."""

    image: ImageData
    question: str  # plain text; the model's chat template is put around it later
    seed: int  # 0 to 2**63; the same request with the same seed gives the same answer
    sampling: Sampling
    sha256: str = ""  # of the encoded image, the key of cached features; "" disables caching
    more_images: tuple[ImageData, ...] = ()
    system: str = ""  # a system message; only for engines that take one

    @property
    def pixels(self) -> np.ndarray:
        """The image of an engine that takes pixels."""
        assert isinstance(self.image, np.ndarray)
        return self.image

    @property
    def images(self) -> tuple[ImageData, ...]:
        """All images, in order."""
        return (self.image, *self.more_images)


@dataclass(frozen=True, slots=True)
class Scoring:
    """One caption to compare with its image, as an answer to `question`."""

    pixels: np.ndarray  # uint8 (side, side, 3)
    question: str
    caption: str
    sha256: str = ""  # as in `Request`


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to one request."""

    text: str
    tokens: int  # generated, without the token that ends an answer
    logprob: float | None  # mean per generated token, nats; None if the engine does not report it
    finish_reason: str  # stop; length if it was cut at `max_new_tokens`; or refused
    prompt_tokens: int = 0  # read, including those of the image; 0 if unknown
    # Why the engine will never answer this request: a slug, a colon and the details.
    refusal: str = ""
    cost: float = 0.0  # charged by an endpoint, in the currency of its prices
