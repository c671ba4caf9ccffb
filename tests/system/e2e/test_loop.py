"""The whole loop through the real services: from a submitted folder to a report.

It is run twice: once undisturbed, in processes that cannot read the truth of the images, and once
as `vila2 demo` that is killed again and again.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from services.platform.embedded import EmbeddedPlatform
from services.training.backends.folder import Started, read_started
from tests.support.runs.demo_run import SCALE, SIZES, small_recipe
from vila2.data.layers import decode_layer_shard
from vila2.data.shards import read_shard
from vila2.evaluation.report.model import RunReport
from vila2.scenes.datasets import true_captions, write_world
from vila2.schemas.rest.controller import Run
from vila2.system.processes import start_time

pytestmark = pytest.mark.slow

# Blocks the image world's truth in every process of the run, jobs included.
BLOCK = """
import sys
class _NoTruth:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[:2] == ["vila2", "scenes"]:
            raise ImportError("the run tried to read the truth")
sys.meta_path.insert(0, _NoTruth())
"""
RUN = """
import sys, time
from pathlib import Path
from services.platform.embedded import EmbeddedPlatform
from vila2.schemas.rest.controller import RunIn
from vila2.cli.platform import DEMO_DATASETS
from vila2.recipes.recipe import load_recipe
from vila2.client.submit import submit
workspace, recipe = map(Path, sys.argv[1:])
with EmbeddedPlatform(workspace) as platform:
    for name, (split, format) in DEMO_DATASETS.items():
        submit(platform.client, workspace / "world" / split, name=name, format=format)
    content = load_recipe(recipe).model_dump(mode="json")
    run = platform.client.controller.start_run(RunIn(recipe=content, name="blind"))
    while run.state == "running":
        time.sleep(0.5)
        run = platform.client.controller.run(run.id)
    sys.exit(run.error or 0)
"""


def demo(workspace: Path, recipe: Path) -> list[str]:
    return [
        sys.executable, "-m", "vila2.cli.main", "demo", "--workspace", str(workspace),
        "--recipe", str(recipe), "--scale", str(SCALE),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(small_recipe()))
    return path


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which no process can import the package that draws the images."""
    folder = tmp_path_factory.mktemp("block")
    (folder / "sitecustomize.py").write_text(BLOCK)
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, recipe_file: Path, blind: dict[str, str]
) -> Path:
    """A workspace in which a run went to its end that could not read the truth."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    write_world(workspace / "world", sizes=SIZES, seed=0)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(workspace), str(recipe_file)],
        env=blind, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Path:
    """A workspace in which the demo had kill -9 at four moments and then ended.

    Every second time its running jobs die as well, as in a power cut.
    """
    workspace = tmp_path_factory.mktemp("killed")
    for seconds, power_cut in ((4.0, False), (3.0, True), (14.0, False), (3.0, True)):
        child = subprocess.Popen(
            demo(workspace, recipe_file),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while power_cut and not running_jobs(workspace):
            assert time.monotonic() < end, "no job was begun"
            time.sleep(0.1)
        time.sleep(seconds)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pid in running_jobs(workspace) if power_cut else ():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    done = subprocess.run(
        demo(workspace, recipe_file), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace


def starts(workspace: Path) -> list[Started]:
    """The last start of every job."""
    folders = (workspace / "training" / "jobs").glob("*")
    return [held for folder in folders if (held := read_started(folder)) is not None]


def running_jobs(workspace: Path) -> list[int]:
    """The processes that lead the sessions of jobs."""
    handles = [held.handle.split(":") for held in starts(workspace)]
    return [int(pid) for pid, began in handles if start_time(int(pid)) == began]


def the_run(platform: EmbeddedPlatform) -> Run:
    return platform.client.controller.runs()[-1]


def digests(platform: EmbeddedPlatform) -> dict[str, str]:
    """Round -> sha256 of its model's weights."""
    return {
        held.name: platform.client.training.model(held.model).sha256
        for held in the_run(platform).rounds
    }


def test_a_run_finishes_with_every_round_judged(undisturbed: Path) -> None:
    with EmbeddedPlatform(undisturbed) as platform:
        run = the_run(platform)
    assert run.state == "finished"
    names = [held.name for held in run.rounds]
    assert names[:3] == ["base", "round 0", "round 1"]
    assert set(names[3:]) == {"specialists", "shuffled"}
    assert all(held.scores for held in run.rounds if held.kind != "base")
    assert all(held.verdict for held in run.rounds if held.kind not in ("base", "baseline"))


