"""Build, save and load a vision-language model, and name its three parts.

Composed models are transformers' `AyaVisionForConditionalGeneration`: vision tower -> 2x2 pixel
shuffle -> LayerNorm -> gated MLP -> language model. It is VILA's `mlp_downsample` with a gate, in a
layout that transformers and vLLM serve without custom code, whatever the tower (decision 0001).
All presets, from tiny to 40B, take this path. An existing model is loaded unchanged
(`vila2.model.external_models`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from vila2.model import composition
from vila2.model.chat import IMAGE, ChatFormat, add_chat_tokens, train_tokenizer
from vila2.model.external_models import Foreign, open_foreign
from vila2.model.loading import LOCAL, load_model
from vila2.model.parts import PARTS, output_parameters
from vila2.model.preset import (
    PRESET_FILE,
    FromCheckpoint,
    FromWheel,
    Preset,
    PresetError,
    WholeModel,
)
from vila2.model.pretrained_parts import load_tokenizer
from vila2.model.weight_files import check_json

__all__ = ["LATE_IMPORTS", "PARTS", "VLM", "compose", "fresh_projector"]

# Modules imported lazily, when a model is composed or opened. A process that forks workers imports
# them first.
LATE_IMPORTS = (
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.aya_vision.modeling_aya_vision",
    "transformers.models.llama.modeling_llama",
    "vila2.engine.captioner",
)

_COMPOSED_PARTS = {
    "vision": "model.vision_tower",
    "projector": "model.multi_modal_projector",
    "language": "model.language_model",
}


@dataclass
class VLM:
    """A model with its tokenizer and preset, as training, captioning and saving need it.

    `foreign` is set for an existing model, that is, one not composed here.
    """

    model: Any
    tokenizer: Any
    preset: Preset
    foreign: Foreign | None = None

    @property
    def image_tokens(self) -> int:
        """Tokens that one image takes in the language model's input."""
        if self.foreign is not None:
            return self.foreign.image_tokens
        return composition.image_tokens(self.model.config)

    @property
    def image_token_id(self) -> int:
        """The placeholder token for one image embedding in the language model's input."""
        return int(self.model.config.image_token_id)

    @property
    def opens_with(self) -> Literal["transformers", "vila2"]:
        """The library that opens what `save` writes.

        Only a tower of this package's own (`FromWheel`) is unknown to transformers.
        """
        return "vila2" if isinstance(self.preset.vision, FromWheel) else "transformers"

    def chat(self) -> ChatFormat:
        """The chat format of this model's tokenizer: ours, or an external model's own template."""
        if self.foreign is not None:
            return self.foreign.chat
        return ChatFormat(self.tokenizer, image_tokens=self.image_tokens)

    def part(self, name: str) -> nn.Module:
        """One of `PARTS`; the language part includes the (tied) output layer."""
        names = _COMPOSED_PARTS if self.foreign is None else self.foreign.parts
        if name not in names:
            raise ValueError(f"unknown part {name!r}: a model has {', '.join(PARTS)}")
        module: nn.Module = self.model.get_submodule(names[name])
        return module

    def parameters_of(self, name: str) -> Iterator[tuple[str, nn.Parameter]]:
        """Named parameters of one part; an untied output layer counts as language."""
        yield from self.part(name).named_parameters(prefix=name)
        if name == "language":
            yield from output_parameters(self.model)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (B, H, W, 3) RGB -> float (B, 3, H, W), normalised for the vision tower.

        Foreign models that take several images a sample get (B, 1, 3, H, W).
        """
        mean = torch.tensor(self.preset.image_mean, device=pixels.device)
        std = torch.tensor(self.preset.image_std, device=pixels.device)
        made = ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
        return made[:, None] if self.foreign is not None and self.foreign.image_axis else made

    def save(self, directory: Path) -> None:
        """Write a plain `save_pretrained` directory: safetensors, tokenizer, preprocessor."""
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        if self.foreign is not None:
            self.foreign.save_processor(directory)
        else:
            images = _preprocessor(self.preset)
            (directory / "preprocessor_config.json").write_text(json.dumps(images, indent=1))
            both = _processor(self.preset, images, image_tokens=self.image_tokens)
            (directory / "processor_config.json").write_text(json.dumps(both, indent=1))
        preset = self.preset
        if preset.model is not None:  # the model is in this directory from now on
            here = preset.model.model_copy(update={"path": "."})
            preset = preset.model_copy(update={"model": here})
        (directory / PRESET_FILE).write_text(preset.model_dump_json(indent=1))

    @classmethod
    def load(cls, directory: Path) -> VLM:
        """Load what `save` wrote, or any other model that `vila2.model.external_models` supports.

        Only safetensors are read; nothing is unpickled or downloaded. Raises `CheckpointError` if a
        weight is missing or not finite.
        """
        file = directory / PRESET_FILE
        if not file.is_file():
            check_json(directory, "config.json")
            return _open_whole(Preset(name=_slug(directory), model=WholeModel(path=str(directory))))
        check_json(directory, "config.json", "tokenizer.json", "tokenizer_config.json")
        preset = Preset.model_validate_json(file.read_text())
        if preset.model is not None:
            whole = preset.model.model_copy(update={"path": str(directory)})
            return _open_whole(preset.model_copy(update={"model": whole}))
        from transformers import AutoTokenizer
        from transformers import AyaVisionForConditionalGeneration as Composed

        composition.register_towers(preset)
        model = load_model(Composed, directory)
        tokenizer = AutoTokenizer.from_pretrained(directory, **LOCAL)
        return cls(model, tokenizer, preset)


def compose(preset: Preset, *, texts: Iterable[str], seed: int) -> VLM:
    """Join a preset's vision and language parts with a new projector, or open its `model`.

    `texts` trains the tokenizer if the preset asks for one. Random weights depend only on `seed`; a
    checkpoint's weights are kept bit for bit. Raises `PresetError` if a checkpoint is missing or
    does not match the preset.
    """
    if preset.model is not None:
        return _open_whole(preset)
    from transformers import AyaVisionForConditionalGeneration as Composed

    torch.manual_seed(seed)
    if preset.vocabulary:
        tokenizer = train_tokenizer(texts, vocabulary=preset.vocabulary)
    elif isinstance(preset.language, FromCheckpoint):
        tokenizer = load_tokenizer(preset, preset.language)
        add_chat_tokens(tokenizer)
    else:
        raise PresetError(f"preset {preset.name}: set `vocabulary`, its language has no tokenizer")

    composition.register_towers(preset)
    vision = composition.vision_config(preset)
    language = composition.language_config(preset, tokenizer)
    config = composition.composed_config(preset, vision, language, tokenizer)
    if isinstance(preset.vision, FromCheckpoint) or isinstance(preset.language, FromCheckpoint):
        model: Any = composition.join_checkpoints(preset, vision, language, config, seed=seed)
    else:
        model = Composed(config)
        composition.load_wheel(preset, model)
    return VLM(model.float(), tokenizer, preset)


def fresh_projector(vlm: VLM, *, seed: int) -> None:
    """Give the model a newly initialised projector in place ("retrain from scratch", section 2.1).

    Vision and language keep their original weights; linear layers draw from a normal distribution
    with the preset's initializer range.
    """
    composition.reset_projector(vlm.part("projector"), vlm.preset.initializer_range, seed=seed)


def _open_whole(preset: Preset) -> VLM:
    """Open an existing model; fills in the preset's image settings from it."""
    assert preset.model is not None
    model, tokenizer, foreign = open_foreign(Path(preset.model.path), preset.model)
    if preset.image_size not in (0, foreign.image_size):
        raise PresetError(
            f"preset {preset.name}: image_size is {preset.image_size}, but the model's is "
            f"{foreign.image_size}; leave it out"
        )
    seen = {name: getattr(foreign, name) for name in ("image_size", "image_mean", "image_std")}
    return VLM(model, tokenizer, preset.model_copy(update=seen), foreign)


