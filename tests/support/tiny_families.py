"""Tiny models of thirteen families of vision-language models, with their real classes.

Model, configuration, tokenizer's special tokens, image processor and processor class are each
family's own; sizes and weights are not. A directory has the files that the repositories of real
models have: the image processor in preprocessor_config.json, the processor's class and its
settings in processor_config.json, and for families that also take videos
video_preprocessor_config.json, without torchvision having to be installed to write it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from tests.support import tiny_templates as templates

_SEED = 0
_SENTENCES = [
    "a large red circle and a small blue square on a white background.",
    "Describe the image in detail. What is in the picture?",
    "USER: user ASSISTANT: assistant system model You are a helpful assistant.",
] * 8
_TEXT = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip
_HEAD = 32
_VISION = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
_SIDE, _PATCH = 56, 14  # of an image or a tile, in pixels
_GRID_TOKENS = (_SIDE // _PATCH) ** 2
_HALF = [0.5, 0.5, 0.5]


def build(name: str, directory: Path) -> Path:
    """Write the tiny model `name` of `FAMILIES` into `directory`, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        FAMILIES[name](directory)
    return directory


def _tokenizer(
    specials: list[str],
    *,
    eos: str,
    bos: str | None = None,
    pad: str | None = None,
    named: dict[str, str] | None = None,
    adds_bos: bool = False,
) -> Any:
    """A byte-level tokenizer: `specials` come first, `named` are those that a processor asks for.

    `adds_bos` for families whose tokenizer writes the beginning itself. Its padding side is the
    wrong one for generation, as it is in many repositories.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_SENTENCES, trainer)
    if adds_bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, made.token_to_id(bos))],
        )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens=named or {},
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _spread(model: torch.nn.Module) -> None:
    """Draw every matrix anew so that a layer keeps the size of its input.

    Real initialisations have a deviation of about 0.02, made for hidden sizes in the thousands:
    in a model this small the attention is then the same everywhere and the image changes the
    answer by less than rounding does.
    """
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))


def _save(
    directory: Path,
    model: Any,
    tokenizer: Any,
    image_processor: Any,
    *,
    processor: str,
    template: str,
    settings: dict[str, Any] | None = None,
    video: dict[str, Any] | None = None,
    legacy_template: bool = False,
) -> None:
    """Write model, tokenizer, image processor and the description of the processor.

    `processor` is its class, `settings` what the class is constructed with beside its parts, and
    `video` the content of video_preprocessor_config.json.
    """
    _spread(model)
    generation = model.generation_config
    generation.bos_token_id = tokenizer.bos_token_id
    generation.eos_token_id = tokenizer.eos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    image_processor.save_pretrained(directory)
    _write(directory / "processor_config.json", {"processor_class": processor, **(settings or {})})
    if video:
        _write(directory / "video_preprocessor_config.json", video)
    if legacy_template:
        _write(directory / "chat_template.json", {"chat_template": template})
    else:
        (directory / "chat_template.jinja").write_text(template)


def _words(tokenizer: Any) -> dict[str, Any]:
    """What the configuration of a language model says of its tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _siglip(**options: Any) -> Any:
    return hf.SiglipVisionConfig(
        image_size=_SIDE, patch_size=_PATCH, vision_use_head=False, **_VISION, **options
    )


def _square() -> dict[str, int]:
    return {"height": _SIDE, "width": _SIDE}


