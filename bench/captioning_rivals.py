"""Baselines for `captioning.py`, written with transformers only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captioning_workload import QUESTION, images, timed
from PIL import Image

from vila2.data.images.decoding import decode
from vila2.model.build import VLM


def piped(folder: Path, jpegs: Sequence[bytes], tokens: Sequence[int], *, device: str) -> float:
    """Seconds of a loop over transformers' pipeline, image by image, as in its documentation."""
    from transformers import pipeline

    kept = torch.float32 if device == "cpu" else torch.bfloat16
    ask = pipeline("image-text-to-text", model=str(folder), device=device, dtype=kept)
    return timed(lambda: _asked(ask, jpegs, tokens))


def _asked(ask: Any, jpegs: Sequence[bytes], tokens: Sequence[int]) -> None:
    for jpeg, count in zip(jpegs, tokens, strict=True):
        content = [{"type": "image", "image": Image.open(io.BytesIO(jpeg))},
                   {"type": "text", "text": QUESTION}]  # fmt: skip
        asked: Any = [{"role": "user", "content": content}]
        ask(
            text=asked,
            generate_kwargs={"max_new_tokens": count, "min_new_tokens": count, "do_sample": False},
            return_full_text=False,
        )


class Rows:
    """transformers' stopping criterion that ends each row at its own length."""

    def __init__(self, prompt: int, tokens: Sequence[int]) -> None:
        self._ends = torch.tensor([prompt + n for n in tokens])

    def __call__(self, ids: torch.Tensor, _: object, **__: object) -> torch.Tensor:
        """Return which rows have ended."""
        self._ends = self._ends.to(ids.device)
        return ids.shape[1] >= self._ends


def generated(vlm: VLM, jpegs: Sequence[bytes], tokens: Sequence[int], *, batch: int) -> None:
    """`generate` in batches padded to their longest answer, over a DataLoader that decodes."""
    from transformers import SiglipImageProcessor, StoppingCriteriaList

    side = {"height": vlm.preset.image_size, "width": vlm.preset.image_size}
    processor = SiglipImageProcessor(size=side)
    device, dtype = vlm.model.device, vlm.model.dtype
    prompt = vlm.chat().prompt(QUESTION)

    def collate(rows: list[int]) -> tuple[list[int], torch.Tensor]:
        images = [Image.open(io.BytesIO(jpegs[i])).convert("RGB") for i in rows]
        return rows, processor(images, return_tensors="pt")["pixel_values"]

    indices: Any = list(range(len(jpegs)))
    loader: Any = torch.utils.data.DataLoader(indices, batch_size=batch, collate_fn=collate)
    for rows, pixels in loader:
        wanted = [tokens[i] for i in rows]
        ids = torch.tensor([prompt] * len(rows), device=device)
        with torch.inference_mode():
            vlm.model.generate(
                input_ids=ids,
                pixel_values=pixels.to(device, dtype),
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max(wanted),
                do_sample=False,
                eos_token_id=None,
                pad_token_id=vlm.chat().pad_id,
                stopping_criteria=StoppingCriteriaList([Rows(len(prompt), wanted)]),
            )


def decoding(count: int) -> dict[str, float]:
    """Our decoding compared with the transformers processor's, one core, 1024x768 to 384."""
    from transformers import SiglipImageProcessor

    jpegs = images(count, width=1024, height=768)
    processor = SiglipImageProcessor(
        size={"height": 384, "width": 384}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )

    def theirs(jpeg: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        return np.asarray(processor(image, return_tensors="np")["pixel_values"][0])

    def ours(jpeg: bytes) -> np.ndarray:
        return decode(jpeg, size=(384, 384)).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)

    ours_seconds = timed(lambda: [ours(jpeg) for jpeg in jpegs])
    theirs_seconds = timed(lambda: [theirs(jpeg) for jpeg in jpegs])
    # In units of 1/255: the processor's values are -1 to 1.
    apart = [np.abs(ours(jpeg) - theirs(jpeg)) * 127.5 for jpeg in jpegs[:8]]
    return {
        "ours_per_s": count / ours_seconds,
        "processor_per_s": count / theirs_seconds,
        "ratio": theirs_seconds / ours_seconds,
        "mean_difference_of_255": float(np.mean(apart)),
        "p99_difference_of_255": float(np.percentile(apart, 99)),
    }