def _slug(directory: Path) -> str:
    return directory.resolve().name or "model"


def _processor(preset: Preset, images: dict[str, Any], *, image_tokens: int) -> dict[str, Any]:
    """Configuration for transformers' `AutoProcessor` to build the same prompts as `ChatFormat`.

    Aya Vision's processor writes tokens around an image; here they are empty. Its patches are those
    that remain after joining.
    """
    around = ("start_of_img_token", "end_of_img_token", "img_line_break_token", "tile_token")
    return {
        "processor_class": "AyaVisionProcessor",
        "image_processor": images,
        "image_token": IMAGE,
        "img_patch_token": IMAGE,
        "img_size": preset.image_size,
        "patch_size": preset.image_size // math.isqrt(image_tokens),
        "downsample_factor": 1,
        "tile_global_token": "",
        **dict.fromkeys(around, ""),
    }


def _preprocessor(preset: Preset) -> dict[str, Any]:
    return {
        "image_processor_type": "GotOcr2ImageProcessor",
        "crop_to_patches": False,
        # Also where a caller turns cropping on: there is one tile.
        "min_patches": 1,
        "max_patches": 1,
        "do_resize": True,
        "size": {"height": preset.image_size, "width": preset.image_size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preset.image_mean),
        "image_std": list(preset.image_std),
        "do_convert_rgb": True,
    }
