"""Qwen-VL of three generations: images of any size, positions in three dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as hf

from tests.support.families import templates
from tests.support.families.parts import HEAD, TEXT, save, tokenizer, words_of

_QWEN_VISION = {"depth": 2, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}


def qwen2_vl(directory: Path) -> None:
    words, ids = _qwen_tokenizer()
    config = hf.Qwen2VLConfig(
        vision_config={
            **_QWEN_VISION, "embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2, "patch_size": 14,
        },
        text_config={**TEXT, **words_of(words), **_mrope([4, 6, 6])},
        **ids,
    )  # fmt: skip
    save(
        directory,
        hf.Qwen2VLForConditionalGeneration(config),
        words,
        _qwen_images(14),
        processor="Qwen2VLProcessor",
        template=templates.QWEN2_VL,
        legacy_template=True,
    )


def qwen2_5_vl(directory: Path) -> None:
    words, ids = _qwen_tokenizer()
    config = hf.Qwen2_5_VLConfig(
        vision_config={
            **_QWEN_VISION, "hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 128,
            "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1],
        },
        text_config={**TEXT, **words_of(words), **_mrope([4, 6, 6])},
        **ids,
    )  # fmt: skip
    save(
        directory,
        hf.Qwen2_5_VLForConditionalGeneration(config),
        words,
        _qwen_images(14),
        processor="Qwen2_5_VLProcessor",
        template=templates.QWEN2_VL,
        video={"video_processor_type": "Qwen2VLVideoProcessor", "patch_size": 14},
    )


def qwen3_vl(directory: Path) -> None:
    words, ids = _qwen_tokenizer()
    config = hf.Qwen3VLConfig(
        vision_config={
            **_QWEN_VISION, "hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 128,
            "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
        },
        text_config={
            **TEXT, **words_of(words), "head_dim": HEAD,
            **_mrope([6, 5, 5], mrope_interleaved=True),
        },
        **ids,
    )  # fmt: skip
    save(
        directory,
        hf.Qwen3VLForConditionalGeneration(config),
        words,
        _qwen_images(16),
        processor="Qwen3VLProcessor",
        template=templates.QWEN3_VL,
        video={"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16},
    )


def _qwen_tokenizer() -> tuple[Any, dict[str, Any]]:
    """The tokenizer of all Qwen-VL, and the ids that their configurations name."""
    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
    }
    words = tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *named.values()],
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named=named,
    )
    id_of = words.convert_tokens_to_ids
    return words, {
        "image_token_id": id_of("<|image_pad|>"),
        "video_token_id": id_of("<|video_pad|>"),
        "vision_start_token_id": id_of("<|vision_start|>"),
        "vision_end_token_id": id_of("<|vision_end|>"),
    }


def _qwen_images(patch: int) -> Any:
    """An image of any size becomes 4 to 16 tokens of 2x2 patches."""
    unit = (2 * patch) ** 2
    return hf.Qwen2VLImageProcessor(
        patch_size=patch, size={"shortest_edge": 4 * unit, "longest_edge": 16 * unit}
    )


def _mrope(sections: list[int], **options: Any) -> dict[str, Any]:
    """Rotary positions whose dimensions are shared out to time, height and width."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections, **options}
    return {"rope_parameters": rope}