def _llava(directory: Path) -> None:
    words = _tokenizer(
        ["<unk>", "<s>", "</s>", "<image>", "<pad>"],
        bos="<s>",
        eos="</s>",
        pad="<pad>",
        named={"image_token": "<image>"},
        adds_bos=True,
    )
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(image_size=_SIDE, patch_size=_PATCH, **_VISION),
        text_config=hf.LlamaConfig(**_TEXT, **_words(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=_GRID_TOKENS,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    _save(
        directory,
        hf.LlavaForConditionalGeneration(config),
        words,
        hf.CLIPImageProcessor(size={"shortest_edge": _SIDE}, crop_size=_square()),
        processor="LlavaProcessor",
        template=templates.LLAVA,
        settings={
            "patch_size": _PATCH,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    )


def _llava_onevision(directory: Path) -> None:
    words = _tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named={"image_token": "<image>", "video_token": "<video>"},
    )
    grids = [[_SIDE * rows, _SIDE * columns] for rows in (1, 2) for columns in (1, 2)]
    config = hf.LlavaOnevisionConfig(
        vision_config=_siglip(),
        text_config=hf.Qwen2Config(**_TEXT, **_words(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
    )
    _save(
        directory,
        hf.LlavaOnevisionForConditionalGeneration(config),
        words,
        hf.LlavaOnevisionImageProcessor(size=_square(), image_grid_pinpoints=grids),
        processor="LlavaOnevisionProcessor",
        template=templates.LLAVA_ONEVISION,
        settings={
            "num_image_tokens": _GRID_TOKENS,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
        video={"video_processor_type": "LlavaOnevisionVideoProcessor", "size": _square()},
    )


def _internvl(directory: Path) -> None:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    words = _tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *named.values()],
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named=named,
    )
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(
            image_size=[_SIDE, _SIDE], patch_size=[_PATCH, _PATCH], **_VISION
        ),
        text_config=hf.Qwen2Config(**_TEXT, **_words(words)),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=_GRID_TOKENS // 4,
    )
    _save(
        directory,
        hf.InternVLForConditionalGeneration(config),
        words,
        hf.GotOcr2ImageProcessor(
            size=_square(), crop_to_patches=False, min_patches=1, max_patches=4
        ),
        processor="InternVLProcessor",
        template=templates.INTERNVL,
        settings={"image_seq_length": _GRID_TOKENS // 4},
        video={"video_processor_type": "InternVLVideoProcessor", "size": _square()},
    )


def _qwen_tokenizer() -> tuple[Any, dict[str, int]]:
    """The tokenizer of all Qwen-VL, and the ids that their configurations name."""
    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
    }
    words = _tokenizer(
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


_QWEN_VISION = {"depth": 2, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}


def _qwen2_vl(directory: Path) -> None:
    words, ids = _qwen_tokenizer()
    config = hf.Qwen2VLConfig(
        vision_config={
            **_QWEN_VISION, "embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2, "patch_size": 14,
        },
        text_config={**_TEXT, **_words(words), **_mrope([4, 6, 6])},
        **ids,
    )  # fmt: skip
    _save(
        directory,
        hf.Qwen2VLForConditionalGeneration(config),
        words,
        _qwen_images(14),
        processor="Qwen2VLProcessor",
        template=templates.QWEN2_VL,
        legacy_template=True,
    )


def _qwen2_5_vl(directory: Path) -> None:
    words, ids = _qwen_tokenizer()
    config = hf.Qwen2_5_VLConfig(
        vision_config={
            **_QWEN_VISION, "hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 128,
            "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1],
        },
        text_config={**_TEXT, **_words(words), **_mrope([4, 6, 6])},
        **ids,
    )  # fmt: skip
    _save(
        directory,
        hf.Qwen2_5_VLForConditionalGeneration(config),
        words,
        _qwen_images(14),
        processor="Qwen2_5_VLProcessor",
        template=templates.QWEN2_VL,
        video={"video_processor_type": "Qwen2VLVideoProcessor", "patch_size": 14},
    )


def _qwen3_vl(directory: Path) -> None:
    words, ids = _qwen_tokenizer()
    config = hf.Qwen3VLConfig(
        vision_config={
            **_QWEN_VISION, "hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 128,
            "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
        },
        text_config={
            **_TEXT, **_words(words), "head_dim": _HEAD,
            **_mrope([6, 5, 5], mrope_interleaved=True),
        },
        **ids,
    )  # fmt: skip
    _save(
        directory,
        hf.Qwen3VLForConditionalGeneration(config),
        words,
        _qwen_images(16),
        processor="Qwen3VLProcessor",
        template=templates.QWEN3_VL,
        video={"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16},
    )


def _gemma3(directory: Path) -> None:
    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    words = _tokenizer(
        # The processor puts blank lines around an image; they are tokens of their own.
        ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", *named.values(), "\n\n"],
        bos="<bos>",
        eos="<end_of_turn>",
        pad="<pad>",
        named=named,
        adds_bos=True,
    )
    config = hf.Gemma3Config(
        vision_config=_siglip(),
        text_config=hf.Gemma3TextConfig(
            **_TEXT,
            **_words(words),
            head_dim=_HEAD,
            query_pre_attn_scalar=_HEAD,
            sliding_window=64,
            layer_types=["sliding_attention", "full_attention"],
        ),
        mm_tokens_per_image=_GRID_TOKENS // 4,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
    )
    _save(
        directory,
        hf.Gemma3ForConditionalGeneration(config),
        words,
        hf.Gemma3ImageProcessor(size=_square(), image_mean=_HALF, image_std=_HALF),
        processor="Gemma3Processor",
        template=templates.GEMMA,
        settings={"image_seq_length": _GRID_TOKENS // 4},
    )


def _idefics(directory: Path, *, family: str, video: dict[str, Any] | None = None) -> None:
    """Idefics3 and its descendant SmolVLM, which also takes videos."""
    named = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = _tokenizer(
        ["<|endoftext|>", "<|im_start|>", *named.values(), *tiles],
        bos="<|im_start|>",
        eos="<end_of_utterance>",
        pad="<|endoftext|>",
        named=named,
    )
    side, patch, factor = 64, 8, 2
    tokens = (side // patch // factor) ** 2
    config = getattr(hf, f"{family}Config")(
        vision_config={**_VISION, "image_size": side, "patch_size": patch},
        text_config=hf.LlamaConfig(**_TEXT, **_words(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=factor,
        pad_token_id=words.pad_token_id,
    )
    _save(
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


def _idefics3(directory: Path) -> None:
    _idefics(directory, family="Idefics3")


def _smolvlm(directory: Path) -> None:
    video = {"video_processor_type": "SmolVLMVideoProcessor", "size": {"longest_edge": 64}}
    _idefics(directory, family="SmolVLM", video=video)


def _mistral_tokenizer() -> Any:
    return _tokenizer(
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
    return hf.PixtralVisionConfig(image_size=112, patch_size=_PATCH, **_VISION)


def _pixtral(directory: Path) -> None:
    words = _mistral_tokenizer()
    config = hf.LlavaConfig(
        vision_config=_pixtral_tower(),
        text_config=hf.MistralConfig(**_TEXT, **_words(words), head_dim=_HEAD),
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    _save(
        directory,
        hf.LlavaForConditionalGeneration(config),
        words,
        _mistral_images(_PATCH),
        processor="PixtralProcessor",
        template=templates.PIXTRAL,
        settings={"patch_size": _PATCH},
    )


def _mistral3(directory: Path) -> None:
    words = _mistral_tokenizer()
    config = hf.Mistral3Config(
        vision_config=_pixtral_tower(),
        text_config=hf.MistralConfig(**_TEXT, **_words(words), head_dim=_HEAD, sliding_window=None),
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    _save(
        directory,
        hf.Mistral3ForConditionalGeneration(config),
        words,
        _mistral_images(_PATCH),
        processor="PixtralProcessor",
        template=templates.MISTRAL_3,
        settings={"patch_size": _PATCH, "spatial_merge_size": 2},
    )


def _paligemma2(directory: Path) -> None:
    from transformers.models.paligemma.processing_paligemma import EXTRA_TOKENS

    words = _tokenizer(
        ["<pad>", "<eos>", "<bos>", "<image>"],
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        named={"image_token": "<image>"},
    )
    # Places and shapes, which the family also answers with; its processor adds them if need be.
    words.add_tokens(EXTRA_TOKENS)
    config = hf.PaliGemmaConfig(
        vision_config=_siglip(),
        text_config=hf.Gemma2Config(
            **_TEXT,
            **_words(words),
            head_dim=_HEAD,
            query_pre_attn_scalar=_HEAD,
            sliding_window=64,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vocab_size=len(words),
        projection_dim=_TEXT["hidden_size"],
        hidden_size=_TEXT["hidden_size"],
    )
    _save(
        directory,
        hf.PaliGemmaForConditionalGeneration(config),
        words,
        hf.SiglipImageProcessor(
            size=_square(), image_mean=_HALF, image_std=_HALF, image_seq_length=_GRID_TOKENS
        ),
        processor="PaliGemmaProcessor",
        template=templates.PALIGEMMA,
    )


def _aya_vision(directory: Path) -> None:
    turns = ["<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"]
    speakers = ["<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"]
    images = ["<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>"]
    tiles = ["TILE_GLOBAL", *(f"TILE_{number}" for number in range(1, 13))]
    words = _tokenizer(
        ["<PAD>", "<BOS_TOKEN>", *turns, *speakers, *images, *tiles],
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        pad="<PAD>",
        adds_bos=True,
    )
    config = hf.AyaVisionConfig(
        vision_config=_siglip(),
        text_config=hf.Cohere2Config(
            **_TEXT,
            **_words(words),
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=64,
        ),
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
    )
    _save(
        directory,
        hf.AyaVisionForConditionalGeneration(config),
        words,
        hf.GotOcr2ImageProcessor(
            size=_square(),
            image_mean=_HALF,
            image_std=_HALF,
            crop_to_patches=True,
            min_patches=1,
            max_patches=4,
        ),
        processor="AyaVisionProcessor",
        template=templates.AYA_VISION,
        settings={"patch_size": _PATCH, "img_size": _SIDE, "downsample_factor": 2},
    )


FAMILIES: dict[str, Callable[[Path], None]] = {
    "LLaVA-1.5": _llava,
    "LLaVA-OneVision": _llava_onevision,
    "InternVL3": _internvl,
    "Qwen2-VL": _qwen2_vl,
    "Qwen2.5-VL": _qwen2_5_vl,
    "Qwen3-VL": _qwen3_vl,
    "Gemma 3": _gemma3,
    "SmolVLM": _smolvlm,
    "Idefics3": _idefics3,
    "Pixtral": _pixtral,
    "Mistral 3": _mistral3,
    "PaliGemma 2": _paligemma2,
    "Aya Vision": _aya_vision,
}