def test_every_sample_of_a_layer_is_accounted_for(undisturbed: Path) -> None:
    with EmbeddedPlatform(undisturbed) as platform:
        datasets = platform.client.datasets
        layers = datasets.layers()
        assert len(layers) == 2  # round 1's, and the specialist's
        for layer in layers:
            assert layer.state == "sealed"
            version = datasets.version(layer.dataset, layer.version)
            assert layer.captioned + sum(layer.quarantined.values()) == version.samples


def test_a_caption_leads_back_to_its_image_model_and_prompt(undisturbed: Path) -> None:
    with EmbeddedPlatform(undisturbed) as platform:
        client = platform.client
        layer = client.datasets.layers()[0]
        row = decode_layer_shard(client.datasets.layer_content(layer.id, 0))[0]
        sample = next(read_shard(client.datasets.shard_content(layer.dataset, layer.version, 0)))
        model = client.training.model(row.model)
    assert (row.key, row.sha256) == (sample.key, sample.sha256)
    assert row.prompt in small_recipe()["captioning"]["prompts"]
    assert model.data  # the datasets it was trained on


def test_rounds_have_equal_budgets_and_finite_losses(undisturbed: Path) -> None:
    with EmbeddedPlatform(undisturbed) as platform:
        report = platform.client.controller.report(the_run(platform).id)
    steps = {r["name"]: [(s["name"], s["steps"]) for s in r["stages"]] for r in report["rounds"]}
    loop = {str(value) for name, value in steps.items() if name != "specialists"}
    assert len(loop) == 1
    losses = [loss for r in report["rounds"] for s in r["stages"] for _, loss in s["losses"]]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)


def test_a_rounds_stored_facts_describe_its_captions(undisturbed: Path) -> None:
    """Captions of the layer, claims of the model's answers, warnings, and whether they stop."""
    with EmbeddedPlatform(undisturbed) as platform:
        held = {r.name: r for r in the_run(platform).rounds}["round 1"]
        layer = platform.client.datasets.layer(held.layer)
    facts = held.verdict
    assert facts is not None
    assert (facts["captions"] or {"captions": 0})["captions"] == layer.captioned
    assert 0 <= facts["claims"]["chair_s"] <= 1
    assert (facts["warnings"], facts["stop"], facts["seeds"]) == ([], False, [1, 1])


def test_the_report_tells_costs_lineage_and_how_the_control_compares(undisturbed: Path) -> None:
    """For every model that was trained; the JSON holds to its own model."""
    with EmbeddedPlatform(undisturbed) as platform:
        run = the_run(platform)
        report = RunReport.model_validate(platform.client.controller.report(run.id))
    trained = {r.name: r.model for r in run.rounds}
    assert {held.name: held.model for held in report.lineage} == trained
    assert report.costs is not None
    trainings = {line.round for line in report.costs.lines if line.work == "training"}
    assert trainings == set(trained)
    (control,) = report.controls
    assert control.best_above is not None
    assert control.best_above.round == "round 1"
    reads = {held.name: held.reads for held in report.lineage}["round 1"]
    assert [layer.name for read in reads for layer in read.layers]


@pytest.mark.full
def test_the_report_is_one_page_without_outside_requests(killed: Path) -> None:
    page = (killed / "report.html").read_text()
    assert "round 1" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_undisturbed_run_could_not_read_the_truth(blind: dict[str, str]) -> None:
    """The package that draws the images is unimportable in every process of it."""
    for program in ("import vila2.scenes", "import vila2.scenes.datasets"):
        done = subprocess.run(
            [sys.executable, "-c", program], env=blind, capture_output=True, text=True, check=False
        )
        assert "tried to read the truth" in done.stderr


def test_the_corpus_folder_holds_no_truth(undisturbed: Path) -> None:
    """Its texts are the noisy alt-texts; a clean caption is nowhere in it, nor in an image."""
    truth = true_captions(sizes=SIZES, seed=0)
    corpus = undisturbed / "world" / "corpus"
    written = b"".join(path.read_bytes() for path in corpus.iterdir())
    assert truth
    assert not any(caption.encode() in written for caption in truth.values())


@pytest.mark.full
def test_a_demo_that_is_killed_again_and_again_ends_the_same(
    killed: Path, undisturbed: Path
) -> None:
    """With the same weights, bit for bit, as the run that nobody disturbed."""
    assert any(held.attempt for held in starts(killed)), "no job died"
    with EmbeddedPlatform(undisturbed) as platform:
        expected = digests(platform)
    with EmbeddedPlatform(killed) as platform:
        assert digests(platform) == expected
        assert len(platform.client.datasets.layers()) == 2
