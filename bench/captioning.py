"""Captioning against what one would write instead, in one run with the same weights and pictures.

    python bench/captioning.py              # prints the table and writes bench/captioning.json

Random weights, so that nothing needs to be downloaded; every contender makes the same number of
tokens for each picture. All of them compute with `--threads` torch threads (1 by default, so that
one engine fills one core and the rest of the service has the other).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from services.caption.settings import CaptionSettings
from services.standalone.app import Standalone
from vila2.api.caption import GateIn, LayerJobIn, SamplingIn
from vila2.data.images import decode
from vila2.model.build import VLM, compose
from vila2.model.captioner import Captioner, Request, Sampling
from vila2.model.preset import Preset
from vila2.submit import submit

# Decoding weighs what it weighs in a large model: most of the time, over few image tokens.
PRESET = Preset.model_validate(
    {
        "name": "bench",
        "image_size": 112,
        "vision": {
            "kind": "config", "model_type": "internvl_vision",
            "config": {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4,
                       "num_attention_heads": 4, "image_size": [112, 112], "patch_size": [14, 14],
                       "use_mean_pooling": False},
        },
        "language": {
            "kind": "config", "model_type": "llama",
            "config": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
                       "num_attention_heads": 6, "num_key_value_heads": 6},
        },
        "downsample_ratio": 0.5,
        "vocabulary": 2000,
        "initializer_range": 0.05,
        "max_length": 512,
    }
)  # fmt: skip
QUESTION = "Describe the image."
TOKENS = 32  # of every picture, where all are alike


def pictures(count: int, *, width: int = 480, height: int = 360) -> list[bytes]:
    """JPEGs of smooth shapes with grain, about the bytes of a photograph."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (height, width, 3))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def lengths(count: int) -> list[int]:
    """Answers' lengths as captions have them: lognormal, median 30, cut at 128."""
    drawn = np.random.default_rng(1).lognormal(np.log(30), 0.7, count)
    return [int(n) for n in np.clip(drawn, 4, 128)]


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def requests(jpegs: Sequence[bytes], tokens: Sequence[int]) -> list[Request]:
    """What the bare engine is given: pictures that are decoded already."""
    size = PRESET.image_size
    return [
        Request(decode(jpeg, size=(size, size)), QUESTION, 0, Sampling(max_new_tokens=n))
        for jpeg, n in zip(jpegs, tokens, strict=True)
    ]


def piped(folder: Path, jpegs: Sequence[bytes], tokens: Sequence[int]) -> None:
    """A loop over transformers' pipeline, picture by picture, as its documentation shows."""
    from transformers import pipeline

    ask = pipeline("image-text-to-text", model=str(folder), device="cpu")
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
    """transformers' stopping criterion that ends each row at a length of its own."""

    def __init__(self, prompt: int, tokens: Sequence[int]) -> None:
        self._ends = torch.tensor([prompt + n for n in tokens])

    def __call__(self, ids: torch.Tensor, _: object, **__: object) -> torch.Tensor:
        """Which rows are done."""
        return ids.shape[1] >= self._ends


def generated(vlm: VLM, jpegs: Sequence[bytes], tokens: Sequence[int], *, batch: int) -> None:
    """`generate` in batches padded to their longest answer, over a DataLoader that decodes."""
    from transformers import SiglipImageProcessor, StoppingCriteriaList

    side = {"height": PRESET.image_size, "width": PRESET.image_size}
    processor = SiglipImageProcessor(size=side)
    prompt = vlm.chat().prompt(QUESTION)

    def collate(rows: list[int]) -> tuple[list[int], torch.Tensor]:
        images = [Image.open(io.BytesIO(jpegs[i])).convert("RGB") for i in rows]
        return rows, processor(images, return_tensors="pt")["pixel_values"]

    indices: Any = list(range(len(jpegs)))
    loader: Any = torch.utils.data.DataLoader(indices, batch_size=batch, collate_fn=collate)
    for rows, pixels in loader:
        wanted = [tokens[i] for i in rows]
        ids = torch.tensor([prompt] * len(rows))
        with torch.inference_mode():
            vlm.model.generate(
                input_ids=ids,
                pixel_values=pixels,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max(wanted),
                do_sample=False,
                eos_token_id=None,
                pad_token_id=vlm.chat().pad_id,
                stopping_criteria=StoppingCriteriaList([Rows(len(prompt), wanted)]),
            )


def silent(vlm: VLM) -> VLM:
    """The same model, which never ends an answer by itself: each contender cuts at the length."""
    eos = vlm.chat().eos_id
    embedding = vlm.model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight[eos] = 0  # tied: its logit is 0, and the greatest of 2,000 never is
    return vlm


