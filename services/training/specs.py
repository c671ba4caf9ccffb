"""From a job as it was asked for, by names, to a spec with local paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.chassis.objects import ObjectStore
from vila2.api.training import EvaluateIn, SourceIn, TrainIn
from vila2.client import Client
from vila2.evaluation.spec import EvaluateSpec
from vila2.training.spec import TrainSpec


class SpecBuilder:
    """Looks datasets, layers and models up and writes where they can be read."""

    def __init__(self, objects: ObjectStore, *, cache: Path) -> None:
        self._objects, self._cache = objects, cache

    def train(self, body: TrainIn, platform: Client, model: Path | None, out: Path) -> TrainSpec:
        """The trainer's spec; `model` is the folder to start from, where there is one."""
        tokenizer = [
            self._source(SourceIn(dataset=name, assembly={"policy": "original"}), platform)
            for name in body.tokenizer_datasets
        ]
        if body.init == "new":
            init = {"kind": "new", "preset": body.preset, "tokenizer_sources": tokenizer}
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
                "cache_features": body.cache_features,
                "threads": body.threads,
                "precision": body.precision,
            }
        )

    def evaluate(self, body: EvaluateIn, platform: Client, model: Path, out: Path) -> EvaluateSpec:
        """The evaluator's spec."""
        return EvaluateSpec(
            model=str(model),
            benchmarks={name: self._shards(name, platform) for name in body.benchmarks},
            output=str(out),
            cache=str(self._cache),
            max_new_tokens=body.max_new_tokens,
            threads=body.threads,
        )

    def _source(self, source: SourceIn, platform: Client) -> dict[str, Any]:
        layers: dict[str, list[str]] = {}
        for use in source.layers:
            layer = platform.datasets.layer(use.layer)
            if layer.state != "sealed":
                raise ValueError(f"layer {use.layer} is not sealed: wait for its captions")
            held = platform.datasets.layer_shards(layer.id)
            layers[use.alias] = [str(self._objects.local(shard.object_key)) for shard in held]
        return {
            "name": source.dataset,
            "shards": self._shards(source.dataset, platform),
            "layers": layers,
            **source.model_dump(exclude={"dataset", "layers"}),
        }

    def _shards(self, dataset: str, platform: Client) -> list[str]:
        name, _, version = dataset.partition("@")
        shards = platform.datasets.shards(name, int(version or 0))
        return [str(self._objects.local(shard.object_key)) for shard in shards]
