"""Estimates through the real platform: a sample is captioned, then the layer, then a whole run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from services.controller.rounds import requests as jobs
from services.platform.embedded import EmbeddedPlatform
from tests.support.models.trained_captioner import train_captioner
from tests.support.runs.short_run import SIZES, small_recipe, small_world
from vila2.client import ApiError
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest.controller import Run, RunIn
from vila2.schemas.rest.estimates import Costs, Estimate, EstimateIn

# Between the tokens that a layer took and those that half of its images foretold.
FACTOR = 1.15
pytestmark = pytest.mark.slow  # a captioner is trained


def recipe() -> Recipe:
    """Answers of varied length."""
    sampling = {"temperature": 1.0, "max_new_tokens": 32}
    captioning = {**small_recipe().captioning.model_dump(), "sampling": sampling}
    return small_recipe(captioning=captioning)


def asked(**fields: object) -> EstimateIn:
    content = recipe().model_dump(mode="json")
    return EstimateIn.model_validate({"recipe": content, "sample": 48, **fields})


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    """The datasets of the small recipe, and a captioner that has learnt a little."""
    folder = tmp_path_factory.mktemp("estimates")
    with EmbeddedPlatform(folder / "workspace") as made:
        small_world(made, folder)
        made.apps["training"].state.context.registry.add(
            team="local", base_name="learnt", folder=train_captioner(folder / "learnt").folder,
            sha256="01" * 32, parent="", job="job-0001", parameters=1, data=[],
        )  # fmt: skip
        yield made


def captioner(platform: EmbeddedPlatform) -> str:
    return platform.client.training.models()[0].name


def test_captioning_takes_the_tokens_that_a_sample_foretold(platform: EmbeddedPlatform) -> None:
    name, client = captioner(platform), platform.client
    made = client.controller.estimate(asked(captioner=name, device="cpu"))
    job = client.caption.start_job(jobs.caption_job(recipe(), name="all", model=name), "all")
    while job.state == "running":
        time.sleep(0.05)
        job = client.caption.job(job.id)
    line = next(e for e in made.lines if e.work == "captioning" and e.round == "round 1")
    assert line.images.mid == SIZES.corpus == job.captioned + sum(job.quarantined.values())
    assert line.tokens is not None
    assert 1 / FACTOR < line.tokens.mid / job.tokens < FACTOR
    assert job.seconds > 0
    assert line.basis == "measured"


def test_no_run_is_started_and_no_layer_is_kept(platform: EmbeddedPlatform) -> None:
    layers = len(platform.client.datasets.layers())
    made = platform.client.controller.estimate(asked(captioner=captioner(platform), device="cpu"))
    assert platform.client.controller.runs() == []
    assert len(platform.client.datasets.layers()) == layers
    assert platform.client.controller.estimate_of(made.id) == made


def test_the_sample_is_of_several_shards_and_as_large_as_asked(platform: EmbeddedPlatform) -> None:
    made = platform.client.controller.estimate(asked(captioner=captioner(platform), device="cpu"))
    assert made.sampled is not None
    assert made.sampled.images == 48
    assert made.sampled.captioned + sum(made.sampled.quarantined.values()) == 48
    assert 0 < made.sampled.tokens.mid <= 32


def test_without_a_model_lengths_are_assumed_and_it_is_said(platform: EmbeddedPlatform) -> None:
    made = platform.client.controller.estimate(asked(device="cpu"))
    assert made.sampled is None
    assert {line.basis for line in made.lines} == {"assumed"}
    assert any("nothing was captioned" in note for note in made.notes)


def test_speeds_that_nobody_knows_are_not_guessed(platform: EmbeddedPlatform) -> None:
    with pytest.raises(ApiError, match="no job of the preset 'tiny' has run here") as refused:
        platform.client.controller.estimate(asked(captioner=captioner(platform)))
    assert refused.value.problem.field == "device"
    assert "`vila2 runs estimate RECIPE --device cpu`" in str(refused.value)
    assert "`vila2 runs start --recipe RECIPE` measures it" in str(refused.value)
    assert "h100" in (refused.value.problem.fix or "")


def test_a_dataset_that_is_missing_is_named(platform: EmbeddedPlatform) -> None:
    content = recipe().model_dump(mode="json")
    content["data"]["pretrain"] = "nowhere"
    with pytest.raises(ApiError, match="nowhere"):
        platform.client.controller.estimate(EstimateIn(recipe=content, device="cpu"))


def test_the_schema_and_the_shipped_recipes_are_served(platform: EmbeddedPlatform) -> None:
    shipped = {held.name: held for held in platform.client.controller.shipped_recipes()}
    assert {"tiny", "photos", "vila2-8b", "vila2-40b", "beyond"} == set(shipped)
    assert Recipe.model_validate(shipped["beyond"].content).digest() == (
        shipped["beyond"].recipe_hash
    )
    assert platform.client.controller.recipe_schema()["properties"]["rounds"]


@pytest.fixture(scope="module")
def after(platform: EmbeddedPlatform) -> tuple[Run, Estimate, Costs]:
    """An estimate, the run that it is of, and what that took."""
    client = platform.client
    expected = client.controller.estimate(
        asked(captioner=captioner(platform), device="cpu", price_per_hour=3.0)
    )
    run = client.controller.start_run(RunIn(recipe=recipe().model_dump(mode="json")))
    while run.state == "running":
        time.sleep(0.2)
        run = client.controller.run(run.id)
    assert run.state == "finished", run.error
    return run, expected, client.controller.costs(run.id)


@pytest.mark.full
def test_costs_stand_beside_what_was_expected(after: tuple[Run, Estimate, Costs]) -> None:
    _, expected, costs = after
    assert costs.estimate == expected.id
    assert [line for line in costs.lines if line.expected is None and line.round != "base"] == []
    taken = {(line.round, line.work, line.what) for line in costs.lines}
    assert taken == {(line.round, line.work, line.what) for line in expected.lines}


@pytest.mark.full
def test_costs_are_the_services_own_accounts(after: tuple[Run, Estimate, Costs]) -> None:
    """Visits are those planned, images those of two layers, hours those of the accounts."""
    _, expected, costs = after
    training = {
        (line.round, line.what): line.images for line in costs.lines if line.work == "training"
    }
    planned = {(e.round, e.what): e.images.mid for e in expected.lines if e.work == "training"}
    assert training == planned
    assert costs.images == 2 * SIZES.corpus
    jobs_hours = sum(line.hours for line in costs.lines if line.work != "captioning")
    # The accounts also count what a job waits for its process to begin.
    assert costs.process_hours == pytest.approx(jobs_hours, rel=0.1, abs=15 / 3600)
    assert costs.money == pytest.approx(3.0 * (costs.process_hours + costs.captioning_hours))


@pytest.mark.full
def test_after_a_run_of_the_preset_all_speeds_are_measured(
    platform: EmbeddedPlatform, after: tuple[Run, Estimate, Costs]
) -> None:
    made = platform.client.controller.estimate(asked())
    assert made.device is None
    assert made.sampled is not None
    assert {line.basis for line in made.lines if not line.what} == {"measured"}
    _, _, costs = after
    actual = sum(line.hours for line in costs.lines)
    assert made.total.hours.low / 2 < actual < made.total.hours.high * 2
