"""Writes a model in Triton's repository layout: `NAME/config.pbtxt` and `NAME/1/`.

Both engines are models of Triton's Python backend with the same tensors: the library's captioner,
and vLLM. The repository is a prefix of the object store, so Triton reads it in place, from a folder
or S3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from services.caption.triton.contract import INPUTS, OUTPUTS, Tensor
from services.chassis.storage.objects import ObjectStore

PREFIX = "serving"
Backend = Literal["python", "vllm"]
_MODELS: dict[Backend, str] = {"python": "captioner_model.py", "vllm": "vllm_model.py"}
_BESIDE = ("tensors.py", "meters.py")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is run; `batch_size` is in rows, `instances` are copies on the same server.

    On GPUs, `gpus` is how many one copy takes (vLLM shards it), or any number for the captioner.
    """

    backend: Backend = "python"
    batch_size: int = 64
    max_waiting: int = 512
    threads: int = 0
    gpus: int = 0
    instances: int = 1


def publish(objects: ObjectStore, name: str, model_prefix: str, options: EngineOptions) -> None:
    """Write a model into the repository: its weights once, as its name holds their digest.

    Code and options are written each time, so that an upgrade or another setting takes effect when
    a model is loaded next.
    """
    config, folder = f"{PREFIX}/{name}/config.pbtxt", f"{PREFIX}/{name}/1"
    if not objects.exists(config):
        objects.put_directory(f"{folder}/checkpoint", objects.local(model_prefix))
    package = resources.files("services.caption.triton.backend")
    code = {"model.py": _MODELS[options.backend], **{name: name for name in _BESIDE}}
    for target, source in code.items():
        objects.put(f"{folder}/{target}", package.joinpath(source).read_bytes())
    objects.put(f"{folder}/model.json", engine_text(options).encode())
    # Written last: its presence marks the model as complete.
    objects.put(config, config_text(name, options).encode())


def engine_text(options: EngineOptions) -> str:
    """`model.json`: the engine's options."""
    run = {
        "batch_size": options.batch_size,
        "max_waiting": options.max_waiting,
        "threads": options.threads,
        "gpus": options.gpus,
        "instances": options.instances,
    }
    return json.dumps(run, indent=1)


def config_text(name: str, options: EngineOptions) -> str:
    """`config.pbtxt`, for either engine."""
    kind = "KIND_GPU" if options.gpus else "KIND_CPU"
    count = options.instances
    if options.backend == "vllm":
        # It takes its devices and makes its copies itself.
        kind, count = "KIND_MODEL" if options.gpus else "KIND_CPU", 1
    parts = [
        f'name: "{name}"',
        'backend: "python"',
        "max_batch_size: 0",
        "model_transaction_policy { decoupled: true }",
        f"instance_group [ {{ kind: {kind} count: {count} }} ]",
        _tensors("input", INPUTS),
        _tensors("output", OUTPUTS),
    ]
    return "\n".join(parts) + "\n"


def _tensors(kind: str, tensors: tuple[Tensor, ...]) -> str:
    lines = [
        f'  {{ name: "{tensor.name}" data_type: TYPE_{tensor.data_type} '
        f"dims: [ {', '.join(map(str, tensor.dims))} ]{' optional: true' * tensor.optional} }}"
        for tensor in tensors
    ]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]"
