"""A captioner that was trained for seconds, on few images of one object each."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.training.inputs import source
from vila2.data.admission import Admission
from vila2.data.images.decoding import decode
from vila2.data.readers import open_reader
from vila2.data.sample import Sample
from vila2.data.shards import read_shard, write_shard
from vila2.scenes.datasets import WorldSizes, write_world
from vila2.schemas.stages import Optimizer
from vila2.schemas.train_spec import Stage, TrainSpec
from vila2.training.train import Trainer

SIZES = WorldSizes(corpus=1, sft=1, specialist=1, base=64, dev=1, test=1)


@dataclass(frozen=True, slots=True)
class TrainedCaptioner:
    """The model's folder, and what it was taught: the question, and images with captions."""

    folder: Path
    question: str
    samples: list[Sample]

    def pixels(self) -> list[np.ndarray]:
        return [decode(sample.image, size=(32, 32)) for sample in self.samples]

    def captions(self) -> list[str]:
        return [sample.turns[0].answer for sample in self.samples]


def train_captioner(folder: Path, *, steps: int = 100) -> TrainedCaptioner:
    """Train it, by the trainer that every model takes."""
    from accelerate import Accelerator

    write_world(folder / "world", sizes=SIZES, seed=1)
    buffer = io.BytesIO()
    write_shard(Admission().through(open_reader("llava", folder / "world" / "base").read()), buffer)
    shard = folder / "base.tar"
    shard.write_bytes(buffer.getvalue())
    taught = source(str(shard))
    stage = Stage(
        name="sft", steps=steps, batch_size=16, lr=3e-3, optimizer=Optimizer(),
        trainable=["vision", "projector", "language"], sources=[taught],
    )  # fmt: skip
    spec = TrainSpec.model_validate(
        {
            "init": {"kind": "new", "preset": "tiny", "tokenizer_sources": [taught]},
            "stages": [stage], "seed": 3, "output": str(folder / "out"),
            "cache": str(folder / "cache"),
        }
    )  # fmt: skip
    (folder / "out").mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        Trainer(spec, accelerator=Accelerator(cpu=True)).run()
    samples = list(read_shard(shard))
    return TrainedCaptioner(folder / "out" / "model", samples[0].turns[0].question, samples)
