"""Over several processes: copies of the model (DDP), or shards of it (FSDP2).

accelerate knows the processes and devices. Sharding is PyTorch's `fully_shard`, applied here, since
a stage's freeze mask must be in place before it (see decision record 12).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from vila2.schemas.train_spec import TrainSpec
from vila2.training.objective import Objective


def prepare(objective: Objective, spec: TrainSpec, accelerator: Any) -> Any:
    """The objective as this process runs it; its parameters are the ones to optimise."""
    if spec.activation_checkpointing:
        objective.model.gradient_checkpointing_enable({"use_reentrant": False})
    if accelerator.num_processes == 1:
        return objective
    if spec.parallel == "ddp":
        return accelerator.prepare(objective)
    return sharded(objective, spec)


def sharded(objective: Objective, spec: TrainSpec) -> Objective:
    """Shard every block of the tower and of the language model, and the rest as one unit."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy()
    if spec.precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in blocks(objective):
        fully_shard(block, mp_policy=policy)
    fully_shard(objective, mp_policy=policy)
    return objective


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The repeated layers of a model: the members of its outermost module lists."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


def unsynchronised(model: Any, accelerator: Any, *, last: bool) -> AbstractContextManager[None]:
    """Skip gradient synchronisation for all but the last backward pass of a step."""
    if last or accelerator.num_processes == 1:
        return nullcontext()
    if hasattr(model, "set_requires_gradient_sync"):
        return _Unsharded(model)
    context: AbstractContextManager[None] = accelerator.no_sync(model)
    return context


class _Unsharded:
    """FSDP2's switch as a context."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.set_requires_gradient_sync(False)

    def __exit__(self, *_: object) -> None:
        self._model.set_requires_gradient_sync(True)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor of a possibly sharded one. Collective: every process must call it."""
    gather = getattr(tensor, "full_tensor", None)
    return gather() if gather is not None else tensor


def like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Shard a full tensor like a parameter, if it has the parameter's shape."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is None or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(mesh.device_type), mesh, parameter.placements)  # type: ignore[attr-defined]


class Agreement:
    """Values that all processes must agree on before each step; local with one process."""

    def __init__(self, accelerator: Any) -> None:
        self._alone = accelerator.num_processes == 1
        self._device = accelerator.device

    def most(self, *values: int) -> list[int]:
        """The largest of each value over the processes."""
        return self._reduced(values, "MAX")

    def total(self, *values: float) -> list[float]:
        """The sum of each value over the processes."""
        return self._reduced(values, "SUM")

    def _reduced(self, values: Any, kind: str) -> list[Any]:
        if self._alone:
            return list(values)
        from torch import distributed

        tensor = torch.tensor(values, dtype=torch.float64, device=self._device)
        distributed.all_reduce(tensor, op=getattr(distributed.ReduceOp, kind))
        return [type(value)(held) for value, held in zip(values, tensor.tolist(), strict=True)]
