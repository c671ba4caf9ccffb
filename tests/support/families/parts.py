"""What the tiny families are made of: tokenizer, sizes, weights, and the files of a model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
import transformers as hf

_SENTENCES = [
    "a large red circle and a small blue square on a white background.",
    "Describe the image in detail. What is in the picture?",
    "USER: user ASSISTANT: assistant system model You are a helpful assistant.",
] * 8
TEXT: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip
HEAD = 32
VISION: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
SIDE, PATCH = 56, 14  # of an image or a tile, in pixels
GRID_TOKENS = (SIDE // PATCH) ** 2
HALF = [0.5, 0.5, 0.5]


def tokenizer(
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
    if adds_bos and bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, made.token_to_id(bos))],
        )
    fast: Any = hf.PreTrainedTokenizerFast  # not typed
    return fast(
        tokenizer_object=made,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens=named or {},
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def save(
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


def siglip(**options: Any) -> Any:
    return hf.SiglipVisionConfig(
        image_size=SIDE, patch_size=PATCH, vision_use_head=False, **VISION, **options
    )


def square() -> dict[str, int]:
    return {"height": SIDE, "width": SIDE}


def words_of(tokenizer: Any) -> dict[str, Any]:
    """What the configuration of a language model says of its tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _spread(model: torch.nn.Module) -> None:
    """Draw every matrix anew so that a layer keeps the size of its input.

    Real initialisations have a deviation of about 0.02, made for hidden sizes in the thousands:
    in a model this small the attention is then the same everywhere and the image changes the
    answer by less than rounding does.
    """
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))
