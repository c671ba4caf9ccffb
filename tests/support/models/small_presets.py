"""A preset with the same classes and options, and small random checkpoints in its parts' place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.models.checkpoints import tokenizer
from vila2.model.preset import FromCheckpoint, Preset

# Dimensions, and nothing else, differ from the real checkpoints.
_VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
_LANGUAGE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 1024,
}  # fmt: skip
_PATCH = 7


def small_preset(preset: Preset, folder: Path) -> Preset:
    """The preset in small; parts that are no checkpoints stay as they are."""
    changes: dict[str, Any] = {}
    if isinstance(preset.vision, FromCheckpoint):
        changes |= _vision(preset, preset.vision, folder / "vision")
    if isinstance(preset.language, FromCheckpoint):
        changes |= _language(preset.language, folder / "language")
    return preset.model_copy(update=changes)


def _vision(preset: Preset, part: FromCheckpoint, folder: Path) -> dict[str, Any]:
    from transformers import AutoConfig, AutoModel

    real, side = part.config["image_size"], 4 * _PATCH
    pair = isinstance(real, list)
    # SigLIP's own grid is odd, and the preset's is one larger (27 -> 28; here 3 -> 4).
    own = side if (real[0] if pair else real) == preset.image_size else 3 * _PATCH + 3
    sizes = {"image_size": [own] * 2, "patch_size": [_PATCH] * 2}
    if not pair:
        sizes = {"image_size": own, "patch_size": _PATCH}  # type: ignore[dict-item]
    values = {**part.config, **_VISION, **sizes}
    config = AutoConfig.for_model(part.model_type, **values)
    AutoModel.from_config(config).save_pretrained(folder)
    update = {"path": str(folder), "config": values}
    return {"vision": part.model_copy(update=update), "image_size": side, "published": {}}


def _language(part: FromCheckpoint, folder: Path) -> dict[str, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer()
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    values = {**part.config, **_LANGUAGE, "vocab_size": len(words)}
    if "head_dim" in values:
        values["head_dim"] = 32
    config = AutoConfig.for_model(part.model_type, **values, **ids)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    update = {"path": str(folder), "config": values, "tokenizer_size": 0}
    return {"language": part.model_copy(update=update)}
