"""Existing models: `save_pretrained` directories of models not composed by this package.

A model is supported if its forward takes one square image as `pixel_values` and gives it a fixed
number of tokens in the prompt: Llava (SigLIP, CLIP), VipLlava, InternVL, Idefics3 and SmolVLM
without splitting, and any other model that passes the checks below. Other models are refused with
the reason, in most cases before any weights are read.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vila2.model.chat_template import TemplateChat, TemplateError
from vila2.model.loading import LOCAL, load_model
from vila2.model.parts import PartsError, find_parts
from vila2.model.preset import WholeModel

_NEEDED = ("pixel_values", "past_key_values", "position_ids", "labels", "logits_to_keep")
# Unsupported arguments of a forward, and why models that take them are refused.
_REFUSED = {
    "image_grid_thw": "images have any size and number of tokens (image_grid_thw)",
    "grid_thws": "images have any size and number of tokens (grid_thws)",
    "spatial_shapes": "images have any size and number of tokens (spatial_shapes)",
    "aspect_ratio_ids": "images are cut into tiles (aspect_ratio_ids)",
    "cross_attention_mask": "images enter by cross-attention, not as tokens of the prompt",
    "token_type_ids": "tokens of an image see each other both ways (token_type_ids), "
    "which the captioner's causal cache does not do",
    "mm_token_type_ids": "tokens of an image see each other both ways (mm_token_type_ids), "
    "which the captioner's causal cache does not do",
    "images": "forward takes images of several towers",
}
# Known tensors of an image processor; a forward would not receive any others.
_TENSORS = ("pixel_values", "pixel_attention_mask", "num_patches", "rows", "cols", "num_crops")
_WHOLE_IMAGE: dict[str, dict[str, Any]] = {
    "idefics3": {"do_image_splitting": False},
    "smolvlm": {"do_image_splitting": False},
    "internvl": {"crop_to_patches": False},
}
_LIKE_LLAVA = ("llava", "vipllava")
_LIKE_IDEFICS = ("idefics3", "smolvlm")
# Small files beside the weights that tokenizer and image processor do not write themselves.
_PROCESSOR_FILES = ("processor_config.json", "video_preprocessor_config.json")
_ONE_COLOUR = (200, 100, 30)


class ForeignModelError(ValueError):
    """The model cannot be a base or a captioner; the message names directory and reason."""


@dataclass(frozen=True)
class Foreign:
    """Facts about a loaded model besides its weights."""

    parts: dict[str, str]
    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    image_tokens: int
    chat: TemplateChat
    image_axis: bool  # pixel_values are (B, 1, 3, H, W)
    image_processor: Any
    files: dict[str, bytes]  # of its processor, copied when the model is saved

    def save_processor(self, directory: Path) -> None:
        """Write the model's processor files unchanged."""
        self.image_processor.save_pretrained(directory)
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


def open_foreign(directory: Path, whole: WholeModel) -> tuple[Any, Any, Foreign]:
    """Load a model (float32, safetensors only) and its tokenizer; find out how it takes images.

    One image is passed through the tower to count its tokens. Raises `ForeignModelError` or
    `PartsError` if the model is not supported.
    """
    from transformers import AutoTokenizer

    config, kind = _config(directory)
    _check_forward(directory, config, kind)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **LOCAL)
    except (OSError, ValueError, TypeError) as error:
        raise ForeignModelError(
            f"{directory}: its tokenizer cannot be opened ({str(error).strip().splitlines()[0]}); "
            "copy tokenizer.json and tokenizer_config.json there"
        ) from error
    _find_template(directory, tokenizer)
    processor = _image_processor(directory)
    size = _square(config.vision_config.image_size, directory)
    mean, std, axis = _check_images(directory, config, processor, size)
    model = load_model(kind, directory, config=config).eval()
    try:
        parts = find_parts(model, whole.parts)  # type: ignore[arg-type]
    except PartsError as error:
        raise PartsError(f"{directory}: {error}") from error
    tokens = _count_tokens(directory, model, size, axis=axis)
    chat = _chat(directory, model, tokenizer, tokens)
    files = {
        name: (directory / name).read_bytes()
        for name in _PROCESSOR_FILES
        if (directory / name).is_file()
    }
    foreign = Foreign(parts, size, mean, std, tokens, chat, axis, processor, files)
    return model, tokenizer, foreign


