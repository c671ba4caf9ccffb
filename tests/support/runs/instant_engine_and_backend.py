"""A trainer and an engine that answer at once, so that everything around them can be watched.

They stand in the two seams that cost minutes: the execution backend and the caption engine. What a
"model" is good for is a number in its folder; a model trained on captions of a better captioner is
better, a little less each time, so that runs saturate as they do in life. Everything they make is
a function of what they were given, never of names or times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from services.caption.engines.engine import Abilities, EngineInfo
from services.caption.settings import CaptionSettings
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.training.backends.backend import Backend, Command, Phase
from services.training.settings import TrainingSettings
from tests.support.runs.instant_jobs import digest, evaluated, trained, weights_in, write_whole
from vila2.engine.requests import Generation, ImageInput, Request, Scoring


class InstantBackend(Backend):
    """Trains and evaluates within `submit`; `fail` names jobs whose next start fails."""

    def __init__(self, fail: Callable[[dict[str, Any]], bool] = lambda _: False) -> None:
        self._fail = fail

    def submit(self, key: str, command: Command) -> str:
        spec = json.loads(command.spec.read_text())
        folder = command.folder
        if self._fail(spec):
            (folder / "error.txt").write_text("it was made to fail")
            (folder / "exit.json").write_text(json.dumps({"status": 1}))
            return "failed"
        if not (folder / "result.json").exists():
            result = trained(spec) if command.module.endswith("train") else evaluated(spec)
            write_whole(folder / "result.json", json.dumps(result))
        return "done"

    def observe(self, handle: str, folder: Path) -> Phase:
        return "succeeded" if handle == "done" else "failed"

    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """Nothing runs."""


class InstantEngine:
    """Captions that tell how good their captioner is, and of which image they are."""

    image_input = ImageInput(side=32)

    def __init__(self, weights: dict[str, Any]) -> None:
        self._quality = float(weights["quality"])

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        made = []
        for number, request in enumerate(requests):
            seen = digest(request.pixels.tobytes())[:6]
            # Not the question itself: the gate takes that for a leaked prompt.
            asked = digest(request.question.encode())[:6]
            text = f"an image {seen} seen at {round(1000 * self._quality)} permille, for {asked}"
            made.append(Generation(text, 12, -1.0 + self._quality, "stop", 4))
            progress(number + 1)
        return made

    def stream(self, request: Request) -> Iterator[str | Generation]:
        answer = self.generate([request], progress=lambda _: None)[0]
        yield answer.text
        yield answer

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        return [self._quality for _ in requests]


class InstantEngines:
    """Engines of the models that `InstantBackend` made."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def info(self, prefix: str) -> EngineInfo:
        return EngineInfo("instant", "1")

    def abilities(self, prefix: str) -> Abilities:
        return Abilities()

    def get(self, prefix: str) -> InstantEngine:
        return InstantEngine(weights_in(self._objects.local(prefix)))

    def release(self, prefix: str) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


class InstantCaptioning(CaptionSettings):
    """The caption service with that engine."""

    def engines(self, database: Database, objects: ObjectStore) -> InstantEngines:  # type: ignore[override]
        return InstantEngines(objects)


class InstantTraining(TrainingSettings):
    """The training service with that backend."""

    _backend: InstantBackend = InstantBackend()

    def backend(self, workspace: Path) -> Backend:
        return self._backend


def instant_training(fail: Callable[[dict[str, Any]], bool] = lambda _: False) -> TrainingSettings:
    """Settings whose backend fails where `fail` says so of a job's spec."""
    made = InstantTraining()
    made._backend = InstantBackend(fail)
    return made
