"""Gemma 3 and PaliGemma 2: the tokens of an image see each other both ways."""

from __future__ import annotations

from pathlib import Path

import transformers as hf

from tests.support.families import templates
from tests.support.families.parts import (
    GRID_TOKENS,
    HALF,
    HEAD,
    TEXT,
    save,
    siglip,
    square,
    tokenizer,
    words_of,
)


def gemma3(directory: Path) -> None:
    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    words = tokenizer(
        # The processor puts blank lines around an image; they are tokens of their own.
        ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", *named.values(), "\n\n"],
        bos="<bos>",
        eos="<end_of_turn>",
        pad="<pad>",
        named=named,
        adds_bos=True,
    )
    config = hf.Gemma3Config(
        vision_config=siglip(),
        text_config=hf.Gemma3TextConfig(
            **TEXT,
            **words_of(words),
            head_dim=HEAD,
            query_pre_attn_scalar=HEAD,
            sliding_window=64,
            layer_types=["sliding_attention", "full_attention"],
        ),
        mm_tokens_per_image=GRID_TOKENS // 4,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
    )
    save(
        directory,
        hf.Gemma3ForConditionalGeneration(config),
        words,
        hf.Gemma3ImageProcessor(size=square(), image_mean=HALF, image_std=HALF),
        processor="Gemma3Processor",
        template=templates.GEMMA,
        settings={"image_seq_length": GRID_TOKENS // 4},
    )


def paligemma2(directory: Path) -> None:
    from transformers.models.paligemma.processing_paligemma import EXTRA_TOKENS

    words = tokenizer(
        ["<pad>", "<eos>", "<bos>", "<image>"],
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        named={"image_token": "<image>"},
    )
    # Places and shapes, which the family also answers with; its processor adds them if need be.
    words.add_tokens(EXTRA_TOKENS)
    config = hf.PaliGemmaConfig(
        vision_config=siglip(),
        text_config=hf.Gemma2Config(
            **TEXT,
            **words_of(words),
            head_dim=HEAD,
            query_pre_attn_scalar=HEAD,
            sliding_window=64,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vocab_size=len(words),
        projection_dim=TEXT["hidden_size"],
        hidden_size=TEXT["hidden_size"],
    )
    save(
        directory,
        hf.PaliGemmaForConditionalGeneration(config),
        words,
        hf.SiglipImageProcessor(
            size=square(), image_mean=HALF, image_std=HALF, image_seq_length=GRID_TOKENS
        ),
        processor="PaliGemmaProcessor",
        template=templates.PALIGEMMA,
    )
