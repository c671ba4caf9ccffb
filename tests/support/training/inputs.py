"""Shards, sources and specs of a training that is small enough for a test."""

from __future__ import annotations

import io
from pathlib import Path

from vila2.data.admission import Admission
from vila2.data.readers import open_reader
from vila2.data.shards import write_shard
from vila2.scenes.datasets import WorldSizes, write_world
from vila2.schemas.assembly import Assembly
from vila2.schemas.stages import Optimizer
from vila2.schemas.train_spec import Source, Stage, TrainSpec

SIZES = WorldSizes(corpus=48, sft=24, specialist=8, base=32, dev=12, test=12)
_FORMATS = {"corpus": "folder", "dev": "benchmark", "test": "benchmark"}


def world(folder: Path) -> dict[str, str]:
    """Every split of a tiny world as one shard: split -> path."""
    write_world(folder / "world", sizes=SIZES, seed=1)
    shards = {}
    for split in ("corpus", "sft", "spatial", "ocr", "grounding", "base", "dev", "test"):
        reader = open_reader(_FORMATS.get(split, "llava"), folder / "world" / split)
        buffer = io.BytesIO()
        write_shard(Admission().through(reader.read()), buffer)
        path = folder / f"{split}.tar"
        path.write_bytes(buffer.getvalue())
        shards[split] = str(path)
    return shards


def source(shard: str, name: str = "sft", *, policy: str = "conversations") -> Source:
    """A shard as a training source."""
    return Source(name=name, shards=[shard], assembly=Assembly(policy=policy))  # type: ignore[arg-type]


def spec(base: Path, out: Path, sources: list[Source], *, steps: int = 12) -> TrainSpec:
    """Two short stages from a saved base."""
    optimizer = Optimizer(kind="muon", warmup=0.1)
    return TrainSpec.model_validate(
        {
            "init": {"kind": "base", "path": str(base)},
            "stages": [
                Stage(
                    name="align",
                    steps=4,
                    batch_size=8,
                    lr=1e-3,
                    trainable=["projector"],
                    optimizer=optimizer,
                    sources=sources,
                ).model_dump(),
                Stage(
                    name="sft",
                    steps=steps,
                    batch_size=8,
                    lr=1e-3,
                    trainable=["vision", "projector", "language"],
                    optimizer=optimizer,
                    sources=sources,
                ).model_dump(),
            ],
            "seed": 3,
            "output": str(out),
            "cache": str(out.parent / "cache"),
        }
    )
