"""LLaVA-1.5, LLaVA-OneVision, InternVL3, Aya Vision: a tower, a projector, a language model."""

from __future__ import annotations

from pathlib import Path

import transformers as hf

from tests.support.families import templates
from tests.support.families.parts import (
    GRID_TOKENS,
    HALF,
    PATCH,
    SIDE,
    TEXT,
    VISION,
    save,
    siglip,
    square,
    tokenizer,
    words_of,
)


def llava(directory: Path) -> None:
    words = tokenizer(
        ["<unk>", "<s>", "</s>", "<image>", "<pad>"],
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        named={"image_token": "<image>"},
        adds_bos=True,
    )
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, **VISION),
        text_config=hf.LlamaConfig(**TEXT, **words_of(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=GRID_TOKENS,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    save(
        directory,
        hf.LlavaForConditionalGeneration(config),
        words,
        hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=square()),
        processor="LlavaProcessor",
        template=templates.LLAVA,
        settings={
            "patch_size": PATCH,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    )


def llava_onevision(directory: Path) -> None:
    words = tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named={"image_token": "<image>", "video_token": "<video>"},
    )
    grids = [[SIDE * rows, SIDE * columns] for rows in (1, 2) for columns in (1, 2)]
    config = hf.LlavaOnevisionConfig(
        vision_config=siglip(),
        text_config=hf.Qwen2Config(**TEXT, **words_of(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
    )
    save(
        directory,
        hf.LlavaOnevisionForConditionalGeneration(config),
        words,
        hf.LlavaOnevisionImageProcessor(size=square(), image_grid_pinpoints=grids),
        processor="LlavaOnevisionProcessor",
        template=templates.LLAVA_ONEVISION,
        settings={
            "num_image_tokens": GRID_TOKENS,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
        video={"video_processor_type": "LlavaOnevisionVideoProcessor", "size": square()},
    )


def internvl(directory: Path) -> None:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    words = tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *named.values()],
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named=named,
    )
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(
            image_size=[SIDE, SIDE], patch_size=[PATCH, PATCH], **VISION
        ),
        text_config=hf.Qwen2Config(**TEXT, **words_of(words)),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=GRID_TOKENS // 4,
    )
    save(
        directory,
        hf.InternVLForConditionalGeneration(config),
        words,
        hf.GotOcr2ImageProcessor(
            size=square(), crop_to_patches=False, min_patches=1, max_patches=4
        ),
        processor="InternVLProcessor",
        template=templates.INTERNVL,
        settings={"image_seq_length": GRID_TOKENS // 4},
        video={"video_processor_type": "InternVLVideoProcessor", "size": square()},
    )


def aya_vision(directory: Path) -> None:
    turns = ["<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"]
    speakers = ["<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"]
    images = ["<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>"]
    tiles = ["TILE_GLOBAL", *(f"TILE_{number}" for number in range(1, 13))]
    words = tokenizer(
        ["<PAD>", "<BOS_TOKEN>", *turns, *speakers, *images, *tiles],
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        pad="<PAD>",
        adds_bos=True,
    )
    config = hf.AyaVisionConfig(
        vision_config=siglip(),
        text_config=hf.Cohere2Config(
            **TEXT,
            **words_of(words),
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=64,
        ),
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
    )
    save(
        directory,
        hf.AyaVisionForConditionalGeneration(config),
        words,
        hf.GotOcr2ImageProcessor(
            size=square(),
            image_mean=HALF,
            image_std=HALF,
            crop_to_patches=True,
            min_patches=1,
            max_patches=4,
        ),
        processor="AyaVisionProcessor",
        template=templates.AYA_VISION,
        settings={"patch_size": PATCH, "img_size": SIDE, "downsample_factor": 2},
    )
