"""Training throughput compared with baselines, in one run with the same model and data.

    python bench/training.py                # prints the table and writes bench/training.json
    python bench/training.py --gpu          # on a GPU: MFU and tokens/s of a preset, by row length

Captions have the lengths reported in the VILA² paper (section 3.1, Table 1): half of the samples
have alt-text of 12 +- 9 words, the other half have a recaption of 101 +- 43 words as well. Weights
are random. Every contender computes in fp32 with `--threads` torch threads and processes the same
number of samples. Time for reading, padding and packing is included.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from vila2.data.assembly import assemble
from vila2.data.sample import Sample
from vila2.data.shards import read_shard, write_shard
from vila2.model.build import VLM, compose
from vila2.model.preset import Preset, load_preset
from vila2.schemas.assembly import Assembly
from vila2.schemas.stages import Optimizer
from vila2.schemas.train_spec import Source, Stage, TrainSpec
from vila2.training.batches.images import decoded
from vila2.training.meter import achievable
from vila2.training.objective import MicroBatch, Objective, packed_attention
from vila2.training.progress import read_metrics

PRESET = Preset.model_validate(
    {
        "name": "bench",
        "image_size": 56,
        "vision": {
            "kind": "config", "model_type": "internvl_vision",
            "config": {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "image_size": [56, 56], "patch_size": [14, 14],
                       "use_mean_pooling": True},
        },
        "language": {
            "kind": "config", "model_type": "llama",
            "config": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
                       "num_attention_heads": 4, "num_key_value_heads": 4},
        },
        "downsample_factor": 2,
        "vocabulary": 2000,
        "initializer_range": 0.02,
        "max_length": 512,
    }
)  # fmt: skip
BATCH, ROW = 32, 1024
console = Console()


def corpus(path: Path, *, samples: int) -> None:
    """One shard of images with texts of the paper's lengths, made of invented words."""
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(1500)]

    def text(mean: float, deviation: float) -> str:
        # Lognormal of that mean and deviation: lengths are positive, with a long tail.
        spread = np.log1p((deviation / mean) ** 2)
        drawn = rng.lognormal(np.log(mean) - spread / 2, spread**0.5)
        return " ".join(rng.choice(words, max(1, round(drawn))))

    made = []
    for n in range(samples):
        pixels = rng.integers(0, 255, (56, 56, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        caption = text(11.9, 9.0) + (f". {text(101.2, 43.0)}" if n % 2 else "")
        made.append(Sample(f"s{n:05d}", out.getvalue(), "png", f"{n:064x}", 56, 56, caption))
    with path.open("wb") as target:
        write_shard(made, target)


class Bed:
    """A corpus and a saved model, and the trainer's jobs on them."""

    def __init__(self, folder: Path, *, threads: int, samples: int) -> None:
        self.folder, self.threads = folder, threads
        self.shard = folder / "corpus.tar"
        corpus(self.shard, samples=samples)
        texts = [sample.caption for sample in read_shard(self.shard)]
        compose(PRESET, texts=texts, seed=0).save(folder / "model")

    def spec(self, name: str, *, steps: int, **stage: Any) -> TrainSpec:
        """A one-stage job, everything trained with AdamW."""
        source = Source(
            name="corpus", shards=[str(self.shard)], assembly=Assembly(policy="original")
        )
        made = Stage(
            name="pretrain", steps=steps, batch_size=BATCH, lr=1e-4,
            trainable=["vision", "projector", "language"], optimizer=Optimizer(),
            sources=[source], **stage,
        )  # fmt: skip
        return TrainSpec.model_validate(
            {
                "init": {"kind": "continue", "path": str(self.folder / "model")},
                "stages": [made.model_dump()],
                "output": str(self.folder / name),
                "cache": str(self.folder / "cache"),
                "threads": self.threads,
                "checkpoint_seconds": 3600,
            }
        )

    def rates(self, name: str, *, steps: int, **stage: Any) -> dict[str, float]:
        """Run a job in this process and return the figures of its last log line."""
        from accelerate import Accelerator

        from vila2.training.train import Trainer

        spec = self.spec(name, steps=steps, **stage)
        Path(spec.output).mkdir(parents=True, exist_ok=True)
        with quiet():
            Trainer(spec, accelerator=Accelerator(cpu=True)).run()
        last = read_metrics(Path(spec.output))[-1]
        return {key: float(last[key]) for key in ("tokens_per_second", "mfu", "idle")}


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the job's log."""
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()):
        yield


@contextmanager
def ungrouped() -> Iterator[None]:
    """Padded steps in random order, as is common: blocks of one step are not sorted."""
    with mock.patch("vila2.training.batches.batches.BLOCK", 1):
        yield


def straight(bed: Bed, *, steps: int) -> float:
    """Tokens/s of transformers' `Trainer` with a padding collator, on the same samples."""
    from transformers import Trainer, TrainingArguments

    vlm = VLM.load(bed.folder / "model")
    chat = vlm.chat()
    held = list(read_shard(bed.shard))
    how = Assembly(policy="original")
    seen = [0]

    class Rows(torch.utils.data.Dataset[Sample]):
        def __len__(self) -> int:
            return len(held)

        def __getitem__(self, index: int) -> Sample:
            return held[index]

    def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
        texts = [
            chat.encode(assemble(s, {}, how, seed=0, visit=0), max_length=PRESET.max_length)
            for s in samples
        ]
        longest = max(len(text.ids) for text in texts)
        ids = torch.full((len(texts), longest), chat.pad_id)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for n, text in enumerate(texts):
            length = len(text.ids)
            ids[n, :length], mask[n, :length] = torch.tensor(text.ids), 1
            wanted = torch.tensor(text.ids)
            labels[n, :length] = torch.where(torch.tensor(text.loss), wanted, -100)
        seen[0] += int(mask.sum())
        pixels = np.stack([decoded(s.image, key=s.key, size=PRESET.image_size) for s in samples])
        return {
            "input_ids": ids, "labels": labels, "attention_mask": mask,
            "pixel_values": vlm.normalise(torch.from_numpy(pixels)),
        }  # fmt: skip

    arguments = TrainingArguments(
        output_dir=str(bed.folder / "theirs"), max_steps=steps, per_device_train_batch_size=BATCH,
        learning_rate=1e-4, lr_scheduler_type="cosine", use_cpu=True, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        dataloader_num_workers=0,
    )  # fmt: skip
    trainer = Trainer(model=vlm.model, args=arguments, data_collator=collate, train_dataset=Rows())
    began = time.perf_counter()
    with quiet():
        trainer.train()
    return seen[0] / (time.perf_counter() - began)


def resumed(bed: Bed) -> dict[str, float]:
    """kill -9 midway: number of repeated steps, and seconds until the first new one."""
    spec = bed.spec("resumed", steps=400, pack=ROW).model_copy(update={"checkpoint_seconds": 3.0})
    out = Path(spec.output)
    out.mkdir(parents=True)
    (out / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "vila2.training.train", "--spec", str(out / "spec.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(bed.threads)}

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def step() -> int:
        try:
            return int(400 * json.loads((out / "progress.json").read_text())["fraction"] + 0.5)
        except (OSError, ValueError):
            return 0

    def saved() -> int:
        found = [json.loads(p.read_text())["step"] for p in out.glob("checkpoints/*/manifest.json")]
        return int(max(found, default=0))

    def wait(condition: Callable[[], bool]) -> float:
        began = time.perf_counter()
        while not condition():
            time.sleep(0.05)
        return time.perf_counter() - began

    child = started()
    wait(lambda: saved() > 0)
    time.sleep(2.5)
    child.send_signal(signal.SIGKILL)
    child.wait()
    reached, kept = step(), saved()
    child = started()
    seconds = wait(lambda: step() > reached)
    child.kill()
    child.wait()
    return {"steps_done_again": reached - kept, "seconds_to_the_next_step": seconds}


def by_length(
    vlm: VLM, device: torch.device, *, lengths: list[int], tokens: int, half: bool
) -> list[dict[str, float]]:
    """Tokens/s and MFU of a packed step on random data: forward, backward and AdamW."""
    from vila2.training.meter import Arithmetic

    vlm.model.to(device).train()
    if half:
        vlm.model.to(torch.bfloat16)
    limit = achievable(device, half=half)
    learns = ("projector", "language")
    arithmetic = Arithmetic.of(vlm, learns, features=False)
    for name in ("vision", *learns):
        for _, parameter in vlm.parameters_of(name):
            parameter.requires_grad_(name in learns)
    optimizer = torch.optim.AdamW([p for p in vlm.model.parameters() if p.requires_grad], lr=1e-5)
    objective, made = Objective(vlm.model), []
    prompt = [vlm.model.config.image_token_id] * vlm.image_tokens
    for length in lengths:
        count = max(1, tokens // length)
        one = torch.tensor([*prompt, *([7] * (length - len(prompt)))])
        labels = torch.where(torch.arange(length) < len(prompt), -100, one)
        side = vlm.preset.image_size
        batch = MicroBatch(
            one.repeat(count)[None], labels.repeat(count)[None], None, (length,) * count,
            torch.randint(0, 255, (count, side, side, 3), dtype=torch.uint8),
        )  # fmt: skip
        pixels = vlm.normalise(batch.images.to(device)).to(vlm.model.dtype)

        def step(batch: MicroBatch = batch, pixels: torch.Tensor = pixels) -> float:
            loss = objective(batch, pixels) / batch.loss_tokens
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return float(loss)

        with packed_attention(vlm.part("language")):
            step(), step()
            began, steps = time.perf_counter(), 5
            for _ in range(steps):
                step()
        seconds = (time.perf_counter() - began) / steps
        made.append({
            "row_length": length, "tokens_per_second": batch.tokens / seconds,
            "mfu": arithmetic.of_pass(batch) / seconds / limit, "limit_tflops": limit / 1e12,
        })  # fmt: skip
    return made


def on_gpu(preset: str) -> dict[str, Any]:
    """Measure a preset with random weights on one GPU, by sample length."""
    from vila2.model.plan import meta_model

    device, shape = torch.device("cuda"), load_preset(preset)
    vlm = VLM(meta_model(shape, device="cuda"), None, shape)
    figures = by_length(vlm, device, lengths=[256, 512, 1024, 2048], tokens=8192, half=True)
    return {"gpu": torch.cuda.get_device_name(), "preset": preset, "by_length": figures}


def on_cpu(*, threads: int, steps: int) -> dict[str, Any]:
    """The CPU figures: throughput of each contender, resume, and row lengths."""
    with tempfile.TemporaryDirectory() as name:
        bed = Bed(Path(name), threads=threads, samples=1024)
        bed.rates("warm", steps=2)
        with ungrouped():
            plain = bed.rates("plain", steps=steps)
        theirs = straight(bed, steps=steps)
        packed = bed.rates("packed", steps=steps, pack=ROW)
        grouped = bed.rates("grouped", steps=steps)
        with ungrouped():
            again = bed.rates("plain-again", steps=steps)
        resume = resumed(bed)
        short = by_length(
            VLM.load(bed.folder / "model"), torch.device("cpu"), lengths=[64, 256], tokens=2048,
            half=False,
        )  # fmt: skip
    padded = (plain["tokens_per_second"] + again["tokens_per_second"]) / 2
    rates = {
        "padded, random order": padded,
        "padded, like lengths together": grouped["tokens_per_second"],
        "packed": packed["tokens_per_second"],
        "transformers.Trainer, padded": theirs,
    }
    ratios = {
        "packed / padded (>= 1.6)": packed["tokens_per_second"] / padded,
        "packed / like lengths together": packed["tokens_per_second"]
        / grouped["tokens_per_second"],
        "padded / transformers.Trainer (>= 1)": padded / theirs,
    }
    return {"cores": os.cpu_count(), "threads": threads, "steps": steps, "batch": BATCH, "row": ROW,
            "tokens_per_second": rates, "ratios": ratios,
            "mfu": {"padded": again["mfu"], "packed": packed["mfu"]},
            "idle": {"padded": again["idle"], "packed": packed["idle"]},
            "resume": resume, "by_length": short}  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="the part that needs a GPU")
    parser.add_argument("--preset", default="vila2-2b", help="for --gpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.gpu:
        figures = on_gpu(given.preset)
    else:
        figures = on_cpu(threads=given.threads, steps=given.steps)
    name = "training-gpu.json" if given.gpu else "training.json"
    (given.out or Path(__file__).with_name(name)).write_text(json.dumps(figures, indent=1))
    table = Table("", "ratio")
    for label, ratio in figures.get("ratios", {}).items():
        table.add_row(label, f"{ratio:.2f}")
    console.print(table)
    console.print({key: value for key, value in figures.items() if key != "ratios"})


if __name__ == "__main__":
    main()
