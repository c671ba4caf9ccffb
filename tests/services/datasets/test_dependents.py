"""What stops a deletion: everything that needs the data is named, with what to do about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.chassis.web.errors import Conflict
from services.datasets.governance.dependents import Target, dependents, trained_on
from vila2.recipes.recipe import load_recipe
from vila2.schemas.refs import DatasetRef

TARGET = Target("photos@2", [DatasetRef("photos", 2)], [("layer-1", "round 1")], bare="photos")


def platform(
    *, jobs: Any = (), runs: Any = (), recipe: Any = None, models: Any = (), base_layer: str = ""
) -> Any:
    """A platform whose services answer with these."""
    answer = SimpleNamespace
    return answer(
        caption=answer(
            jobs=lambda **_: iter(jobs), job_request=lambda _: answer(base_layer=base_layer)
        ),
        controller=answer(runs=lambda: runs, recipes=lambda _: [answer(recipe=recipe)]),
        training=answer(models=lambda: list(models)),
    )


def job(state: str = "running", version: int = 2) -> Any:
    return SimpleNamespace(id="captions-1", state=state, dataset="photos", version=version)


def recipe_of(dataset: str) -> dict[str, Any]:
    recipe = load_recipe("photos")
    return recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"pretrain": dataset})}
    ).model_dump()


def refusal(given: Any, *, with_layers: bool = True, models: tuple[str, ...] = ()) -> str:
    found = dependents(given, TARGET, with_layers=with_layers, models=models)
    with pytest.raises(Conflict) as refused:
        found.check(TARGET)
    return f"{refused.value.message}. {refused.value.fix}"


def test_a_caption_job_in_progress_is_named() -> None:
    assert "the caption jobs captions-1" in refusal(platform(jobs=[job()]))
    assert "vila2 captions cancel captions-1" in refusal(platform(jobs=[job("paused")]))


def test_a_job_that_keeps_captions_of_its_layer_is_named() -> None:
    given = platform(jobs=[job(version=3)], base_layer="layer-1")
    assert "the caption jobs captions-1" in refusal(given)


@pytest.mark.parametrize("other", [job("sealed"), job("cancelled"), job("failed"), job(version=1)])
def test_other_jobs_need_nothing(other: Any) -> None:
    given = platform(jobs=[other])
    dependents(given, TARGET, with_layers=True, models=()).check(TARGET)


@pytest.mark.parametrize("state", ["running", "paused", "failed"])
def test_a_run_that_can_continue_is_named(state: str) -> None:
    runs = [SimpleNamespace(id="run-1", state=state)]
    assert "the runs run-1" in refusal(platform(runs=runs, recipe=recipe_of("photos@2")))


@pytest.mark.parametrize(("state", "data"), [("finished", "photos@2"), ("running", "photos@1")])
def test_other_runs_need_nothing(state: str, data: str) -> None:
    given = platform(runs=[SimpleNamespace(id="run-1", state=state)], recipe=recipe_of(data))
    dependents(given, TARGET, with_layers=True, models=()).check(TARGET)


@pytest.mark.parametrize(("data", "trained"), [
    (["photos@2"], True), (["photos"], True), (["layer-1"], True), (["round 1"], True),
    (["photos@1", "layer-2"], False),
])  # fmt: skip
def test_a_model_is_found_by_anything_that_its_training_named(
    data: list[str], trained: bool
) -> None:
    models = [SimpleNamespace(name="tiny-1", data=data)]
    assert trained_on(platform(models=models), TARGET) == (["tiny-1"] if trained else [])


def test_everything_is_named_at_once() -> None:
    told = refusal(platform(jobs=[job()]), with_layers=False, models=("tiny-1",))
    for word in ("photos@2", "layer-1 (round 1)", "captions-1", "tiny-1", "--despite-models"):
        assert word in told


def test_of_many_only_the_first_are_named() -> None:
    assert "and 5 more" in refusal(platform(), models=tuple(f"tiny-{n}" for n in range(15)))
