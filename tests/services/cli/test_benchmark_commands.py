"""A benchmark from its files to a model's scores, by command, on the platform in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.library.benchmarks.test_lmms_eval import written
from tests.support.caption_platform import register_model
from tests.support.datasets import published_benchmarks as published
from tests.support.embedded_platform import submitted
from vila2.cli.main import app
from vila2.evaluation.outcomes import read_outcomes

RUN = CliRunner(env={"COLUMNS": "250"})


def told(workspace: Path, *arguments: str) -> str:
    result = RUN.invoke(app, [*arguments, "-w", str(workspace)])
    assert result.exit_code == 0, result.output or result.exception
    return result.output


def error(workspace: Path, *arguments: str) -> str:
    result = RUN.invoke(app, [*arguments, "-w", str(workspace)])
    assert result.exit_code != 0
    return str(result.exception)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace with a model that was never trained, and its name."""
    folder = tmp_path_factory.mktemp("benchmarks")
    with EmbeddedPlatform(folder / "workspace") as platform:
        model = register_model(platform, folder / "model", number=1)
    return folder / "workspace", model


def add_pope(workspace: Path, folder: Path) -> Path:
    path = published.pope(folder)
    shown = told(workspace, "benchmarks", "add", "pope", "--from", str(path), "--images",
                 str(path / "val2014"))  # fmt: skip
    assert "pope@1 ready: 2 samples" in shown.replace("\n", " ")
    return path


def test_a_benchmark_is_added_once_and_listed(tmp_path: Path) -> None:
    """The same files again find the same version."""
    workspace = tmp_path / "workspace"
    for _ in range(2):
        add_pope(workspace, tmp_path / "pope")
    shown = told(workspace, "benchmarks", "list")
    assert "questions MIT" in shown
    assert "arXiv 2305.10355" in shown


@pytest.mark.slow
def test_a_model_is_evaluated_and_its_scores_stand_in_one_place(
    place: tuple[Path, str], tmp_path: Path
) -> None:
    """Its own evaluation with figures by split, and beside it what lmms-eval found."""
    workspace, model = place
    add_pope(workspace, tmp_path / "pope")
    told(workspace, "benchmarks", "add", "sugarcrepe", "--from",
         str(published.sugarcrepe(tmp_path / "crepe")))  # fmt: skip
    told(workspace, "benchmarks", "add", "sugarcrepe-likelihood", "--from", str(tmp_path / "crepe"))
    ran = told(workspace, "benchmarks", "run", "pope", "sugarcrepe", "sugarcrepe-likelihood",
               "--model", model, "--max-new-tokens", "4")  # fmt: skip
    assert "whole_group_right" in ran
    results = written(tmp_path / "lmms")
    keep = ("benchmarks", "lmms-eval", "--model", model, "--keep", str(results))
    assert "not of" in error(workspace, *keep)
    for _ in range(2):
        told(workspace, *keep, "--any-name")
    details = json.loads(told(workspace, "models", "show", model, "--json"))
    scores = {row["benchmark"]: row for row in details["evaluations"]}
    assert {"pope", "sugarcrepe", "sugarcrepe-likelihood", "lmms-eval/pope/pope_accuracy"} <= set(
        scores
    )
    own = scores["pope"]
    assert (own["metric"], own["items"], own["source"]) == ("yes_no", 4, "")
    figures = {(figure["name"], figure["kind"]) for figure in own["figures"]}
    assert {("f1", ""), ("yes_rate", "random"), ("precision", "adversarial")} <= figures
    theirs = scores["lmms-eval/pope/pope_accuracy"]
    assert (theirs["value"], theirs["source"], theirs["version"]) == (
        0.75, "lmms-eval", "lmms-eval/pope@0.0",
    )  # fmt: skip
    with EmbeddedPlatform(workspace) as platform:
        client = platform.client
        outcomes = tmp_path / "outcomes.jsonl"
        outcomes.write_text(client.training.artifact(own["job"], "outcomes.jsonl"))
        groups = [o.group for o in read_outcomes(outcomes) if o.benchmark == "sugarcrepe"]
        assert len(groups) == 6
        kept = client.training.imported_outcomes(model, theirs["job"]).splitlines()
        assert [json.loads(line)["answer"] for line in kept] == ["yes", "no", "yes", "no"]
        card = client.training.model_card(model)
        assert "| lmms-eval/pope/pope\\_accuracy | lmms-eval/pope@0.0 | 0.750 (" in card
    table = told(workspace, "models", "show", model)
    assert "no interval" in table


def test_an_image_of_the_benchmark_in_training_data_is_found(tmp_path: Path) -> None:
    """With the dataset's name, and an exit status that a script can see."""
    workspace = tmp_path / "workspace"
    path = add_pope(workspace, tmp_path / "pope")
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "z.png").write_bytes(published.image(77, size=(100, 50)))
    (folder / "z.txt").write_text("nothing of the benchmark")
    with EmbeddedPlatform(workspace) as platform:
        submitted(platform.client, folder, name="clean")
    check = ("datasets", "audit", "--against", "pope")
    assert "pope@1" in told(workspace, *check)
    shutil.copy(path / "val2014" / "a.jpg", folder / "a.jpg")
    (folder / "a.txt").write_text("a leak")
    with EmbeddedPlatform(workspace) as platform:
        submitted(platform.client, folder, name="leaking")
    assert "1 image of pope in training data" in error(workspace, *check)
    assert "clean" in error(workspace, "datasets", "audit", "--against", "clean")


def test_lmms_eval_needs_a_platform_that_answers_over_http(tmp_path: Path) -> None:
    """And says how to start one."""
    said = error(tmp_path, "benchmarks", "lmms-eval", "--model", "m", "--tasks", "pope")
    assert "start `vila2 up" in said


def test_an_import_of_a_model_that_is_not_there_is_refused(
    place: tuple[Path, str], tmp_path: Path
) -> None:
    """Before anything is kept."""
    said = error(place[0], "benchmarks", "lmms-eval", "--keep", str(written(tmp_path)), "--model",
                 "round-1-abcdef01-1234")  # fmt: skip
    assert "no model 'round-1-abcdef01-1234'" in said
