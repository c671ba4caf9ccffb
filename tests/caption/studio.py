"""A platform with five foxes and a model that was never trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.chassis.objects_directory import DirectoryObjects
from services.standalone.app import Standalone
from tests import tiny
from tests.standalone import pictures, submitted
from vila2.api.caption import GateIn, LayerJobIn, SamplingIn


@contextmanager
def opened(folder: Path) -> Iterator[Studio]:
    """The platform in a folder of its own."""
    tiny.model().save(folder / "model")
    with Standalone(folder / "workspace") as platform:
        registry = platform.apps["training"].state.context.registry
        model = registry.add(
            team="local", base_name="untrained", folder=folder / "model", sha256="ab" * 32,
            parent="", job="job-0001", parameters=1, data=[],
        )  # fmt: skip
        submitted(platform.client, pictures(folder / "foxes", count=5), name="foxes",
                  shard_samples=3)  # fmt: skip
        yield Studio(platform, model)


class Studio:
    """A platform with five foxes in two shards and a model that was never trained."""

    def __init__(self, platform: Standalone, model: str) -> None:
        self.platform, self.client, self.model = platform, platform.client, model
        self.objects = DirectoryObjects(platform.workspace / "objects")

    def asked(self, **fields: Any) -> dict[str, Any]:
        return {
            "dataset": "foxes",
            "model": self.model,
            "prompts": ["Describe the picture.", "What is this?"],
            "sampling": SamplingIn(temperature=1.0, max_new_tokens=6),
            "gate": GateIn(attempts=2),
            "seed": 3,
            **fields,
        }

    def job(self, **fields: Any) -> LayerJobIn:
        return LayerJobIn(name="self", **self.asked(**fields))

    def outputs(self, layer: str) -> list[str]:
        return [key for key in self.objects.keys(f"layers/{layer}") if key.endswith(".parquet")]