def _config(directory: Path) -> tuple[Any, Any]:
    """Configuration and model class of a directory."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    path = directory / "config.json"
    if not path.is_file():
        raise ForeignModelError(
            f"{directory} holds no config.json: give a `save_pretrained` directory"
        )
    try:
        config: Any = AutoConfig.from_pretrained(directory, **LOCAL)
    except ValueError as error:
        raise ForeignModelError(f"{directory}: {error}") from error
    mapping = AutoModelForImageTextToText._model_mapping
    if type(config) not in mapping:
        raise ForeignModelError(
            f"{directory}: model_type {config.model_type!r} is no image-text-to-text model of "
            "transformers; compose one from its parts with a preset instead"
        )
    return config, mapping[type(config)]


def _check_forward(directory: Path, config: Any, kind: Any) -> None:
    """Refuse models by their configuration and the arguments of their forward."""
    arguments = inspect.signature(kind.forward).parameters
    reasons = [reason for name, reason in _REFUSED.items() if name in arguments]
    reasons += [f"forward takes no {name}" for name in _NEEDED if name not in arguments]
    text = config.get_text_config()
    if getattr(config, "is_encoder_decoder", False) or getattr(text, "is_encoder_decoder", False):
        reasons.append("it is an encoder-decoder, whose prompt is not continued")
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"} or getattr(text, "sliding_window", None):
        reasons.append(
            "its layers do not all attend to the whole prompt (sliding windows, convolutions or "
            "states), which the captioner's cache assumes"
        )
    if not hasattr(config, "vision_config") or not hasattr(config.vision_config, "image_size"):
        reasons.append("its vision_config names no image_size")
    if not isinstance(_image_token_id(config), int):
        reasons.append("its config names no image_token_id")
    if reasons:
        raise ForeignModelError(
            f"{directory}: a {config.model_type} cannot be a base or a captioner: "
            f"{'; '.join(reasons)}. Supported are models whose forward takes one square image as "
            "pixel_values and gives it a fixed number of tokens, such as Llava, InternVL, SmolVLM"
        )


def _image_token_id(config: Any) -> int | None:
    return getattr(config, "image_token_id", None)


def _find_template(directory: Path, tokenizer: Any) -> None:
    """Use the template in the processor's legacy file if the tokenizer has none."""
    old = directory / "chat_template.json"
    if not tokenizer.chat_template and old.is_file():
        tokenizer.chat_template = json.loads(old.read_text())["chat_template"]
    if not tokenizer.chat_template:
        raise ForeignModelError(
            f"{directory} holds no chat template, so it is unknown how the model is asked; put "
            "one into chat_template.jinja"
        )


