"""A platform with five foxes and a model that was never trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.chassis.storage.objects_directory import DirectoryObjects
from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import image
from tests.support.embedded_platform import images, submitted
from tests.support.models import tiny_preset
from vila2.data.sample import Sample
from vila2.engine.golden_set import write_golden
from vila2.model.digest import folder_digest
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.sampling import Gate, Sampling


@contextmanager
def caption_platform(
    folder: Path, *, count: int = 5, shard_samples: int = 3, **options: Any
) -> Iterator[CaptionPlatform]:
    """The platform in a folder of its own."""
    with EmbeddedPlatform(folder / "workspace", **options) as platform:
        model = register_model(platform, folder / "model", number=1)
        submitted(platform.client, images(folder / "foxes", count=count), name="foxes",
                  shard_samples=shard_samples)  # fmt: skip
        yield CaptionPlatform(platform, model)


def register_model(
    platform: EmbeddedPlatform, folder: Path, *, number: int, golden: bool = True
) -> str:
    """A model that was never trained, in the registry; another number gives other weights."""
    tiny_preset.model(seed=number - 1).save(folder)
    if golden:
        sample = Sample("p0", image(0), "png", "ab" * 32, 32, 32, "a fox")
        write_golden(folder, [sample] * 4)
    name: str = platform.apps["training"].state.context.registry.add(
        team="local", base_name="untrained", folder=folder, sha256=folder_digest(folder),
        parent="", job=f"job-{number:04d}", parameters=1, data=[],
    )  # fmt: skip
    return name


class CaptionPlatform:
    """A platform with five foxes in two shards and a model that was never trained."""

    def __init__(self, platform: EmbeddedPlatform, model: str) -> None:
        self.platform, self.client, self.model = platform, platform.client, model
        self.objects = DirectoryObjects(platform.workspace / "objects")

    def asked(self, **fields: Any) -> dict[str, Any]:
        return {
            "dataset": "foxes",
            "model": self.model,
            "prompts": ["Describe the image.", "What is this?"],
            "sampling": Sampling(temperature=1.0, max_new_tokens=6),
            "gate": Gate(attempts=2),
            "seed": 3,
            **fields,
        }

    def job(self, **fields: Any) -> CaptionJobIn:
        return CaptionJobIn(name="self", **self.asked(**fields))

    def outputs(self, layer: str) -> list[str]:
        return [key for key in self.objects.keys(f"layers/{layer}") if key.endswith(".parquet")]
