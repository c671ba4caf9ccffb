"""The first jobs of every shipped recipe, by the real trainer: the base, then a stage from it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from services.training.registry.card import model_card
from tests.support.models.foreign_models import KINDS
from tests.support.models.small_presets import small_preset
from tests.support.training.inputs import source, world
from vila2.engine.golden_set import GOLDEN_FILE
from vila2.engine.reference import REFERENCE_FILE
from vila2.model.build import VLM
from vila2.model.preset import load_preset
from vila2.recipes.recipe import load_recipe, shipped_recipes
from vila2.schemas.rest.training import ModelDetails
from vila2.schemas.stages import Optimizer
from vila2.schemas.train_spec import Stage, TrainSpec
from vila2.training.train import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The trainer takes signals for itself."""
    held = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for name, handler in held.items():
        signal.signal(name, handler)


def run(folder: Path, **spec: object) -> Path:
    """Run a job and return the folder of its model."""
    folder.mkdir()
    job = {"output": str(folder), "cache": str(folder.parent / "cache"), **spec}
    path = folder / "spec.json"
    path.write_text(TrainSpec.model_validate(job).model_dump_json())
    error = folder / "error.txt"
    assert main(["--spec", str(path)]) == 0, error.read_text() if error.exists() else ""
    return folder / "model"


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_first_jobs_of_a_recipe_end_well(
    name: str, tmp_path: Path, shards: dict[str, str]
) -> None:
    """The base is composed from parts of the recipe's classes, and its first stage trains."""
    recipe = load_recipe(name)
    preset = small_preset(load_preset(recipe.model.preset), tmp_path / "checkpoints")
    file = tmp_path / "preset.yaml"
    file.write_text(yaml.safe_dump(preset.model_dump(mode="json")))
    texts = source(shards["corpus"], "corpus", policy="original")
    base = run(
        tmp_path / "base",
        init={"kind": "new", "preset": str(file), "tokenizer_sources": [texts]},
    )
    stage = recipe.stages["align"]
    small = Stage(
        name="align",
        steps=2,
        batch_size=8,
        lr=stage.lr,
        trainable=stage.trainable,
        optimizer=Optimizer.model_validate(stage.optimizer.model_dump()),
        sources=[texts],
    )
    trained = run(
        tmp_path / "align",
        init={"kind": "base", "path": str(base)},
        stages=[small],
        precision=recipe.training.precision,
        cache_features=recipe.training.cache_features,
    )
    assert not (base / REFERENCE_FILE).exists()
    assert not (base / GOLDEN_FILE).exists()
    assert (trained / REFERENCE_FILE).exists()
    assert len(json.loads((trained / GOLDEN_FILE).read_text())) == 8
    assert VLM.load(trained).image_tokens == VLM.load(base).image_tokens
    said = ran_card(trained)
    assert "newly initialized" not in said, said


@pytest.mark.parametrize("kind", ["llava-siglip", "smolvlm"])
def test_an_existing_model_is_a_base_and_trains_to_its_end(
    kind: str, tmp_path: Path, shards: dict[str, str]
) -> None:
    """Also its reference, for which each family gives its image embeddings in its own way."""
    KINDS[kind](tmp_path / "theirs")
    file = tmp_path / "preset.yaml"
    file.write_text(yaml.safe_dump({"name": kind, "model": {"path": str(tmp_path / "theirs")}}))
    texts = source(shards["corpus"], "corpus", policy="original")
    base = run(tmp_path / "base", init={"kind": "new", "preset": str(file)})
    stage = Stage(
        name="align", steps=2, batch_size=4, lr=1e-3, trainable=["projector"], sources=[texts]
    )
    trained = run(tmp_path / "align", init={"kind": "base", "path": str(base)}, stages=[stage])
    assert (trained / REFERENCE_FILE).exists()
    assert "newly initialized" not in ran_card(trained)


def ran_card(model: Path) -> str:
    """Run the code of the model's card in an interpreter of its own; returns what it wrote."""
    result = json.loads((model.parent / "result.json").read_text())
    about = {
        "name": "m", "sha256": result["sha256"], "parent": "base", "job": "job-1",
        "object_prefix": "models/m", "parameters": 1, "data": [], "result": result,
    }  # fmt: skip
    card = model_card(ModelDetails.model_validate(about))
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("FOLDER", str(model))],
        capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_stage_in_which_nothing_carries_loss_is_an_error(
    tmp_path: Path, shards: dict[str, str]
) -> None:
    """Question-and-answer data under policy `original` has no captions to train on."""
    folder = tmp_path / "job"
    folder.mkdir()
    stage = Stage(
        name="sft",
        steps=2,
        batch_size=4,
        lr=1e-3,
        trainable=["projector"],
        sources=[source(shards["sft"], "sft", policy="original")],
    )
    job = TrainSpec.model_validate(
        {
            "init": {"kind": "new", "preset": "tiny", "tokenizer_sources": [source(shards["sft"])]},
            "stages": [stage],
            "output": str(folder),
            "cache": str(tmp_path / "cache"),
        }
    )
    (folder / "spec.json").write_text(job.model_dump_json())
    assert main(["--spec", str(folder / "spec.json")]) == 1
    assert "stage sft: no token of a batch carries loss" in (folder / "error.txt").read_text()
    assert not (folder / "model").exists()
