"""Small random checkpoints of real architectures, saved as anybody saves theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

SIGLIP = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 30, "patch_size": 10,
}  # fmt: skip
LLAMA = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512,
}  # fmt: skip
WORDS = ["a large red circle and a small blue square on a white background. what? describe it"] * 20


def tokenizer(*specials: str, bos: str | None = "<|begin|>", eos: str = "<|end|>") -> Any:
    """A byte-level tokenizer with its own names for beginning and end, and no padding token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = [*([bos] if bos else []), eos, *specials]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=bos,
        eos_token=eos,
        extra_special_tokens=list(specials),
        clean_up_tokenization_spaces=False,
    )


def save_siglip(folder: Path) -> dict[str, Any]:
    """A whole SigLIP, text tower and pooling head included, with a 3x3 grid; its weights."""
    config = SiglipConfig(
        vision_config=SIGLIP,
        text_config={**SIGLIP, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2},
    )
    model = SiglipModel(config)
    model.save_pretrained(folder)
    return dict(model.vision_model.state_dict())


def save_language(folder: Path, *, tied: bool, rows: int = 0) -> dict[str, Any]:
    """A Llama with its tokenizer; its weights."""
    words = tokenizer()
    config = AutoConfig.for_model(
        "llama",
        **LLAMA,
        vocab_size=rows or len(words),
        tie_word_embeddings=tied,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return dict(model.state_dict())


def save_internvit(folder: Path) -> dict[str, Any]:
    """An InternVL's tower alone; its weights."""
    config = AutoConfig.for_model(
        "internvl_vision", hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, image_size=[28, 28], patch_size=[7, 7],
    )  # fmt: skip
    model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    return dict(model.state_dict())
