"""The workload of `captioning.py`: a random model, synthetic images, and answer lengths."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from vila2.data.images.decoding import decode
from vila2.engine.requests import Request
from vila2.model.build import VLM, compose
from vila2.model.preset import Preset
from vila2.schemas.sampling import Sampling


def preset(
    *, vision: dict[str, int], language: dict[str, int], side: int = 112, kind: str = "llama"
) -> Preset:
    """A preset with the given widths and depths, for images of `side` pixels."""
    return Preset.model_validate(
        {
            "name": "bench",
            "image_size": side,
            "vision": {
                "kind": "config", "model_type": "internvl_vision",
                "config": {"image_size": [side, side], "patch_size": [14, 14],
                           "use_mean_pooling": True, **vision},
            },
            "language": {"kind": "config", "model_type": kind, "config": language},
            "downsample_factor": 2,
            "vocabulary": 2000,
            "initializer_range": 0.05,
            "max_length": 512,
        }
    )  # fmt: skip


# As in a large model, decoding takes most of the time, with few image tokens.
PRESET = preset(
    vision={"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4,
            "num_attention_heads": 4},
    language={"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
              "num_attention_heads": 6, "num_key_value_heads": 6},
)  # fmt: skip
# So small that the engine waits for the rest of the service.
SMALL = preset(
    vision={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2},
    language={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
              "num_attention_heads": 2, "num_key_value_heads": 2},
)  # fmt: skip
# The shapes of the preset `vila2-2b`: what one GPU captions with.
LARGE = preset(
    side=392, kind="qwen3",
    vision={"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
            "num_attention_heads": 16},
    language={"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128},
)  # fmt: skip
LARGE_VOCABULARY = 151_936
QUESTION = "Describe the image."
TOKENS = 32  # per image, if all are equal


def images(count: int, *, width: int = 480, height: int = 360) -> list[bytes]:
    """JPEGs of smooth shapes with grain, about as large in bytes as photographs."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (height, width, 3))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def lengths(count: int) -> list[int]:
    """Answers' lengths as captions have them: lognormal, median 30, cut at 128."""
    drawn = np.random.default_rng(1).lognormal(np.log(30), 0.7, count)
    return [int(n) for n in np.clip(drawn, 4, 128)]


def built(preset: Preset = PRESET) -> VLM:
    """A model with random weights that never ends an answer; contenders stop at the length."""
    vlm = compose(preset, texts=[f"a word {n}" for n in range(4000)], seed=0)
    if preset is LARGE:
        vlm.model.resize_token_embeddings(LARGE_VOCABULARY, mean_resizing=False)
        vlm.model.bfloat16()
    with torch.no_grad():
        # Tied: the logit of the end token is 0, which is never the largest of 2,000.
        vlm.model.get_input_embeddings().weight[vlm.chat().eos_id] = 0
    return vlm


def requests(jpegs: Sequence[bytes], tokens: Sequence[int], *, side: int) -> list[Request]:
    """Requests for the bare engine, with decoded images."""
    return [
        Request(decode(jpeg, size=(side, side)), QUESTION, 0, Sampling(max_new_tokens=n))
        for jpeg, n in zip(jpegs, tokens, strict=True)
    ]


def timed(work: Callable[[], object]) -> float:
    """Run `work` and return its seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
