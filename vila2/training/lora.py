"""Low-rank adapters on the language part (Hu et al. 2021), by peft; a saved model has none."""

from __future__ import annotations

from typing import Any

from vila2.model.build import VLM
from vila2.schemas.stages import Lora


def adapt(vlm: VLM, settings: Lora) -> None:
    """Freeze the language part and put adapters on all its linear layers, in place."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("lora needs peft: pip install 'vila2[lora]'") from error
    language = vlm.part("language")
    language.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a float serves
        lora_dropout=settings.dropout,
        target_modules="all-linear",
    )
    inject_adapter_in_model(config, language)


def merge(vlm: VLM) -> None:
    """Add the adapters to the weights they adapt, and take them out."""
    from peft.tuners.lora import LoraLayer

    language = vlm.part("language")
    for name, module in list(language.named_modules()):
        if isinstance(module, LoraLayer):
            layer: Any = module
            layer.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(language.get_submodule(parent), attribute, layer.get_base_layer())
