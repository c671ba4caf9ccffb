"""A platform that a reader of the documentation has: data, models, a run that has finished.

The models that a run trains are instant (`tests.support.runs.instant_jobs`); what is added from
outside is a real, tiny model, answered by the real engine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvicorn

from services.caption.engines.engine import Engines
from services.caption.engines.routed import RoutedEngines
from services.caption.settings import CaptionSettings
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.platform.embedded import EmbeddedPlatform
from services.platform.mount import front
from tests.support.embedded_platform import submitted
from tests.support.runs.instant_engine_and_backend import InstantEngines, instant_training
from tests.support.runs.instant_jobs import WEIGHTS
from tests.support.runs.stepped_platform import SIZES, recipe, submitted_world
from tests.support.servers.ports import free_port
from tests.support.tiny_families import build
from tests.support.waiting import until
from vila2.cli.connection.workspace import announced
from vila2.model.preset import PRESET_FILE
from vila2.scenes.datasets import write_world
from vila2.schemas.rest.controller import Run, RunIn


class DocumentedCaptioning(CaptionSettings):
    """The real engines, and instant ones for the models that runs here train."""

    def engines(self, database: Database, objects: ObjectStore) -> Engines:
        return _Either(super().engines(database, objects), InstantEngines(objects), objects)


class _Either(RoutedEngines):
    def __init__(self, real: Engines, instant: Engines, objects: ObjectStore) -> None:
        super().__init__(objects, composed=real, external=instant, endpoints=real)
        self._real, self._instant = real, instant

    def _of(self, prefix: str) -> Engines:
        held = {name for name in (WEIGHTS, PRESET_FILE) if self._objects.exists(f"{prefix}/{name}")}
        return self._instant if held == {WEIGHTS} else self._real


@dataclass(frozen=True)
class Prepared:
    """The platform, served; `root` holds its workspace, the drawn world and a tiny model."""

    root: Path
    platform: EmbeddedPlatform
    port: int
    run: Run

    @property
    def workspace(self) -> Path:
        return self.root / ".vila2"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def model(self) -> str:
        """The model of the run's last round."""
        return next(held.model for held in reversed(self.run.rounds) if held.model)

    @property
    def layer(self) -> str:
        """What that model's captioner wrote."""
        return next(held.layer for held in self.run.rounds if held.layer)

    @property
    def job(self) -> str:
        return next(self.platform.client.training.jobs(run=self.run.id)).id


@contextmanager
def prepared(root: Path) -> Iterator[Prepared]:
    """Until the block ends; commands find it as that of the workspace."""
    write_world(root / "world", sizes=SIZES, seed=1)
    build("SmolVLM", root / "tiny-model")
    made = EmbeddedPlatform(
        root / ".vila2", slots=2, captioning=DocumentedCaptioning(endpoints="*"),
        training=instant_training(),
    )  # fmt: skip
    # `KEY` is the variable that a page gives for an endpoint's key: here the platform asks itself.
    key = {"KEY": made.key}
    with patch.dict(os.environ, key), made as platform, _served(platform) as port:
        url = f"http://127.0.0.1:{port}"
        with announced(root / ".vila2", url, os.getpid()):
            submitted_world(platform.client, root / "world")
            for skill in ("spatial", "grounding"):
                submitted(
                    platform.client, root / "world" / skill, name=f"scenes-{skill}", format="llava"
                )
            yield Prepared(root, platform, port, _finished_run(platform))


def _finished_run(platform: EmbeddedPlatform) -> Run:
    made = recipe(rounds={"maximum": 1, "patience": 1}, specialists=[], controls=[])
    started = platform.client.controller.start_run(
        RunIn(recipe=made.model_dump(mode="json"), name="first")
    )
    controller = platform.client.controller
    until(lambda: controller.run(started.id).state in ("finished", "failed"), seconds=120)
    run = controller.run(started.id)
    assert run.state == "finished", run.error
    return run


@contextmanager
def _served(platform: EmbeddedPlatform) -> Iterator[int]:
    """As `vila2 up` serves it; by the host `datasets` a service alone, as containers have it."""
    whole: Any = front(platform.apps)

    async def by_host(scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope.get("headers", ())).get(b"host", b"").decode().partition(":")[0]
        await platform.apps.get(host, whole)(scope, receive, send)

    port = free_port()
    config = uvicorn.Config(by_host, port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(10)
