"""A preset's shapes without its weights: the model is built on torch's meta device.

No memory is allocated and only the preset is read, so counting the parameters of a 40B model
exactly takes a second on a laptop. `vila2.model.memory` computes the cost from them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vila2.model import composition
from vila2.model.memory import Model, Part, Shape, Stage
from vila2.model.parts import output_parameters
from vila2.model.preset import FromCheckpoint, Preset, PresetError

# VILA², section 3 and table 13 (stages, masks, batch) and appendix A.5 (samples).
PAPER_BATCH = 1024
PAPER_STAGES = (
    Stage(
        "align",
        frozenset({"projector"}),
        samples=595_000,
        text_tokens=24,
        source="LLaVA's 595K pairs (A.5.1); 24 tokens: our assumption for its short captions",
    ),
    Stage(
        "pretrain",
        frozenset({"projector", "language"}),
        samples=51_000_000,
        text_tokens=170,
        source="51M images (A.5.1); 127 words of alt-text and caption (table 2) at 4/3 tokens",
    ),
    Stage(
        "sft",
        frozenset({"vision", "projector", "language"}),
        samples=5_900_000,
        text_tokens=256,
        source="5.9M blend (section 3.3); 256 tokens: our assumption",
    ),
)


def meta_model(preset: Preset, *, device: str = "meta") -> Any:
    """The model that the preset declares: without weights, or with random ones on a real device.

    Raises `PresetError` if the preset names a checkpoint without declaring its configuration.
    """
    from transformers import AyaVisionForConditionalGeneration as Composed

    if preset.model is not None:
        raise PresetError(
            f"preset {preset.name}: a plan is made for a composed model; `model` names one that "
            "exists, whose shapes are in its own files"
        )
    composition.register_towers(preset)
    declared = isinstance(preset.vision, FromCheckpoint)
    vision = composition.vision_config(preset, declared=declared)
    language = composition.language_config(preset)
    config = composition.composed_config(preset, vision, language)
    with torch.device(device):
        return Composed(config)


def shapes(model: Any, preset: Preset) -> Model:
    """The shapes of a composed model, on the meta device or a real one.

    Raises `PresetError` for parts whose cost is not that of dense transformer layers.
    """
    inner, config = model.model, model.config
    vision, language = config.vision_config, config.get_text_config()
    if getattr(language, "num_experts", None) or getattr(language, "num_local_experts", None):
        raise PresetError(f"preset {preset.name}: no plan for experts, whose use is not known")
    if not getattr(vision, "num_hidden_layers", 0):
        raise PresetError(
            f"preset {preset.name}: no plan for a {vision.model_type} tower; it has no transformer "
            "layers"
        )
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    grid = (preset.image_size // patch) ** 2
    head = list(output_parameters(model))
    tower = _shape(inner.vision_tower, vision)
    decoder = _shape(inner.language_model, language, head=model.lm_head, own=head)
    projector = _shape(inner.multi_modal_projector, None)
    parts: dict[Part, Shape] = {"vision": tower, "projector": projector, "language": decoder}
    in_layers = sum(shape.layers * shape.largest_layer for shape in (tower, decoder))
    total = tower.parameters + projector.parameters + decoder.parameters
    return Model(
        parts=parts,
        patches=grid + int(config.vision_feature_select_strategy == "default"),
        image_tokens=composition.image_tokens(config),
        vocabulary=language.vocab_size,
        outside_layers=total - in_layers,
    )


def _shape(
    module: nn.Module,
    config: Any,
    *,
    head: nn.Module | None = None,
    own: list[tuple[str, nn.Parameter]] | None = None,
) -> Shape:
    """Shape of a part; `head` is multiplied with every token even if `own` is empty (tied)."""
    count = sum(p.numel() for p in module.parameters()) + sum(p.numel() for _, p in own or [])
    matrices = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    matrices += [head] if isinstance(head, nn.Linear) else []
    matmul = sum(matrix.weight.numel() for matrix in matrices)
    if config is None:
        return Shape(count, matmul)
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    stacks = [m for m in module.modules() if isinstance(m, nn.ModuleList) and len(m)]
    layers = max(stacks, key=len)
    return Shape(
        parameters=count,
        matmul=matmul,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        attention=heads * size,
        key_value=(getattr(config, "num_key_value_heads", None) or heads) * size,
        intermediate=config.intermediate_size,
        gated=any(name.endswith("gate_proj") for name, _ in module.named_modules()),
        largest_layer=max(sum(p.numel() for p in layer.parameters()) for layer in layers),
    )
