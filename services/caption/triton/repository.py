"""Writes a model in Triton's repository layout: `NAME/config.pbtxt` and `NAME/1/`.

Both backends use the same tensors. The repository is a prefix of the object store, so Triton reads
it in place, from a folder or S3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

from services.caption.triton.contract import INPUTS, OUTPUTS, Tensor
from services.chassis.storage.objects import ObjectStore

PREFIX = "serving"
Backend = Literal["python", "vllm"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is run.

    Sizes are in rows; `memory_share` is the fraction of a GPU (vLLM). `checkpoints` is the path of
    the repository on Triton's machine, for vLLM, which takes a path.
    """

    backend: Backend = "python"
    batch_size: int = 64
    max_waiting: int = 512
    threads: int = 0
    gpus: int = 0
    instances: int = 1
    memory_share: float = 0.9
    max_model_len: int = 4096
    checkpoints: str = "/models"


def publish(objects: ObjectStore, name: str, model_prefix: str, options: EngineOptions) -> None:
    """Write a model into the repository, once; its name is immutable."""
    config = f"{PREFIX}/{name}/config.pbtxt"
    if objects.exists(config):
        return
    folder = f"{PREFIX}/{name}/1"
    objects.put_directory(f"{folder}/checkpoint", objects.local(model_prefix))
    if options.backend == "python":
        code = resources.files("services.caption.triton").joinpath("model.py").read_bytes()
        objects.put(f"{folder}/model.py", code)
    if options.backend == "vllm":
        options = replace(options, max_model_len=_longest(objects, model_prefix, options))
    objects.put(f"{folder}/model.json", engine_text(name, options).encode())
    # Written last: its presence marks the model as complete.
    objects.put(config, config_text(name, options).encode())


def _longest(objects: ObjectStore, model_prefix: str, options: EngineOptions) -> int:
    """The most tokens of a prompt and its answer: vLLM refuses more than the model's positions."""
    config = json.loads(objects.get(f"{model_prefix}/config.json"))
    positions = config.get("text_config", config).get("max_position_embeddings")
    return min(options.max_model_len, int(positions)) if positions else options.max_model_len


def engine_text(name: str, options: EngineOptions) -> str:
    """`model.json`: our options for the Python backend, AsyncEngineArgs for vLLM."""
    if options.backend == "python":
        run = {
            "batch_size": options.batch_size,
            "max_waiting": options.max_waiting,
            "threads": options.threads,
        }
        return json.dumps(run, indent=1)
    arguments = {
        "model": f"{options.checkpoints}/{name}/1/checkpoint",
        "served_model_name": name,
        "dtype": "bfloat16",
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.batch_size,
        "tensor_parallel_size": max(1, options.gpus),
        "gpu_memory_utilization": options.memory_share,
        "limit_mm_per_prompt": {"image": 1},
        # Each image is used once, so caching its preprocessing would only cost memory.
        "mm_processor_cache_gb": 0,
        "enable_prefix_caching": True,
        "disable_log_stats": False,
    }
    return json.dumps(arguments, indent=1)


def config_text(name: str, options: EngineOptions) -> str:
    """`config.pbtxt`, for either backend."""
    on_gpu = options.gpus > 0
    kind = "KIND_MODEL" if options.backend == "vllm" else "KIND_GPU" if on_gpu else "KIND_CPU"
    count = 1 if options.backend == "vllm" else options.instances
    parts = [
        f'name: "{name}"',
        f'backend: "{options.backend}"',
        "max_batch_size: 0",
        "model_transaction_policy { decoupled: true }",
        f"instance_group [ {{ kind: {kind} count: {count} }} ]",
        _tensors("input", INPUTS),
        _tensors("output", OUTPUTS),
    ]
    if options.backend == "vllm":
        parts.append('parameters { key: "REPORT_CUSTOM_METRICS" value { string_value: "true" } }')
    return "\n".join(parts) + "\n"


def _tensors(kind: str, tensors: tuple[Tensor, ...]) -> str:
    lines = [
        f'  {{ name: "{tensor.name}" data_type: TYPE_{tensor.data_type} '
        f"dims: [ {', '.join(map(str, tensor.dims))} ]{' optional: true' * tensor.optional} }}"
        for tensor in tensors
    ]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]"
