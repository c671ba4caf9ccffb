"""A model's own processor: writes prompts, prepares images and builds batches.

Opened from a `save_pretrained` directory like transformers does, for every model that
`AutoModelForImageTextToText` supports. Nothing is downloaded and no code in the directory is run.

Captioning needs three parts: image processor, tokenizer, chat template. Many processors also hold a
video processor or an audio feature extractor, and cannot be constructed if a package for one of
these is not installed (torchvision, num2words). Then the same class is constructed with a stand-in
for that part, which raises if it is used; `Processor.absent` names it.

**Pixels.** For most models transformers has two image processors: it uses the torchvision one if
torchvision is installed, otherwise the PIL one. `Processor.image_backend` is the one in use, so
that it can be recorded with captions. Both give the same tokens and shapes. Their pixels differ
slightly: at the sizes of real models, on noisy images, by at most 2 grey levels of 255 in at most
4% of the values (CLIP, SigLIP, InternVL, Gemma 3, Idefics3, SmolVLM, Pixtral, LLaVA-OneVision). If
an image is stretched in one direction and shrunk in the other, as Qwen-VL does to reach multiples
of its patch size, they differ by up to 6 levels in a quarter of the values. A model whose image
processor needs torchvision is refused if it is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vila2.model.loading import quiet
from vila2.model.processor_parts import ProcessorError, absent_parts, open_parts, read_json

__all__ = ["Processor", "ProcessorError", "open_processor"]

_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
    "spiece.model", "tekken.json",
)  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """An opened processor, ready for generation: batches are padded on the left.

    `inner` is transformers' object. `image_backend` is "torchvision" or "pil" (see above; a class
    that states no backend uses PIL). `absent` names the parts replaced by a stand-in, such as
    `("video_processor",)`.
    """

    inner: Any
    image_backend: str
    absent: tuple[str, ...]

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer; it has a padding token."""
        return self.inner.tokenizer

    @property
    def image_processor(self) -> Any:
        """The model's image processor."""
        return self.inner.image_processor

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        """The prompt of a conversation as text, with the model's placeholder for each image.

        `messages` hold `{"role": ..., "content": [{"type": "image"}, {"type": "text", "text":
        ...}]}`. The prompt ends where the model answers, unless `add_generation_prompt=False`.
        """
        options = {"add_generation_prompt": True, "tokenize": False, **options}
        return str(self.inner.apply_chat_template(messages, **options))

    def __call__(
        self, *, text: Sequence[str], images: Sequence[Any] | None = None, **options: Any
    ) -> Any:
        """Tokens and pixels of a batch, as the model's forward takes them (`BatchFeature`).

        `text` are B prompts of `apply_chat_template`. `images` are B images, or B lists of images:
        PIL's in RGB, or uint8 (height, width, 3). Tokens are (B, length), padded on the left;
        tensors of images have the model's own shapes. The tokenizer's start token is not added
        again to a prompt that begins with it. Raises ValueError if prompts and images do not fit,
        or an image has a shape that the model does not take (Qwen-VL: a ratio of sides above 200).
        """
        if images is not None:
            # Some families treat a flat list as the images of one prompt.
            options["images"] = [
                [_as_pil(image) for image in (some if isinstance(some, list | tuple) else [some])]
                for some in images
            ]
        bos = self.tokenizer.bos_token
        if bos and all(prompt.startswith(bos) for prompt in text):
            options.setdefault("add_special_tokens", False)
        # Processor classes and tokenizer_config.json have their own defaults for the side, so set
        # it.
        options = {"padding": True, "return_tensors": "pt", "padding_side": "left", **options}
        made = self.inner(text=list(text), **options)
        made.pop("labels", None)  # PaliGemma adds them, for training
        return made


def _as_pil(image: Any) -> Any:
    """An array as a PIL image: transformers takes one of 3 rows for channels-first."""
    return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def open_processor(directory: Path) -> Processor:
    """Open the processor of a `save_pretrained` directory.

    Raises `ProcessorError` if its image processor, tokenizer or chat template is missing or
    damaged, needs a package that is not installed, or needs Python code of the directory.
    """
    _check_files(directory)
    _check_code(directory)
    with quiet():
        inner = open_parts(directory)
    for part in ("image_processor", "tokenizer", "apply_chat_template"):
        if not hasattr(inner, part):
            raise ProcessorError(
                f"{directory}: transformers knows no processor for it, and opens a "
                f"{type(inner).__name__} without {part} instead; name the model's own in "
                'processor_config.json ("processor_class")'
            )
    _find_template(directory, inner)
    _check_padding(directory, inner.tokenizer)
    backend = str(getattr(inner.image_processor, "backend", "pil"))
    return Processor(inner, backend, absent_parts(inner))


def _check_files(directory: Path) -> None:
    if not directory.is_dir():
        raise ProcessorError(f"{directory} is no directory: give one that `save_pretrained` wrote")
    of_images = read_json(directory, "preprocessor_config.json")
    of_all = read_json(directory, "processor_config.json")
    if not of_images and "image_processor" not in of_all:
        raise ProcessorError(
            f"{directory} holds no image processor (preprocessor_config.json, or processor_config"
            ".json with image_processor), so it is unknown how images are prepared: copy "
            "preprocessor_config.json from the model's repository"
        )
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        raise ProcessorError(
            f"{directory} holds no tokenizer (tokenizer.json, or one of "
            f"{', '.join(_TOKENIZERS[1:])}): copy tokenizer.json and tokenizer_config.json from "
            "the model's repository"
        )


def _check_code(directory: Path) -> None:
    """Refuse a model that only Python code of its own repository can open."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = read_json(directory, "config.json")
    kind = config.get("model_type")
    if kind is None or kind in CONFIG_MAPPING:
        return
    known = f"{directory}: transformers {transformers.__version__} does not know {kind!r}"
    if "auto_map" in config:
        raise ProcessorError(
            f"{known}, and Python code that comes with a model (auto_map in config.json) is not "
            "run; use a conversion of the model to transformers (often named -hf), or another model"
        )
    raise ProcessorError(f"{known} (model_type in config.json); install a version that does")


def _find_template(directory: Path, inner: Any) -> None:
    """Use the tokenizer's template if the processor has none; both read chat_template.jinja."""
    if not inner.chat_template:
        inner.chat_template = inner.tokenizer.chat_template
    if not inner.chat_template:
        raise ProcessorError(
            f"{directory} holds no chat template (chat_template.jinja, or chat_template in "
            "chat_template.json or tokenizer_config.json), so it is unknown how the model is "
            "asked: put the chat template into chat_template.jinja"
        )


def _check_padding(directory: Path, tokenizer: Any) -> None:
    tokenizer.padding_side = "left"  # generation continues after the last column
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ProcessorError(
            f"{directory}: its tokenizer has neither pad_token nor eos_token, so prompts of "
            'different length cannot be padded: name "pad_token" in tokenizer_config.json'
        )
