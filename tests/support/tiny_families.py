"""Tiny models of thirteen families of vision-language models, with their real classes.

Model, configuration, tokenizer's special tokens, image processor and processor class are each
family's own; sizes and weights are not. A directory has the files that the repositories of real
models have: the image processor in preprocessor_config.json, the processor's class and its
settings in processor_config.json, and for families that also take videos
video_preprocessor_config.json, without torchvision having to be installed to write it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tests.support.families import google, idefics, llava, mistral, qwen
from vila2.model.loading import quiet

_SEED = 0
FAMILIES: dict[str, Callable[[Path], None]] = {
    "LLaVA-1.5": llava.llava,
    "LLaVA-OneVision": llava.llava_onevision,
    "InternVL3": llava.internvl,
    "Qwen2-VL": qwen.qwen2_vl,
    "Qwen2.5-VL": qwen.qwen2_5_vl,
    "Qwen3-VL": qwen.qwen3_vl,
    "Gemma 3": google.gemma3,
    "SmolVLM": idefics.smolvlm,
    "Idefics3": idefics.idefics3,
    "Pixtral": mistral.pixtral,
    "Mistral 3": mistral.mistral3,
    "PaliGemma 2": google.paligemma2,
    "Aya Vision": llava.aya_vision,
}


def build(name: str, directory: Path) -> Path:
    """Write the tiny model `name` of `FAMILIES` into `directory`, always with the same weights."""
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        FAMILIES[name](directory)
    return directory
