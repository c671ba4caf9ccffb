"""Deployments step by step, with an engine that does what it is asked to: no model is loaded."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.caption.engines.engine import EngineInfo, EngineUnavailable, ModelRefused
from services.caption.serving.deployments import Deployments
from services.caption.serving.examination import examine
from services.caption.serving.rollout import Rollout
from services.caption.tables import Base
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from services.chassis.web.errors import Conflict
from tests.support.datasets.samples import image
from vila2.engine.golden_set import GOLDEN_FILE, GoldenItem
from vila2.engine.requests import Generation, ImageInput, Request, Scoring
from vila2.model.digest import folder_digest
from vila2.schemas.rest.caption import Deployment, DeploymentIn, Requirement
from vila2.schemas.rest.training import ModelDetails


class Engine:
    """Answers every question with "a fox"."""

    image_input = ImageInput(side=32)

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        return [Generation("a fox", 3, -1.0, "stop") for _ in requests]

    def stream(self, request: Request) -> Iterator[str | Generation]:
        yield from self.generate([request], progress=lambda _: None)

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        return [0.0 for _ in requests]


class Engines:
    """Remembers what was loaded and released; `full` refuses to load anything for now."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.released: list[str] = []
        self.full = False

    def get(self, prefix: str) -> Engine:
        if self.full:
            raise EngineUnavailable("no memory is free")
        self.loaded.append(prefix)
        return Engine()

    def info(self, prefix: str) -> EngineInfo:
        return EngineInfo("scripted", "1")

    def release(self, prefix: str) -> bool:
        self.released.append(prefix)
        return True

    def close(self) -> None:
        pass


class Serving:
    """The caption service's deployments in one folder; the test advances them."""

    def __init__(self, folder: Path) -> None:
        self.objects = DirectoryObjects(folder / "objects")
        self.engines = Engines()
        database = Database.sqlite(folder / "caption.sqlite", Base.metadata)
        self.deployments = Deployments(database, self._platform)
        self.rollout = Rollout(database, self.objects, self.engines, drain_seconds=0.0)

    def _platform(self, _: str) -> Any:
        return SimpleNamespace(training=SimpleNamespace(model_details=self._details))

    def _details(self, name: str) -> ModelDetails:
        return ModelDetails(
            name=name, sha256=folder_digest(self.objects.local(f"models/{name}")), parent="",
            job="job-1", object_prefix=f"models/{name}", parameters=1, data=[],
        )  # fmt: skip

    def model(self, name: str) -> str:
        """Store a model whose trainer got "a fox" too."""
        encoded = base64.b64encode(image(0)).decode()
        golden = [{"image": encoded, "question": "?", "text": "a fox", "logprob": -1.0}] * 4
        self.objects.put(f"models/{name}/model.safetensors", name.encode())
        self.objects.put(f"models/{name}/{GOLDEN_FILE}", json.dumps(golden).encode())
        return name

    def ask(self, model: str, endpoint: str = "captioner", **fields: Any) -> Deployment:
        body = DeploymentIn(model=model, **fields)
        return self.deployments.deploy("local", endpoint, body, by="ann")

    def done(self, begun: Deployment) -> Deployment:
        self.rollout.advance_all()
        return self.deployments.get("local", begun.id)


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def test_a_deployment_whose_process_died_is_decided_by_the_next(
    serving: Serving, tmp_path: Path
) -> None:
    """Killed between its checks and the statement that records them."""
    begun = serving.ask(serving.model("m"))
    child = os.fork()
    if child == 0:
        try:
            os.environ["VILA2_CRASHPOINT"] = "deployment.checked"
            Serving(tmp_path).rollout.advance_all()
        finally:  # an exception must not reach pytest, which would go on in the child
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert serving.deployments.get("local", begun.id).state == "deploying"
    assert serving.done(begun).state == "active"