def service(
    folder: Path, model: Path, jpegs: Sequence[bytes], *, batch: int, threads: int, instances: int
) -> tuple[float, float, int]:
    """(seconds, samples, samples quarantined) from the layer's start to its seal, on Triton."""
    source = folder / "pictures"
    source.mkdir(parents=True)
    for n, jpeg in enumerate(jpegs):
        (source / f"p{n:05d}.jpg").write_bytes(jpeg)
        (source / f"p{n:05d}.txt").write_text("a picture")
    settings = CaptionSettings(
        triton_batch_size=batch, triton_threads=threads, triton_instances=instances
    )
    with Standalone(folder / "workspace", captioning=settings, triton=True) as platform:
        client = platform.client
        name = platform.apps["training"].state.context.registry.add(
            team="local", base_name="bench", folder=model, sha256="0" * 64, parent="",
            job="bench-0000", parameters=1, data=[],
        )  # fmt: skip
        submit(client, source, name="pictures", format="folder", shard_samples=128)
        how: dict[str, Any] = {
            "dataset": "pictures", "model": name, "prompts": [QUESTION],
            "sampling": SamplingIn(max_new_tokens=TOKENS), "gate": GateIn(attempts=1),
        }  # fmt: skip

        def layer(token: str) -> None:
            job = client.caption.start_layer(LayerJobIn(name=token, token=token, **how))
            while (state := client.caption.layer_job(job.id)).state == "running":
                time.sleep(0.05)
            assert state.state == "sealed", state.error
            assert state.progress.done == len(jpegs)

        layer("warm")  # the model is loaded, as it is in a service
        seconds = timed(lambda: layer("timed"))
    return seconds, len(jpegs), 0


def decoding(count: int) -> dict[str, float]:
    """Our decoding against the transformers processor's, one core, 1024x768 to 384."""
    from transformers import SiglipImageProcessor

    jpegs = pictures(count, width=1024, height=768)
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
    # Of 255: the processor's values are -1 to 1.
    apart = [np.abs(ours(jpeg) - theirs(jpeg)) * 127.5 for jpeg in jpegs[:8]]
    return {
        "ours_per_s": count / ours_seconds,
        "processor_per_s": count / theirs_seconds,
        "ratio": theirs_seconds / ours_seconds,
        "mean_difference_of_255": float(np.mean(apart)),
        "p99_difference_of_255": float(np.percentile(apart, 99)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=384, help="pictures")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console = Console()
    vlm = silent(compose(PRESET, texts=[f"a word {n}" for n in range(4000)], seed=0))
    jpegs = pictures(given.count)
    same, varied = [TOKENS] * given.count, lengths(given.count)
    rates: dict[str, float] = {}

    def rate(name: str, tokens: Sequence[int], seconds: float) -> None:
        rates[name] = sum(tokens) / seconds
        console.print(f"{name}: {rates[name]:,.0f} tokens/s ({seconds:.1f} s)")

    captioner = Captioner(vlm, batch_size=given.batch)
    asked_same, asked_varied = requests(jpegs, same), requests(jpegs, varied)
    captioner.generate(asked_same[: given.batch])
    rate("bare engine, alike", same, timed(lambda: captioner.generate(asked_same)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vlm.save(folder / "model")
        for instances in (1, 2):
            seconds, *_ = service(
                folder / str(instances), folder / "model", jpegs, batch=given.batch,
                threads=given.threads, instances=instances,
            )  # fmt: skip
            rate(f"service, {instances} engine(s)", same, seconds)
    rate("bare engine, alike, again", same, timed(lambda: captioner.generate(asked_same)))
    rate("bare engine, varied", varied, timed(lambda: captioner.generate(asked_varied)))
    batches = timed(lambda: generated(vlm, jpegs, varied, batch=given.batch))
    rate("generate in fixed batches, varied", varied, batches)
    few = slice(0, max(16, given.count // 8))
    alone = timed(lambda: generated(vlm, jpegs[few], varied[few], batch=1))
    rate("a loop over generate, varied", varied[few], alone)
    with tempfile.TemporaryDirectory() as name:
        vlm.save(Path(name))
        one_by_one = timed(lambda: piped(Path(name), jpegs[few], varied[few]))
    rate("a loop over the pipeline, varied", varied[few], one_by_one)
    bare = (rates["bare engine, alike"] + rates["bare engine, alike, again"]) / 2
    pixels = decoding(100)
    ratios = {
        "service / bare engine (>= 0.95)": rates["service, 1 engine(s)"] / bare,
        "two engines / one (2 cores)": rates["service, 2 engine(s)"]
        / rates["service, 1 engine(s)"],
        "engine / generate in fixed batches (>= 1.5)": rates["bare engine, varied"]
        / rates["generate in fixed batches, varied"],
        "engine / loop over transformers.pipeline (>= 5)": rates["bare engine, varied"]
        / rates["a loop over the pipeline, varied"],
        "engine / loop over generate": rates["bare engine, varied"]
        / rates["a loop over generate, varied"],
        "decoding / transformers' processor (>= 3)": pixels["ratio"],
    }
    table = Table("", "ratio")
    for label, ratio in ratios.items():
        table.add_row(label, f"{ratio:.2f}")
    console.print(table)
    console.print({name: round(value, 2) for name, value in pixels.items()})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"cores": os.cpu_count(), "threads": given.threads, "count": given.count,
               "batch": given.batch, "tokens_per_second": rates, "ratios": ratios,
               "decoding": pixels, "peak_mib": peak}  # fmt: skip
    given.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
