"""Tiny random models of other people's architectures, saved with tokenizer and processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPImageProcessor,
    GotOcr2ImageProcessor,
    LlavaProcessor,
    SiglipImageProcessor,
    SmolVLMImageProcessor,
)

from tests.support.models.checkpoints import LLAMA, tokenizer

TOWER = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 7,
}  # fmt: skip
# ChatML with an end of turn, as InternVL and SmolVLM have it; an image by its token.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}IMAGE\n{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As LLaVA-1.5 has it: no end of an answer, and the tokenizer puts the beginning.
VICUNA = (
    "{% for m in messages %}{{ m.role.upper() }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}<image>\n{% else %}{{ c.text }} {% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _text(words: Any, **changes: Any) -> dict[str, Any]:
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    pad = {"pad_token_id": words.eos_token_id}
    return {"model_type": "llama", **LLAMA, "vocab_size": len(words), **ids, **pad, **changes}


def _save(folder: Path, config: Any, words: Any, processor: Any) -> Path:
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        # Random weights of the usual size all but ignore the image.
        for parameter in model.parameters():
            parameter.mul_(3)
    model.generation_config.eos_token_id = words.eos_token_id
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path, tower: str) -> Path:
    """A Llava whose tower is SigLIP (no class token) or CLIP (with one)."""
    words = tokenizer("<image>")
    # Begins every text itself, as Llama's does.
    from tokenizers.processors import TemplateProcessing

    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", words.bos_token_id)]
    )
    words.chat_template = VICUNA
    config = AutoConfig.for_model(
        "llava",
        vision_config={"model_type": tower, **TOWER},
        text_config=_text(words),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default" if "clip" in tower else "full",
        image_seq_length=576,  # stale, as in many a checkpoint; 16 is true
    )
    size = {"height": 28, "width": 28}
    images: Any = (
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size)
        if "clip" in tower
        else SiglipImageProcessor(size=size)
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=words,
        patch_size=7,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int("clip" in tower),
        chat_template=VICUNA,
    )
    return _save(folder, config, words, processor)


def internvl(folder: Path) -> Path:
    """An InternVL as transformers has it: no token that begins a text, images in brackets."""
    words = tokenizer(
        "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", bos=None, eos="<|im_end|>"
    )
    words.chat_template = CHATML.replace("IMAGE", "<IMG_CONTEXT>")
    config = AutoConfig.for_model(
        "internvl",
        vision_config={**TOWER, "image_size": [28, 28], "patch_size": [7, 7]},
        text_config=_text(words, tie_word_embeddings=False),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    images = GotOcr2ImageProcessor(size={"height": 28, "width": 28})
    return _save(folder, config, words, images)


def smolvlm(folder: Path) -> Path:
    """A SmolVLM: images have an axis of their own, answers an end that is not the text's."""
    words = tokenizer(
        "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<global-img>", "<image>"
    )
    words.chat_template = CHATML.replace("IMAGE", "<image>")
    config = AutoConfig.for_model(
        "smolvlm",
        vision_config=TOWER,
        text_config=_text(words),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
        pad_token_id=words.eos_token_id,
    )
    edge = {"longest_edge": 28}
    return _save(folder, config, words, SmolVLMImageProcessor(size=edge, max_image_size=edge))


KINDS: dict[str, Callable[[Path], Path]] = {
    "llava-siglip": lambda folder: llava(folder, "siglip_vision_model"),
    "llava-clip": lambda folder: llava(folder, "clip_vision_model"),
    "internvl": internvl,
    "smolvlm": smolvlm,
}
