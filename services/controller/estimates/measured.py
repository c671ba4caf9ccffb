"""Speeds and lengths: those of earlier jobs, of a captioned sample, or of a device's FLOPs.

The sample goes through the caption service's preview, which shares the batch's code path: the same
prompts, sampling, seeds, gate and retries, so its captions are those that a layer would hold.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from statistics import fmean
from typing import Any

from services.chassis.web.errors import Invalid
from services.controller.estimates.arithmetic import (
    ASSUMED_DEVICE,
    History,
    Observed,
    Speed,
    by_flops,
    mean_of,
    spread_of,
)
from services.controller.estimates.work import Training
from services.controller.rounds import requests
from vila2.client import ApiError, Client
from vila2.data.index import decode_index
from vila2.model.memory import ORDER, Model, Stage, flops_per_sample, forward_flops
from vila2.model.preset import PresetError, load_preset, named_preset
from vila2.recipes.recipe import Recipe
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.caption import PreviewCaption, PreviewIn
from vila2.schemas.rest.datasets import Version
from vila2.schemas.rest.estimates import Device, Range, Sampled
from vila2.schemas.rest.training import Job, ModelDetails, TrainIn

# Only the newest jobs are read: older ones may have run on other hardware.
JOBS = 200
# Images of one preview, and shards that the sample is taken from: each is read whole.
CALL, SHARDS = 50, 4
_OTHERS = " or ".join(name for name in ASSUMED_DEVICE if name != "cpu")
# The command line puts in the recipe.
_MEASURE = (
    "`vila2 runs start --recipe RECIPE` measures it once round 0 is done: Ctrl-C, then estimate "
    "again; the run continues later"
)
# Of a prompt with its markup, beside the image's own tokens.
_PROMPT_TOKENS = 20


class PastJobs:
    """A team's earlier jobs, read once; `presets` maps their models to presets, oldest first."""

    def __init__(self, platform: Client) -> None:
        self._platform = platform
        self._details: dict[str, ModelDetails | None] = {}
        self._trainings = list(self._succeeded_trainings())
        found = {job.model: self._preset(job.model) for job in reversed(self._trainings)}
        self.presets = {model: preset for model, preset in found.items() if preset}

    def of_preset(self, preset: str) -> History:
        """Durations of this preset's training jobs and of evaluations of their models."""
        stages: list[Observed] = []
        overheads: list[float] = []
        evaluations: list[float] = []
        for job in self._trainings:
            if self.presets.get(job.model) != preset:
                continue
            details = self._model(job.model)
            assert details is not None  # its preset is known from them
            config = TrainIn.model_validate(details.config)
            entries: Mapping[str, Any] = job.result.get("stages", {})
            for stage in config.stages:
                if entry := entries.get(stage.name):
                    took = float(entry["seconds"]) * config.processes
                    parts = frozenset(stage.trainable)
                    stages.append(Observed(stage.name, parts, took, int(entry["visits"])))
            inside = sum(float(entry["seconds"]) for entry in entries.values())
            overheads.append(max(0.0, job.seconds - inside) * config.processes)
            evaluations += self._seconds_of_a_question(details)
        used = self._platform.training.usage()
        unit = "gpu" if any(usage.gpu_hours for usage in used) else "process"
        return History(stages, overheads, evaluations, unit)

    def _seconds_of_a_question(self, details: ModelDetails) -> Iterator[float]:
        """Of each evaluation here; scores that were imported have no job."""
        own = (found.job for found in details.evaluations if not found.source)
        for job in filter(None, map(self._job, dict.fromkeys(own))):
            if questions := int(job.result.get("questions", 0)):
                yield job.seconds / questions

    def _succeeded_trainings(self) -> Iterator[Job]:
        """Jobs that made a model, the newest first; those with seeds as the jobs of their seeds."""
        found = self._platform.training.jobs(state="succeeded", kind="train", page=50)
        for job in islice(found, JOBS):
            if job.seeds:
                yield from filter(None, (self._job(held.job) for held in job.seeds))
            elif job.model:
                yield job

    def _job(self, name: str) -> Job | None:
        """A job, `None` if there is none here: its evaluation may come from another platform."""
        try:
            return self._platform.training.job(name)
        except ApiError as error:
            if error.problem.status != 404:
                raise
            return None

    def _preset(self, model: str) -> str:
        """The preset of a model's first ancestor; empty if it is unknown."""
        seen: set[str] = set()
        while model and model not in seen:
            seen.add(model)
            details = self._model(model)
            config = details.config if details else {}
            if config.get("preset"):
                return str(config["preset"])
            model = str(config.get("model", ""))
        return ""

    def _model(self, name: str) -> ModelDetails | None:
        if name not in self._details:
            try:
                self._details[name] = self._platform.training.model_details(name)
            except ApiError:
                self._details[name] = None
        return self._details[name]


@dataclass(frozen=True, slots=True)
class DatasetText:
    """A dataset's samples, and the words and benchmark questions of one of its first shard."""

    samples: int
    words: float
    questions: float


def dataset_text(platform: Client, dataset: DatasetRef) -> DatasetText:
    """Size of a dataset, and the lengths of the texts in its first shard."""
    version = platform.datasets.version(dataset.name, dataset.version)
    index = platform.datasets.shard_index(dataset.name, version.version, 0)
    rows = decode_index(index, ["caption", "about"])
    return DatasetText(
        samples=version.samples,
        words=fmean(_words(row) for row in rows) if rows else 0.0,
        questions=fmean(len(_about(row, "items")) for row in rows) if rows else 0.0,
    )


