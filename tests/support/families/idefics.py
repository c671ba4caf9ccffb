"""Idefics3 and SmolVLM: an image is cut into tiles with names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as hf

from tests.support.families import templates
from tests.support.families.parts import TEXT, VISION, save, tokenizer, words_of


def idefics3(directory: Path) -> None:
    _idefics(directory, family="Idefics3")


def smolvlm(directory: Path) -> None:
    video = {"video_processor_type": "SmolVLMVideoProcessor", "size": {"longest_edge": 64}}
    _idefics(directory, family="SmolVLM", video=video)


def _idefics(directory: Path, *, family: str, video: dict[str, Any] | None = None) -> None:
    """Idefics3 and its descendant SmolVLM, which also takes videos."""
    named = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = tokenizer(
        ["<|endoftext|>", "<|im_start|>", *named.values(), *tiles],
        bos="<|im_start|>",
        eos="<end_of_utterance>",
        pad="<|endoftext|>",
        named=named,
    )
    side, patch, factor = 64, 8, 2
    tokens = (side // patch // factor) ** 2
    config = getattr(hf, f"{family}Config")(
        vision_config={**VISION, "image_size": side, "patch_size": patch},
        text_config=hf.LlamaConfig(**TEXT, **words_of(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=factor,
        pad_token_id=words.pad_token_id,
    )
    save(
        directory,
        getattr(hf, f"{family}ForConditionalGeneration")(config),
        words,
        getattr(hf, f"{family}ImageProcessor")(
            size={"longest_edge": 2 * side}, max_image_size={"longest_edge": side}
        ),
        processor=f"{family}Processor",
        template=templates.IDEFICS,
        settings={"image_seq_len": tokens},
        video=video,
    )
