"""The five real services over one workspace, driven by hand in one thread.

No loop runs by itself: `turn` lets each look once, always in the same order, so what happens is a
function of what is in the workspace. Only the trainer and the engine are instant.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from services.caption.context import CaptionContext
from services.controller.context import ControllerContext
from services.datasets.context import DatasetsContext
from services.platform.embedded import EmbeddedPlatform
from services.specialist.context import SpecialistContext
from services.training.context import TrainingContext
from services.training.settings import TrainingSettings
from tests.support.runs.instant_engine_and_backend import InstantCaptioning, instant_training
from vila2.client import Client
from vila2.client.submit import submit
from vila2.recipes.recipe import Recipe, recipe_text
from vila2.scenes.datasets import WorldSizes, write_world
from vila2.schemas.rest.controller import Run, RunIn

DATASETS = {
    "scenes-corpus": ("corpus", "folder"), "scenes-sft": ("sft", "llava"),
    "scenes-base": ("base", "llava"), "scenes-ocr": ("ocr", "llava"),
    "scenes-test": ("test", "benchmark"),
}  # fmt: skip
SIZES = WorldSizes(corpus=12, sft=8, specialist=8, base=8, dev=8, test=20, sft_skills=2)


class SteppedPlatform:
    """Use it as a context manager; `client` is what a team holds."""

    def __init__(self, workspace: Path, training: TrainingSettings | None = None) -> None:
        self.platform = EmbeddedPlatform(
            workspace,
            slots=2,
            captioning=InstantCaptioning(),
            training=training or instant_training(),
        )
        # The apps answer, but nobody starts their loops.
        self.platform._apps_thread._thread.start()
        self.client: Client = self.platform.client
        held = {name: app.state.context for name, app in self.platform.apps.items()}
        self.controller: ControllerContext = held["controller"]
        self.training: TrainingContext = held["training"]
        self.caption: CaptionContext = held["caption"]
        self.datasets: DatasetsContext = held["datasets"]
        self.specialist: SpecialistContext = held["specialist"]

    def __enter__(self) -> SteppedPlatform:
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        self.platform.__exit__(None, None, None)
        for context in (
            self.controller, self.training, self.caption, self.datasets, self.specialist,
        ):  # fmt: skip
            database: Any = getattr(context, "_database", None) or context.database  # type: ignore[attr-defined]
            database.close()

    def turn(self) -> None:
        """Everybody looks once."""
        self.controller.reconciler.tick()
        self.specialist.specialists.tick()
        self.training.dispatcher.tick()
        for context in (self.datasets, self.caption):
            for unit, _ in context.units.claimable():
                context.worker.take(unit)
        self.caption.jobs.steps.take_all()
        self.controller.relay.tick()

    def finish(self, run: str, *, turns: int = 200) -> Run:
        """Turn until the run no longer runs."""
        for _ in range(turns):
            if run not in {row.id for row in self.controller.runs.running()}:
                return self.client.controller.run(run)
            self.turn()
        held = self.client.controller.run(run)
        raise AssertionError(f"the run has not ended: {held.phase}, {held.trouble}")

    def until(self, run: str, round: str, state: str, *, turns: int = 200) -> Run:
        """Turn until a round is in a state."""
        for _ in range(turns):
            held = self.client.controller.run(run)
            if any(r.name == round and r.state == state for r in held.rounds):
                return held
            self.turn()
        raise AssertionError(f"{round} has not come to be {state}: {held.phase}, {held.trouble}")


def workspace(folder: Path) -> Path:
    """A workspace with a small world submitted, to be copied for each test."""
    world, made = folder / "world", folder / "workspace"
    write_world(world, sizes=SIZES, seed=1)
    with EmbeddedPlatform(made) as platform:
        submitted_world(platform.client, world)
    shutil.rmtree(made / "scratch", ignore_errors=True)
    return made


def submitted_world(client: Client, world: Path) -> None:
    """Submit every dataset of the small recipe for a team; the platform's loops must run."""
    for name, (split, kind) in DATASETS.items():
        version = submit(
            client, world / split, name=name, format=kind, shard_samples=6, poll_seconds=0.02
        )
        assert version.state == "ready", version.error


def recipe(**changes: Any) -> Recipe:
    """The tiny recipe with one specialist and the control that needs a layer."""
    content: dict[str, Any] = yaml.safe_load(recipe_text("tiny"))
    content["specialists"] = [s for s in content["specialists"] if s["name"] == "ocr"]
    content["controls"] = [c for c in content["controls"] if c["name"] == "shuffled"]
    content["rounds"] = {"maximum": 3, "patience": 1}
    return Recipe.model_validate({**content, **changes})


def start(
    stepped: SteppedPlatform, made: Recipe, *, name: str = "a-run", token: str | None = None
) -> str:
    """Start a run and return its id."""
    body = RunIn(recipe=made.model_dump(mode="json"), name=name)
    return stepped.client.controller.start_run(body, token).id
