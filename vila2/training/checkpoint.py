"""Exact checkpoints: weights and optimizer state in safetensors, position and RNG in JSON.

The manifest is written last, so that a checkpoint is whole or absent; two folders take turns, so
that a kill while writing leaves the one before.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from vila2.model.build import VLM
from vila2.system.files import write_atomically
from vila2.training.optim import Optimizers
from vila2.training.parallel import like, whole

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a training: `step` steps of stage number `stage` are done."""

    spec: str  # digest of the job's spec; another spec's checkpoint is not resumed
    stage: int
    step: int
    seconds: float  # spent so far in this stage
    visits: int = 0  # samples visited so far in this stage, over all processes


def save_checkpoint(
    folder: Path,
    vlm: VLM,
    optimizers: Optimizers | None,
    position: Position,
    *,
    writes: bool,
    about: dict[str, Any],
) -> None:
    """Write a checkpoint into whichever of the two slots is older.

    All processes call it, since each may hold a shard of the weights; one `writes`. `about` is
    what else a resumed job must know, as JSON.
    """
    weights = {name: whole(tensor).cpu() for name, tensor in vlm.model.state_dict().items()}
    state = None if optimizers is None else _flatten(optimizers)
    if not writes:
        return
    slots = [folder / "a", folder / "b"]
    held = [_read_position(slot) for slot in slots]
    target = slots[0]
    if held[0] is not None and (held[1] is None or _order(held[1]) < _order(held[0])):
        target = slots[1]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    save_file(_contiguous(weights), target / "weights.safetensors")
    if state is not None:
        tensors, scalars = state
        save_file(tensors, target / "optimizer.safetensors")
        (target / "optimizer.json").write_text(json.dumps(scalars))
    save_file({"cpu": torch.get_rng_state()}, target / "rng.safetensors")
    (target / "about.json").write_text(json.dumps(about))
    write_atomically(target / _MANIFEST, json.dumps(asdict(position)))


def latest_checkpoint(folder: Path, *, spec: str) -> tuple[Path, Position] | None:
    """The newest whole checkpoint of this spec, or `None`."""
    found = [
        (slot, position)
        for slot in (folder / "a", folder / "b")
        if (position := _read_position(slot)) is not None and position.spec == spec
    ]
    return max(found, key=lambda item: _order(item[1])) if found else None


def restore_about(slot: Path) -> dict[str, Any]:
    """The `about` that was passed to `save_checkpoint`."""
    about: dict[str, Any] = json.loads((slot / "about.json").read_text())
    return about


def restore_weights(slot: Path, vlm: VLM) -> None:
    """Load a checkpoint's weights and random state."""
    missing, unexpected = vlm.model.load_state_dict(
        load_file(slot / "weights.safetensors"), strict=False
    )
    # Tied weights are stored once; anything else missing means another model's checkpoint.
    if unexpected or any("lm_head" not in name for name in missing):
        raise ValueError(f"checkpoint {slot} is of another model: {missing or unexpected}")
    torch.set_rng_state(load_file(slot / "rng.safetensors")["cpu"])


def restore_optimizers(slot: Path, optimizers: Optimizers) -> None:
    """Load the optimizers' state; they must be built for the same stage."""
    tensors = load_file(slot / "optimizer.safetensors")
    scalars = json.loads((slot / "optimizer.json").read_text())
    for number, member in enumerate(optimizers.members):
        held = [parameter for group in member.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            owner, parameter, key = name.split("/")
            if int(owner) == number:
                cut = like(tensor, held[int(parameter)])
                state.setdefault(int(parameter), {})[key] = cut
        current = member.state_dict()
        current["state"] = state
        for group, saved in zip(current["param_groups"], scalars[number], strict=True):
            group["lr"] = saved
        member.load_state_dict(current)


def _flatten(optimizers: Optimizers) -> tuple[dict[str, torch.Tensor], list[list[float]]]:
    tensors: dict[str, torch.Tensor] = {}
    rates: list[list[float]] = []
    for number, member in enumerate(optimizers.members):
        held = member.state_dict()
        for parameter, values in held["state"].items():
            for key, value in values.items():
                tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value)
                tensors[f"{number}/{parameter}/{key}"] = whole(tensor).cpu().contiguous()
        rates.append([float(group["lr"]) for group in held["param_groups"]])
    return tensors, rates


def _contiguous(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights for safetensors, which refuses two names of one tensor: the first name is kept."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in state.items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        kept[name] = tensor.contiguous()
    return kept


def _read_position(slot: Path) -> Position | None:
    try:
        return Position(**json.loads((slot / _MANIFEST).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _order(position: Position) -> tuple[int, int]:
    return position.stage, position.step