def test_a_deployment_waits_for_an_engine_that_is_full_and_reads_the_weights_once(
    serving: Serving,
) -> None:
    begun = serving.ask(serving.model("m"))
    serving.engines.full = True
    waiting = serving.done(begun)
    assert (waiting.state, len(waiting.digest)) == ("deploying", 64)
    serving.objects.put("models/m/model.safetensors", b"other weights, which nobody reads")
    serving.engines.full = False
    assert serving.done(begun).state == "active"


def test_a_model_that_is_refused_anyway_is_not_loaded(serving: Serving) -> None:
    """It could push another out of the engine's memory."""
    require = [Requirement(benchmark="scenes", minimum=0.5)]
    refused = serving.done(serving.ask(serving.model("m"), require=require))
    assert (refused.state, refused.error) == ("failed", "scenes: not evaluated")
    assert serving.engines.loaded == []


def test_a_refusal_does_not_unload_what_another_endpoint_answers_with(serving: Serving) -> None:
    model = serving.model("m")
    assert serving.done(serving.ask(model, "first")).state == "active"
    require = [Requirement(benchmark="scenes", minimum=0.5)]
    assert serving.done(serving.ask(model, "second", require=require)).state == "failed"
    assert serving.engines.released == []


def test_a_model_whose_files_are_gone_fails(serving: Serving) -> None:
    begun = serving.ask(serving.model("m"))
    shutil.rmtree(serving.objects.local("models/m"))
    failed = serving.done(begun)
    assert (failed.state, failed.digest) == ("failed", "")
    assert "missing" in failed.error


def test_the_same_deployment_again_is_the_one_under_way(serving: Serving) -> None:
    model = serving.model("m")
    assert serving.ask(model).id == serving.ask(model).id


@pytest.mark.parametrize("fields", [
    {"golden": False}, {"require": [Requirement(benchmark="scenes", minimum=0.5)]},
])  # fmt: skip
def test_the_same_model_under_other_conditions_is_another_deployment(
    serving: Serving, fields: dict[str, Any]
) -> None:
    """Whoever requires a score must not be handed a deployment that requires none."""
    model = serving.model("m")
    serving.ask(model)
    with pytest.raises(Conflict, match="is being deployed"):
        serving.ask(model, **fields)


def test_a_rollback_goes_without_a_golden_set_if_the_model_was_deployed_without(
    serving: Serving,
) -> None:
    first, second = serving.model("first"), serving.model("second")
    serving.objects.delete(f"models/first/{GOLDEN_FILE}")
    assert serving.done(serving.ask(first, golden=False)).state == "active"
    assert serving.done(serving.ask(second)).state == "active"
    back = serving.done(serving.deployments.rollback("local", "captioner", by="bob"))
    assert (back.model, back.state, back.by) == (first, "active", "bob")
    assert back.note == "rollback from second"


def test_an_endpoint_shows_what_was_deployed_to_it_newest_first(serving: Serving) -> None:
    serving.done(serving.ask(serving.model("one"), note="first try"))
    serving.done(serving.ask(serving.model("two"), require=[
        Requirement(benchmark="scenes", minimum=0.5)
    ]))  # fmt: skip
    shown = serving.deployments.endpoint("local", "captioner")
    assert shown.model == "one"
    assert [(made.model, made.state, made.note) for made in shown.deployments] == [
        ("two", "failed", ""), ("one", "active", "first try"),
    ]  # fmt: skip


def test_an_engine_that_leaves_questions_of_a_full_batch_unanswered_is_refused() -> None:
    """Nothing is left to compare then, and nothing may pass for that."""

    class Short(Engine):
        def generate(
            self, requests: Sequence[Request], *, progress: Callable[[int], None]
        ) -> list[Generation]:
            return super().generate(requests[:8], progress=progress)

    encoded = base64.b64encode(image(0)).decode()
    with pytest.raises(ModelRefused, match="8 answers to 64 golden questions"):
        examine(Short(), [GoldenItem(encoded, "?", "a fox", -1.0)])
