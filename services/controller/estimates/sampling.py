"""What can be read and tried before a run: text lengths, and captions of a sample of the dataset.

The sample is captioned by the caption service's preview, which is the batch's own path: the same
prompts, sampling, seeds, gate and retries, so these captions are those that a layer would hold.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from services.controller import jobs
from services.controller.estimates.ranges import mean_of, spread_of
from vila2.api.caption import PreviewCaption, PreviewIn
from vila2.api.estimates import Sampled
from vila2.client import ApiError, Client
from vila2.data.index import decode_index
from vila2.recipe import Recipe

# Pictures of one call, and shards that the sample is taken from: each is read whole.
CALL, SHARDS = 50, 4


@dataclass(frozen=True, slots=True)
class DatasetText:
    """What a dataset's first shard says of its texts, per sample."""

    samples: int
    words: float
    questions: float


def dataset_text(platform: Client, name: str) -> DatasetText:
    """Size of a dataset (name@version), and the lengths of the texts in its first shard."""
    dataset, _, number = name.partition("@")
    version = platform.datasets.version(dataset, int(number or 0))
    index = platform.datasets.shard_index(dataset, version.version, 0)
    rows = decode_index(index, ["caption", "about"])
    return DatasetText(
        samples=version.samples,
        words=fmean(_words(row) for row in rows) if rows else 0.0,
        questions=fmean(len(_about(row, "items")) for row in rows) if rows else 0.0,
    )


def sampled(platform: Client, recipe: Recipe, captioner: str, count: int) -> Sampled:
    """Caption a sample as the recipe would; a first call, which loads the model, is not timed."""
    job = jobs.caption_job(recipe, name="estimate", model=captioner)
    version = platform.datasets.version(job.dataset, job.version)
    about = f"{job.dataset}@{version.version}"
    calls = list(_calls(platform, about, version.shards, count, seed=recipe.seed))

    def asked(shard: int, keys: Sequence[str]) -> list[PreviewCaption]:
        body = PreviewIn(
            dataset=job.dataset, version=version.version, shard=shard, keys=list(keys),
            model=captioner, prompts=job.prompts, sampling=job.sampling, gate=job.gate,
            seed=job.seed, score=job.score,
        )  # fmt: skip
        return platform.caption.preview(body).captions

    first_shard, first_keys = calls[0]
    asked(first_shard, first_keys[:1])
    made: list[PreviewCaption] = []
    seconds: list[float] = []
    for shard, keys in calls:
        began = time.monotonic()
        made += asked(shard, keys)
        seconds.append(time.monotonic() - began)
    per_picture = [took / len(keys) for took, (_, keys) in zip(seconds, calls, strict=True)]
    words = sum(len(caption.caption.split()) for caption in made)
    tokens = sum(caption.tokens for caption in made)
    refused = Counter(caption.reason for caption in made if caption.reason)
    return Sampled(
        captioner=captioner,
        pictures=len(made),
        captioned=len(made) - refused.total(),
        quarantined=dict(refused),
        tokens=mean_of([float(caption.tokens) for caption in made]),
        tokens_per_word=tokens / words if words else 4 / 3,
        attempts=fmean(caption.attempt + 1 for caption in made),
        seconds=spread_of(per_picture, middle=sum(seconds) / len(made)),
    )


def _words(row: Mapping[str, Any]) -> int:
    turns = " ".join(f"{question} {answer}" for question, answer in _about(row, "turns"))
    return len(str(row["caption"]).split()) + len(turns.split())


def _about(row: Mapping[str, Any], name: str) -> list[Any]:
    """A sample's turns or benchmark questions; a shard without any has no such text."""
    found: list[Any] = json.loads(row["about"] or "{}").get(name, [])
    return found


def _calls(
    platform: Client, about: str, shards: int, count: int, *, seed: int
) -> Iterator[tuple[int, list[str]]]:
    """(shard, keys) of each call: some shards by chance, and of each some pictures by chance."""
    dataset, _, version = about.partition("@")
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(shards), min(shards, SHARDS)))
    left = count
    for place, shard in enumerate(chosen):
        index = decode_index(platform.datasets.shard_index(dataset, int(version), shard), ["key"])
        share = -(-left // (len(chosen) - place))
        keys = [row["key"] for row in rng.sample(index, min(len(index), share))]
        left -= len(keys)
        for start in range(0, len(keys), CALL):
            yield shard, keys[start : start + CALL]


def captioner_of(platform: Client, presets: Mapping[str, str], wanted: str, preset: str) -> str:
    """The model that captions the sample: the one named, or the newest of the preset, or none.

    `presets` maps models to their presets; raises `ApiError` where the one named is not there.
    """
    if wanted:
        try:
            return platform.training.model(wanted).name
        except ApiError:
            held = {endpoint.name: endpoint.model for endpoint in platform.caption.endpoints()}
            if not held.get(wanted):
                raise
            return held[wanted]
    named = [model for model, held in presets.items() if held == preset]
    return named[-1] if named else ""
