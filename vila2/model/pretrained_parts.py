"""Parts from checkpoints: their configuration is checked, and no weight may be missing.

A vision tower may be stored alone (`SiglipVisionModel`) or as part of a larger model
(`SiglipModel`, InternVL), from which its weights are selected by name. Only safetensors are read,
no code in a checkpoint is run, and nothing is downloaded unless the preset or the environment
allows it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vila2.model.loading import check_finite, check_report, quiet
from vila2.model.preset import FromCheckpoint, Preset, PresetError
from vila2.model.weight_files import CheckpointError

ALLOW_DOWNLOAD = "VILA2_ALLOW_DOWNLOAD"
# The rows of a grown embedding are a multiple of this, which is faster on GPUs.
_ROWS = 64
# Values that composing changes. Presets state the checkpoint's, so they are not compared.
_OURS = ("vision_use_head",)
_TOWER_PREFIX = r"^(model\.)?(vision_tower|vision_model)\."


def embedding_rows(*, rows: int, tokens: int) -> int:
    """Rows that an embedding of `rows` needs for a tokenizer of `tokens` entries. Pure."""
    return rows if tokens <= rows else -(-tokens // _ROWS) * _ROWS


def part_config(preset: Preset, name: str, part: FromCheckpoint) -> Any:
    """The configuration of the checkpoint at `part.path`, checked against the preset.

    Raises `PresetError` if it is missing or differs.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(part.path, **_where(part))
    except (OSError, ValueError) as error:
        raise PresetError(_not_found(preset, name, part, error)) from error
    if name == "vision":
        config = getattr(config, "vision_config", None) or config
    elif name == "language":
        config = config.get_text_config()
    _check(preset, name, part, config)
    if hasattr(config, "vision_use_head"):
        # SigLIP's pooling head is not used by a VLM and would never get a gradient.
        config.vision_use_head = False
    return config


def declared_config(preset: Preset, name: str, part: FromCheckpoint) -> Any:
    """The configuration that the preset expects, without looking at the checkpoint."""
    from transformers import AutoConfig

    if not part.model_type:
        raise PresetError(
            f"preset {preset.name}: {name}.model_type is not set; set it and {name}.config to "
            "what the checkpoint's config.json says, so that a plan can be made without it"
        )
    config = AutoConfig.for_model(part.model_type, **part.config)
    if hasattr(config, "vision_use_head"):
        config.vision_use_head = False
    return config


def load_tokenizer(preset: Preset, part: FromCheckpoint) -> Any:
    """The language checkpoint's tokenizer, unchanged."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(part.path, **_where(part))
    except (OSError, ValueError) as error:
        raise PresetError(_not_found(preset, "language", part, error)) from error
    if part.tokenizer_size and len(tokenizer) != part.tokenizer_size:
        raise PresetError(
            f"preset {preset.name}: language.tokenizer_size is {part.tokenizer_size}, but the "
            f"tokenizer of {part.path} has {len(tokenizer)} entries; correct the preset"
        )
    return tokenizer


def load_vision(preset: Preset, part: FromCheckpoint, config: Any) -> nn.Module:
    """The vision tower, at the preset's image size.

    If that differs from the checkpoint's, the position embedding is resized here, once: bicubically
    over the grid, as `interpolate_pos_encoding` does at every step, so that the saved model needs
    no interpolation. SigLIP-384 has 27x27 patches of 14 pixels; joining 2x2 needs an even grid, so
    the presets use 392 pixels and 28x28.
    """
    from transformers import AutoModel

    tower = _load(preset, "vision", part, AutoModel, config, prefix=_TOWER_PREFIX)
    if _side(config) == preset.image_size:
        return tower
    resized = at_size(config, preset.image_size)
    state = tower.state_dict()
    with torch.device("meta"):
        larger = AutoModel.from_config(resized, trust_remote_code=False)
    for name, wanted in larger.state_dict().items():
        if state[name].shape != wanted.shape:
            state[name] = resize_positions(state[name], tuple(wanted.shape))
    made: nn.Module = AutoModel.from_config(resized, trust_remote_code=False)
    made.load_state_dict(state)
    return made


def load_language(preset: Preset, part: FromCheckpoint, config: Any) -> tuple[nn.Module, nn.Module]:
    """The decoder and its output layer, with the checkpoint's weights (float32)."""
    from transformers import AutoModelForCausalLM

    model = _load(preset, "language", part, AutoModelForCausalLM, config)
    return model.base_model, model.get_output_embeddings()


