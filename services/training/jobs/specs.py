"""Builds a job's spec: the request's names resolved to local paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.chassis.storage.intact import stored_captions, stored_shard
from services.chassis.storage.objects import ObjectStore
from vila2.client import Client
from vila2.model.preset import named_preset
from vila2.schemas.assembly import Assembly
from vila2.schemas.evaluate_spec import EvaluateSpec
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.datasets import Shard, Version
from vila2.schemas.rest.training import EvaluateIn, JobIn, LineageItem, SourceIn, TrainIn
from vila2.schemas.stages import Execution
from vila2.schemas.stored import Stored
from vila2.schemas.train_spec import TrainSpec


class SpecBuilder:
    """Looks datasets, layers and models up and writes where they can be read."""

    def __init__(self, objects: ObjectStore, *, cache: Path) -> None:
        self._objects, self._cache = objects, cache

    def pin(self, body: JobIn, platform: Client) -> tuple[JobIn, list[LineageItem]]:
        """The job with the version of every dataset, and what a training reads.

        What is pinned stays: a version that is made between two attempts changes nothing.
        """
        versions: dict[DatasetRef, Version] = {}

        def pinned(dataset: DatasetRef) -> DatasetRef:
            if dataset not in versions:
                versions[dataset] = platform.datasets.version(dataset.name, dataset.version)
            return DatasetRef(versions[dataset].dataset, versions[dataset].version)

        if body.evaluate is not None:
            asked = [pinned(name) for name in body.evaluate.benchmarks]
            evaluate = body.evaluate.model_copy(update={"benchmarks": asked})
            return body.model_copy(update={"evaluate": evaluate}), []
        assert body.train is not None  # submit checked that one of the two is set
        items, stages = [], []
        for stage in body.train.stages:
            sources = []
            for source in stage.sources:
                at = source.model_copy(update={"dataset": pinned(source.dataset)})
                items.append(_item(stage.name, at, versions[source.dataset], platform))
                sources.append(at)
            stages.append(stage.model_copy(update={"sources": sources}))
        tokenizer = [pinned(name) for name in body.train.tokenizer_datasets]
        train = body.train.model_copy(update={"stages": stages, "tokenizer_datasets": tokenizer})
        return body.model_copy(update={"train": train}), items

    def train(self, body: TrainIn, platform: Client, model: Path | None, out: Path) -> TrainSpec:
        """The trainer's spec; `model` is the folder to start from, if any."""
        tokenizer = [
            self._source(SourceIn(dataset=name, assembly=Assembly(policy="original")), platform)
            for name in body.tokenizer_datasets
        ]
        if body.init == "new":
            preset = named_preset(body.preset)
            init = {"kind": "new", "preset": preset, "tokenizer_sources": tokenizer}
        else:
            init = {"kind": body.init, "path": str(model)}
        return TrainSpec.model_validate(
            {
                "init": init,
                "stages": [
                    {
                        **stage.model_dump(exclude={"sources"}),
                        "sources": [self._source(source, platform) for source in stage.sources],
                    }
                    for stage in body.stages
                ],
                "seed": body.seed,
                "output": str(out),
                "cache": str(self._cache),
                **body.model_dump(include=set(Execution.model_fields)),
            }
        )

    def evaluate(self, body: EvaluateIn, platform: Client, model: Path, out: Path) -> EvaluateSpec:
        """The evaluator's spec."""
        benchmarks = {name: self._shards(name, platform) for name in body.benchmarks}
        return EvaluateSpec(
            model=str(model),
            benchmarks={name: list(held) for name, held in benchmarks.items()},
            stored={path: what for held in benchmarks.values() for path, what in held.items()},
            output=str(out),
            cache=str(self._cache),
            max_new_tokens=body.max_new_tokens,
            threads=body.threads,
        )

    def _source(self, source: SourceIn, platform: Client) -> dict[str, Any]:
        layers: dict[str, list[str]] = {}
        stored: dict[str, Stored] = {}
        for use in source.layers:
            layer = platform.datasets.layer(use.layer)
            if layer.state != "sealed":
                raise ValueError(f"layer {use.layer} is not sealed: wait for its captions")
            held = platform.datasets.layer_shards(layer.id)
            captions = {
                self._path(shard.object_key): stored_captions(
                    layer.id, shard.number, shard.object_key, shard.sha256
                )
                for shard in held
            }
            layers[use.alias] = list(captions)
            stored |= captions
        listed = self._listed(source.dataset, platform)
        shards = self._shards(source.dataset, platform, listed)
        return {
            "name": source.dataset,
            "shards": list(shards),
            "sizes": [shard.samples for shard in listed],
            "stored": stored | shards,
            "layers": layers,
            **source.model_dump(exclude={"dataset", "layers"}),
        }

    def _shards(
        self, dataset: DatasetRef, platform: Client, listed: list[Shard] | None = None
    ) -> dict[str, Stored]:
        """Paths of a version's shards in order, with what must be there."""
        return {
            self._path(shard.object_key): stored_shard(
                str(dataset), shard.index, shard.object_key, shard.sha256
            )
            for shard in listed or self._listed(dataset, platform)
        }

    def _path(self, key: str) -> str:
        return str(self._objects.local(key))

    def _listed(self, dataset: DatasetRef, platform: Client) -> list[Shard]:
        return platform.datasets.shards(dataset.name, dataset.version)


def _item(stage: str, source: SourceIn, version: Version, platform: Client) -> LineageItem:
    layers = []
    for use in source.layers:
        held = platform.datasets.layer(use.layer)
        layers.append(
            {
                "alias": use.alias,
                "layer": held.id,
                "name": held.name,
                "recipe_hash": held.recipe_hash,
                "captioner": held.captioner,
            }
        )
    return LineageItem(
        stage=stage,
        dataset=version.dataset,
        version=version.version,
        sha256=version.sha256,
        licence=version.licence,
        samples=version.samples,
        layers=layers,
        assembly=source.assembly.model_dump(mode="json"),
    )
