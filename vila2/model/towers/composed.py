"""The configuration of an InternVL-shaped model whose vision tower may be of any kind.

`InternVLConfig` reads `vision_config` as InternVL's own tower whatever its `model_type` says: a
SigLIP or EfficientNet dictionary silently becomes an `InternVLVisionConfig` of defaults.
The subclass below resolves it by its `model_type` instead, as `LlavaConfig` does. Use it to build
(`InternVLForConditionalGeneration(ComposedConfig(...))`) and to load
(`from_pretrained(folder, config=ComposedConfig.from_pretrained(folder))`).
"""

from __future__ import annotations

from typing import ClassVar

from transformers import AutoConfig, InternVLConfig
from transformers.configuration_utils import SubConfigSpec


class ComposedConfig(InternVLConfig):
    """`InternVLConfig` with a vision tower of any registered model type; saved as "internvl"."""

    model_type = "internvl"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        **InternVLConfig.sub_configs_defaults,
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="internvl_vision"),
    }
