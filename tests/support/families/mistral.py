"""Pixtral and Mistral 3: images of any size, a token at the end of each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as hf

from tests.support.families import templates
from tests.support.families.parts import HEAD, PATCH, TEXT, VISION, save, tokenizer, words_of


def pixtral(directory: Path) -> None:
    words = _mistral_tokenizer()
    config = hf.LlavaConfig(
        vision_config=_pixtral_tower(),
        text_config=hf.MistralConfig(**TEXT, **words_of(words), head_dim=HEAD),
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    save(
        directory,
        hf.LlavaForConditionalGeneration(config),
        words,
        _mistral_images(PATCH),
        processor="PixtralProcessor",
        template=templates.PIXTRAL,
        settings={"patch_size": PATCH},
    )


def mistral3(directory: Path) -> None:
    words = _mistral_tokenizer()
    config = hf.Mistral3Config(
        vision_config=_pixtral_tower(),
        text_config=hf.MistralConfig(**TEXT, **words_of(words), head_dim=HEAD, sliding_window=None),
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    save(
        directory,
        hf.Mistral3ForConditionalGeneration(config),
        words,
        _mistral_images(PATCH),
        processor="PixtralProcessor",
        template=templates.MISTRAL_3,
        settings={"patch_size": PATCH, "spatial_merge_size": 2},
    )


def _mistral_tokenizer() -> Any:
    return tokenizer(
        [
            "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
            "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<pad>",
        ],
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        adds_bos=True,
    )  # fmt: skip


def _mistral_images(patch: int) -> Any:
    return hf.PixtralImageProcessor(
        size={"longest_edge": 112}, patch_size={"height": patch, "width": patch}
    )


def _pixtral_tower() -> Any:
    return hf.PixtralVisionConfig(image_size=112, patch_size=PATCH, **VISION)
