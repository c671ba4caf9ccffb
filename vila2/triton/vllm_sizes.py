"""How vLLM's engine is sized: from the model's files, the device, and the rows that are wanted.

Read in Triton's process, before the engine starts. vLLM is given the bytes of its KV cache instead
of a share of the device, so that several models fit on one device, and a small one does not take
all of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila2.model.preset import PRESET_FILE

# The one whose answers are tested, and that captions' recipes name; another is refused.
VLLM_VERSION = "0.32.0"
_LONGEST = 4096  # tokens of a prompt and its answer
# Of the device: activations, CUDA graphs, and what else runs there.
_RESERVED = 0.1
_BATCHED_TOKENS = 8192  # of one step; a step on a CPU takes fewer, or answers wait for it
_BATCHED_TOKENS_ON_CPU = 2048


class DoesNotFit(ValueError):
    """The device is too small for the model; the message says by how much, and what helps."""


@dataclass(frozen=True, slots=True)
class Device:
    """Memory in bytes, of one device."""

    kind: str  # cuda or cpu
    free: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the model's files say. `weights` in bytes as stored; `kv_token` in numbers a token."""

    weights: int
    stored_bytes: int  # of one weight
    kv_token: int
    positions: int


def this_machine() -> Device:
    """The first GPU, or this machine's memory."""
    import torch

    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.mem_get_info()[0])
    import psutil

    return Device("cpu", psutil.virtual_memory().available)


def model_sizes(checkpoint: Path) -> Sizes:
    """Sizes of a saved model in the composed layout."""
    config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())
    text = config["text_config"]
    heads = text["num_attention_heads"]
    head = text.get("head_dim") or text["hidden_size"] // heads
    keys = text.get("num_key_value_heads") or heads
    return Sizes(
        weights=sum(file.stat().st_size for file in checkpoint.glob("*.safetensors")),
        stored_bytes=4 if config.get("dtype", "float32") == "float32" else 2,
        kv_token=2 * text["num_hidden_layers"] * keys * head,
        positions=text["max_position_embeddings"],
    )


def dtype(*, gpu: bool) -> str:
    """In what vLLM computes, whatever the weights are stored in."""
    return "bfloat16" if gpu else "float32"


def engine_bytes(model: Sizes, *, gpu: bool, rows: int) -> int:
    """Bytes that a model takes on all its devices together: weights, and the cache of `rows`."""
    number = 2 if gpu else 4
    longest = min(_LONGEST, model.positions)
    return (model.weights // model.stored_bytes + rows * longest * model.kv_token) * number


def cache_bytes(model: Sizes, device: Device, *, rows: int, gpus: int) -> int:
    """Bytes of the KV cache on each device: for `rows` of the longest prompts, or what is left.

    Raises `DoesNotFit` if not even one fits. Pure.
    """
    number = 4 if device.kind == "cpu" else 2
    shards = max(1, gpus)
    weights = model.weights * number // model.stored_bytes // shards
    one = min(_LONGEST, model.positions) * model.kv_token * number // shards
    left = int(device.free * (1 - _RESERVED)) - weights
    if left < one:
        raise DoesNotFit(
            f"the weights take {weights / 2**30:.1f} GiB on each device and one prompt's cache "
            f"{one / 2**30:.1f}, and {device.free / 2**30:.1f} GiB are free on the {device.kind}: "
            "unload other models, or give it more GPUs (VILA2_TRITON_GPUS)"
        )
    return min(rows * one, left)


def engine_arguments(checkpoint: Path, options: dict[str, Any], device: Device) -> dict[str, Any]:
    """`AsyncEngineArgs` of vLLM for a saved model; `options` are those of `model.json`."""
    model, gpus = model_sizes(checkpoint), options["gpus"]
    longest = min(_LONGEST, model.positions)
    batched = _BATCHED_TOKENS_ON_CPU if device.kind == "cpu" else _BATCHED_TOKENS
    return {
        "model": str(checkpoint),
        "model_impl": "transformers",  # the layout has no class of vLLM's own (decision 0001)
        "dtype": dtype(gpu=device.kind != "cpu"),
        "max_model_len": longest,
        "max_num_seqs": options["batch_size"],
        "max_num_batched_tokens": max(batched, longest),
        "tensor_parallel_size": max(1, gpus),
        "data_parallel_size": options["instances"],
        "kv_cache_memory_bytes": cache_bytes(model, device, rows=options["batch_size"], gpus=gpus),
        # vLLM on a CPU still refuses to start where less than this share of the memory is free.
        **({"gpu_memory_utilization": 0.05} if device.kind == "cpu" else {}),
        # Compiling takes minutes, which a CPU's steps do not earn back.
        "enforce_eager": device.kind == "cpu",
        "limit_mm_per_prompt": {"image": 1},
        # A caption's reference is an embedding (`vila2.engine.reference`).
        "enable_prompt_embeds": True,
        # Each image is used once, so caching its preprocessing would only cost memory.
        "mm_processor_cache_gb": 0,
        "trust_remote_code": False,
    }


def image_size(checkpoint: Path) -> int:
    """Side in pixels of the images that a saved model takes."""
    return int(json.loads((checkpoint / PRESET_FILE).read_text())["image_size"])