def _image_processor(directory: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(directory, **LOCAL)
    except (OSError, ValueError) as error:
        raise ForeignModelError(
            f"{directory}: how images are prepared is unknown ({error}); save the model's image "
            "processor there (preprocessor_config.json)"
        ) from error


def _square(size: Any, directory: Path) -> int:
    sides = {int(side) for side in size} if isinstance(size, list | tuple) else {int(size)}
    if len(sides) != 1:
        raise ForeignModelError(f"{directory}: vision_config.image_size {size} is not square")
    return sides.pop()


def _check_images(
    directory: Path, config: Any, processor: Any, size: int
) -> tuple[tuple[float, float, float], tuple[float, float, float], bool]:
    """Mean, deviation, and whether images have an axis of their own.

    The model's own processor must give the same result as ours for an image of one colour.
    """
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    image = np.full((size, size, 3), _ONE_COLOUR, dtype=np.uint8)
    options = _WHOLE_IMAGE.get(config.model_type, {})
    nested = config.model_type in _LIKE_IDEFICS
    made = processor(images=[[image]] if nested else [image], return_tensors="pt", **options)
    if beyond := sorted(set(made) - set(_TENSORS)):
        raise ForeignModelError(
            f"{directory}: a {config.model_type} cannot be a base or a captioner: its images "
            f"also need {', '.join(beyond)}"
        )
    values = made["pixel_values"]
    axis = values.ndim == 5
    if tuple(values.shape) != ((1, 1, 3, size, size) if axis else (1, 3, size, size)):
        raise ForeignModelError(
            f"{directory}: one image becomes pixel_values of {tuple(values.shape)}, not one of "
            f"{size}x{size}: it is cut into tiles or scaled to another size. Correct "
            "preprocessor_config.json (vision_config.image_size, no tiles), or use another model"
        )
    ours = [(part / 255 - m) / s for part, m, s in zip(_ONE_COLOUR, mean, std, strict=True)]
    theirs = values.reshape(3, -1).mean(1).tolist()
    if not np.allclose(ours, theirs, atol=0.02):
        raise ForeignModelError(
            f"{directory}: its image processor turns the colour {_ONE_COLOUR} into "
            f"{[round(v, 3) for v in theirs]}, where image_mean and image_std give "
            f"{[round(v, 3) for v in ours]}; only rescaling by 1/255 and normalising is supported"
        )
    return mean, std, axis


@torch.inference_mode()
def _count_tokens(directory: Path, model: Any, size: int, *, axis: bool) -> int:
    """Number of tokens per image; measured on the model, not read from its configuration."""
    # A ramp: some models drop an all-zero image as padding.
    image = torch.linspace(-1, 1, 3 * size * size).reshape(1, 3, size, size)
    try:
        made = model.get_image_features(pixel_values=image[:, None] if axis else image)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ForeignModelError(
            f"{directory}: the tower does not take one image of {size}x{size}: {error}"
        ) from error
    return int(image_rows(made).shape[0])


def image_rows(features: Any) -> torch.Tensor:
    """Flatten the result of `get_image_features` to (images x tokens, hidden).

    Families differ: a tensor (images, tokens, hidden), or a list with one tensor per image, alone
    or as the `pooler_output` of an output class.
    """
    found = getattr(features, "pooler_output", features)
    rows = torch.cat(list(found)) if isinstance(found, list | tuple) else found
    return rows.reshape(-1, rows.shape[-1])


def _chat(directory: Path, model: Any, tokenizer: Any, tokens: int) -> TemplateChat:
    image_id = _image_token_id(model.config)
    assert image_id is not None  # checked before
    stops = model.generation_config.eos_token_id
    stops = frozenset(stops if isinstance(stops, list) else [] if stops is None else [stops])
    image = _image_text(directory, model.config, tokenizer, tokens)
    if tokenizer.encode(image, add_special_tokens=False).count(image_id) != tokens:
        raise ForeignModelError(
            f"{directory}: the tokenizer does not read {tokens} image tokens from {image[:60]!r}"
            "...; is it the model's own tokenizer, with its special tokens?"
        )
    try:
        return TemplateChat(
            tokenizer, image_tokens=tokens, image_id=image_id, image=image, stops=stops
        )
    except TemplateError as error:
        raise TemplateError(f"{directory}: {error}") from error


def _image_text(directory: Path, config: Any, tokenizer: Any, tokens: int) -> str:
    """The text that this model type's processor writes for an image that is not split.

    Taken from transformers 5.23's processors, which cannot all be loaded (some need
    torchvision for videos); for other model types the directory's processor is used.
    """
    token = str(tokenizer.convert_ids_to_tokens(_image_token_id(config)))
    if config.model_type in _LIKE_LLAVA:
        return token * tokens
    if config.model_type == "internvl":
        start = getattr(tokenizer, "start_image_token", "<img>")
        end = getattr(tokenizer, "end_image_token", "</img>")
        return f"{start}{token * tokens}{end}"
    if config.model_type in _LIKE_IDEFICS:
        around = "<fake_token_around_image>"
        return f"{around}<global-img>{token * tokens}{around}"
    return _asked_of_processor(directory, config, token)


def _asked_of_processor(directory: Path, config: Any, token: str) -> str:
    from transformers import AutoProcessor

    size = _square(config.vision_config.image_size, directory)
    image = np.full((size, size, 3), _ONE_COLOUR, dtype=np.uint8)
    try:
        processor = AutoProcessor.from_pretrained(directory, **LOCAL)
        ids = processor(text=[token], images=[image], add_special_tokens=False)["input_ids"][0]
        return str(processor.tokenizer.decode(ids))
    except (OSError, ValueError, TypeError, ImportError, AttributeError, KeyError) as error:
        raise ForeignModelError(
            f"{directory}: what a {config.model_type} writes for an image is unknown, and its "
            f"processor does not say ({error}); save the processor there (processor_config.json)"
        ) from error
