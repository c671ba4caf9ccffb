"""The tensors between the caption service and a model in Triton, whichever engine runs it.

Names and meanings follow Triton's vLLM backend where it has them: `sampling_parameters` is a JSON
object of vLLM's SamplingParams, and the token counts include the token that ends an answer. `image`
is an encoded image.

If `sampling_parameters` has the key `score`, its value is a caption and the answer is its
consistency score: `finish_reason` is `scored`, and `cumulative_logprob` over `num_output_tokens` is
the score, nats per token.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vila2.schemas.sampling import Sampling

SCORE = "score"  # the key of sampling_parameters


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as `config.pbtxt` declares it."""

    name: str
    data_type: str  # without TYPE_
    dims: tuple[int, ...] = (1,)
    optional: bool = False


INPUTS = (
    Tensor("text_input", "STRING"),
    Tensor("image", "STRING", (-1,), optional=True),
    Tensor("stream", "BOOL", optional=True),
    Tensor("sampling_parameters", "STRING", optional=True),
)
OUTPUTS = (
    Tensor("text_output", "STRING", (-1,)),
    Tensor("finish_reason", "STRING", (-1,)),
    Tensor("cumulative_logprob", "FP32", (-1,)),
    Tensor("num_input_tokens", "UINT32"),
    Tensor("num_output_tokens", "UINT32", (-1,)),
)


def image_bytes(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as PNG: lossless, so that the engine gets identical pixels."""
    out = io.BytesIO()
    # Level 1: on a fast network, speed matters more than 10 % of the size.
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def sampling_text(sampling: Sampling, *, seed: int) -> str:
    """vLLM's SamplingParams as JSON."""
    return json.dumps(
        {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed,
        }
    )


def scoring_text(caption: str) -> str:
    """The JSON that scores a caption."""
    return json.dumps({SCORE: caption})
