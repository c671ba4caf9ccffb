"""Engines of every kind with models that answer, and requests to ask them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from services.caption.captioning.images import prepared
from services.caption.engines.embedded import EmbeddedEngines
from services.caption.engines.endpoint.allowed import AllowedEndpoints
from services.caption.engines.endpoint.engines import EndpointEngines
from services.caption.engines.transformers_generate import TransformersEngines
from services.caption.engines.triton import TritonEngines
from services.caption.engines.triton_connection import Connection
from services.caption.tables import Base
from services.caption.triton.repository import EngineOptions
from services.caption.triton.served import ServedModels
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from services.platform.embedded import EmbeddedPlatform
from tests.support.caption_platform import register_model
from tests.support.models import tiny_preset
from tests.support.servers.platform_http import served
from tests.support.servers.triton import triton_server
from tests.support.tiny_families import build
from vila2.engine.requests import ImageInput, Request
from vila2.schemas.canonical import canonical_json
from vila2.schemas.endpoint_model import ENDPOINT_FILE, EndpointModel
from vila2.schemas.sampling import Sampling
from vila2.triton.keeper import Keeper

PREFIX = "models/m-0"
PATIENCE = 15.0
KEY_VARIABLE = "TEST_ENDPOINT_KEY"


class TritonServing:
    """A Triton server with two models in reach, and engines that talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = DirectoryObjects(folder / "objects")
        for seed in (0, 1):
            tiny_preset.model(seed=seed).save(folder / f"m{seed}")
            self.objects.put_directory(f"models/m-{seed}", folder / f"m{seed}")
        self.server = triton_server(folder / "objects" / "serving")
        self.keeper = Keeper(self.server)
        self.keeper.start()
        self.database = Database.sqlite(folder / "served.sqlite", Base.metadata)
        self.connection = Connection(self.server.url)
        self.served = self.ledger()
        self.engines = self.of(self.served)

    def ledger(self, *, budget: int = 2**30) -> ServedModels:
        options = EngineOptions(batch_size=8, threads=1, max_waiting=40)
        return ServedModels(
            self.database, self.objects, self.connection, options=options, budget=budget
        )

    def of(self, served: ServedModels, *, patience: float = PATIENCE) -> TritonEngines:
        return TritonEngines(self.connection, self.objects, served, patience=patience)

    def close(self) -> None:
        self.engines.close()
        self.keeper.stop()
        self.database.close()


def embedded_engines(folder: Path) -> EmbeddedEngines:
    """The continuous batch with one model of the composed layout."""
    tiny_preset.model(seed=0).save(folder / PREFIX)
    return EmbeddedEngines(lambda prefix: folder / prefix, batch_size=8)


def transformers_engines(folder: Path, family: str = "Qwen2.5-VL") -> TransformersEngines:
    """transformers' `generate` with a tiny model of a family."""
    build(family, folder / PREFIX)
    return TransformersEngines(lambda prefix: folder / prefix, batch_size=8)


@contextmanager
def endpoint_engines(folder: Path) -> Iterator[EndpointEngines]:
    """The endpoint adapter before this platform's own OpenAI-compatible API."""
    with EmbeddedPlatform(folder / "workspace") as platform:
        model = register_model(platform, folder / "model", number=1)
        with served(platform) as address:
            spec = EndpointModel(
                url=f"{address}/caption/v1", model=model, key_env=KEY_VARIABLE, concurrency=16,
                logprobs=False,
            )  # fmt: skip
            objects = DirectoryObjects(folder / "objects")
            objects.put(f"{PREFIX}/{ENDPOINT_FILE}", canonical_json(spec.model_dump(mode="json")))
            allowed = AllowedEndpoints("*", environment={KEY_VARIABLE: platform.key})
            engines = EndpointEngines(objects, allowed)
            yield engines
            engines.close()


def requests(
    count: int, image: ImageInput | None = None, *, temperature: float = 0.8
) -> list[Request]:
    """Questions about noise, with images as the engine takes them."""
    rng = np.random.default_rng(7)
    return [
        Request(
            image_as(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8), image),
            "Describe it, <user> & all." if n % 2 else "what is this?",
            n,
            Sampling(temperature=temperature, top_p=0.9, max_new_tokens=1 + n * 5 % 13),
        )
        for n in range(count)
    ]


def image_as(pixels: np.ndarray, image: ImageInput | None) -> np.ndarray | bytes:
    """Pixels as they are, or as an engine with this input gets them from a file."""
    return pixels if image is None else prepared(png(pixels), image)


def png(pixels: np.ndarray) -> bytes:
    """An image file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def ignore(_: int) -> None:
    """Progress that nobody watches."""