def sampled(platform: Client, recipe: Recipe, captioner: str, count: int) -> Sampled:
    """Caption a sample as the recipe would; a first call, which loads the model, is not timed."""
    job = requests.caption_job(recipe, name="estimate", model=captioner)
    version = platform.datasets.version(job.dataset, job.version)

    def preview(shard: int, keys: Sequence[str]) -> list[PreviewCaption]:
        body = PreviewIn(
            dataset=job.dataset, version=version.version, shard=shard, keys=list(keys),
            model=captioner, prompts=job.prompts, sampling=job.sampling, gate=job.gate,
            seed=job.seed, score=job.score,
        )  # fmt: skip
        return platform.caption.preview(body).captions

    made: list[PreviewCaption] = []
    seconds: list[float] = []
    per_image: list[float] = []
    for shard, keys in _calls(platform, version, count, seed=recipe.seed):
        if not made:
            preview(shard, keys[:1])
        began = time.monotonic()
        made += preview(shard, keys)
        seconds.append(time.monotonic() - began)
        per_image.append(seconds[-1] / len(keys))
    words = sum(len(caption.caption.split()) for caption in made)
    tokens = sum(caption.tokens for caption in made)
    refused = Counter(caption.reason for caption in made if caption.reason)
    return Sampled(
        captioner=captioner,
        images=len(made),
        captioned=len(made) - refused.total(),
        quarantined=dict(refused),
        tokens=mean_of([float(caption.tokens) for caption in made]),
        tokens_per_word=tokens / words if words else 4 / 3,
        attempts=fmean(caption.attempt + 1 for caption in made),
        seconds=spread_of(per_image, middle=sum(seconds) / len(made)),
    )


def captioner_of(platform: Client, presets: Mapping[str, str], wanted: str, preset: str) -> str:
    """The model that captions the sample: the one named, or the newest of the preset, or none.

    `presets` maps models to their presets; raises `ApiError` if the one named does not exist.
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


class AssumedSpeeds:
    """Speeds from a model's FLOPs on a device; the model is built without memory, when needed."""

    def __init__(self, preset: str, device: Device | None, *, recomputes: bool) -> None:
        self._preset, self._device, self._recomputes = preset, device, recomputes
        self.used = False

    def visit(self, training: Training, text: Range) -> Speed:
        """Seconds of one visit in training."""

        def flops(tokens: float) -> float:
            parts = frozenset(part for part in ORDER if part in training.trainable)
            stage = Stage(training.stage, parts, samples=1, text_tokens=round(tokens))
            return flops_per_sample(self._model, stage, checkpointing=self._recomputes)

        return self._speed(flops, text, self._given.training)

    def caption(self, tokens: Range) -> Speed:
        """Seconds of one caption."""

        def flops(count: float) -> float:
            parts = forward_flops(self._model, text_tokens=round(count) + _PROMPT_TOKENS)
            return sum(weights + attention for weights, attention in parts.values())

        return self._speed(flops, tokens, self._given.captioning)

    def _speed(self, flops: Callable[[float], float], tokens: Range, share: Range) -> Speed:
        self.used = True
        device = self._given
        ends = (tokens.low, tokens.mid, tokens.high)
        low, mid, high = (by_flops(flops(count), device, share) for count in ends)
        seconds = Range(low=low.low, mid=mid.mid, high=high.high)
        return Speed(seconds, "assumed", f"FLOPs on {device.name}: {ASSUMED_DEVICE[device.name]}")

    @property
    def _given(self) -> Device:
        if self._device is None:
            raise Invalid(
                f"no job of the preset {self._preset!r} has run here, so its speed is not known",
                field="device",
                fix=f"`vila2 runs estimate RECIPE --device cpu` (or {_OTHERS}) assumes one; "
                f"{_MEASURE}",
            )
        return self._device

    @cached_property
    def _model(self) -> Model:
        try:
            preset = load_preset(named_preset(self._preset))
            from vila2.model.plan import meta_model, shapes

            return shapes(meta_model(preset), preset)
        except (PresetError, ModuleNotFoundError) as error:
            raise Invalid(
                f"the speed of {self._preset!r} cannot be computed, and no job of it has run "
                f"here: {error}",
                field="recipe.model.preset",
                fix=_MEASURE,
            ) from error


def _words(row: Mapping[str, Any]) -> int:
    turns = " ".join(f"{question} {answer}" for question, answer in _about(row, "turns"))
    return len(str(row["caption"]).split()) + len(turns.split())


def _about(row: Mapping[str, Any], name: str) -> list[Any]:
    """A sample's turns or benchmark questions, if it has any."""
    found: list[Any] = json.loads(row["about"] or "{}").get(name, [])
    return found


def _calls(
    platform: Client, version: Version, count: int, *, seed: int
) -> Iterator[tuple[int, list[str]]]:
    """(shard, keys) of each call: random images of a few random shards."""
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(version.shards), min(version.shards, SHARDS)))
    left = count
    for place, shard in enumerate(chosen):
        held = platform.datasets.shard_index(version.dataset, version.version, shard)
        index = decode_index(held, ["key"])
        share = -(-left // (len(chosen) - place))
        keys = [row["key"] for row in rng.sample(index, min(len(index), share))]
        left -= len(keys)
        for start in range(0, len(keys), CALL):
            yield shard, keys[start : start + CALL]