def at_size(config: Any, image_size: int) -> Any:
    """A copy of a tower's configuration for square images of `image_size` pixels."""
    values = config.to_dict()
    pair = isinstance(config.image_size, list | tuple)
    values["image_size"] = [image_size, image_size] if pair else image_size
    return type(config).from_dict(values)


def resize_positions(positions: torch.Tensor, wanted: tuple[int, ...]) -> torch.Tensor:
    """Resize a learnt position embedding (..., tokens, hidden) to another square grid.

    A class token's row before the grid is kept as it is. Raises `ValueError` if either number
    of tokens is not a square grid.
    """
    old, new = positions.shape[-2], wanted[-2]
    for extra in (0, 1):
        side, to = round((old - extra) ** 0.5), round((new - extra) ** 0.5)
        if side * side + extra == old and to * to + extra == new:
            break
    else:
        raise ValueError(f"{old} positions cannot be resized to {new}: not both are square grids")
    flat = positions.reshape(old, -1)
    grid = flat[extra:].float().T.reshape(1, -1, side, side)
    resized = F.interpolate(grid, size=(to, to), mode="bicubic", align_corners=False)
    made = torch.cat([flat[:extra], resized.reshape(-1, to * to).T.to(flat.dtype)])
    return made.reshape(wanted)


def grow(weight: torch.Tensor, rows: int, *, seed: int) -> torch.Tensor:
    """A copy of `weight` (rows, hidden) with `rows` rows; existing ones are kept bit for bit.

    New rows are drawn from a normal distribution with the mean and deviation of the others.
    """
    generator = torch.Generator().manual_seed(seed)
    made = weight.new_empty(rows, weight.shape[1])
    made[: len(weight)] = weight
    noise = torch.randn(rows - len(weight), weight.shape[1], generator=generator)
    made[len(weight) :] = weight.mean(0) + noise.to(weight) * weight.std(0)
    return made


def _load(
    preset: Preset,
    name: str,
    part: FromCheckpoint,
    auto: Any,
    config: Any,
    *,
    prefix: str | None = None,
) -> Any:
    # A tower from a larger model leaves most weights unused; missing ones are an error below.
    try:
        with quiet():
            model, told = auto.from_pretrained(
                part.path,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
                key_mapping={prefix: ""} if prefix else None,
                **_where(part),
            )
    except OSError as error:
        raise PresetError(_not_found(preset, name, part, error)) from error
    where = f"preset {preset.name}: {name}.path {part.path}"
    try:
        check_report(told, where, files=[f"a {config.model_type} was expected"])
        check_finite(model, where)
    except CheckpointError as error:
        raise PresetError(str(error)) from error
    return model


def _where(part: FromCheckpoint) -> dict[str, Any]:
    allowed = part.download or os.environ.get(ALLOW_DOWNLOAD) == "1"
    local = Path(part.path).is_dir() or not allowed
    return {"local_files_only": local, "revision": part.revision, "trust_remote_code": False}


def _not_found(preset: Preset, name: str, part: FromCheckpoint, error: Exception) -> str:
    if Path(part.path).is_dir():
        return (
            f"preset {preset.name}: {name}.path {part.path} cannot be loaded: {error}. Give a "
            "`save_pretrained` directory with config.json and *.safetensors"
        )
    return (
        f"preset {preset.name}: {name}.path {part.path!r} is no directory here, and as a hub id "
        f"it cannot be loaded ({type(error).__name__}). Give a `save_pretrained` directory, or "
        f"allow the download: `download: true` in the preset, or {ALLOW_DOWNLOAD}=1"
    )


def _check(preset: Preset, name: str, part: FromCheckpoint, config: Any) -> None:
    expected: dict[str, Any] = {"model_type": part.model_type} if part.model_type else {}
    expected |= {f"config.{key}": value for key, value in part.config.items() if key not in _OURS}
    for field, wanted in expected.items():
        found = getattr(config, field.removeprefix("config."), None)
        if _plain(found) != _plain(wanted):
            raise PresetError(
                f"preset {preset.name}: {name}.{field} is {wanted!r}, but {part.path}/config.json "
                f"has {found!r}; name the checkpoint that was meant, or correct the preset"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _side(config: Any) -> int:
    size = config.image_size
    return int(size[0] if isinstance(size, list | tuple) else size)
