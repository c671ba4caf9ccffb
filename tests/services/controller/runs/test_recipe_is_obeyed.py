"""What a recipe says reaches the jobs of a run, and what they took reaches its costs."""

from __future__ import annotations

from services.controller.runs.amendments import at_the_versions_of
from services.controller.runs.pins import renamed
from tests.support.runs.stepped_platform import SIZES, SteppedPlatform, recipe, start
from vila2.recipes.recipe import Recipe, load_recipe
from vila2.schemas.rest.controller import Run
from vila2.schemas.rest.training import LayerUse, TrainIn


def layers_read(stepped: SteppedPlatform, run: Run, name: str) -> list[LayerUse]:
    """Layers of a round's pretraining."""
    held = next(held for held in run.rounds if held.name == name)
    config = TrainIn.model_validate(stepped.client.training.model_details(held.model).config)
    return config.stages[1].sources[0].layers


def improving(stepped: SteppedPlatform, **captioning: object) -> Run:
    """Two rounds, of which each improves."""
    tiny = load_recipe("tiny")
    made = recipe(
        captioning={**tiny.captioning.model_dump(), **captioning},
        rounds={"maximum": 2, "patience": 2},
        specialists=[],
    )
    run = stepped.finish(start(stepped, made))
    assert run.state == "finished", run.error
    return run


def test_accumulated_rounds_train_on_the_layers_of_all_rounds_so_far(
    stepped: SteppedPlatform,
) -> None:
    run = improving(stepped, accumulate=True)
    own = {held.name: held.layer for held in run.rounds if held.kind == "self"}
    read = layers_read(stepped, run, "round 2")
    assert [use.layer for use in read] == [own["round 2"], own["round 1"]]
    assert [use.layer for use in layers_read(stepped, run, "round 1")] == [own["round 1"]]


def test_otherwise_a_round_trains_on_its_own_layer_alone(stepped: SteppedPlatform) -> None:
    run = improving(stepped)
    assert len(layers_read(stepped, run, "round 2")) == 1


def test_every_dataset_of_a_recipe_is_pinned_and_stays_pinned_when_it_is_amended() -> None:
    names = load_recipe("vila2-8b").datasets()
    assert {"llava-align-595k", "mmc4-core", "sharegpt4v-pt"} <= set(names)
    pinned = renamed(load_recipe("vila2-8b"), {name: f"{name}@3" for name in names})
    assert pinned.datasets() == [f"{name}@3" for name in names]
    assert at_the_versions_of(pinned, load_recipe("vila2-8b")) == pinned


def test_a_dataset_that_a_recipe_does_not_name_stays_unnamed() -> None:
    tiny = load_recipe("tiny")
    made = renamed(tiny, {name: f"{name}@1" for name in tiny.datasets()})
    assert (made.data.align, made.data.pretrain_also) == ("", [])
    assert Recipe.model_validate(made.model_dump()) == made


def test_costs_count_the_images_and_tokens_of_every_layer(stepped: SteppedPlatform) -> None:
    """The instant engine writes twelve tokens of each image."""
    run = stepped.finish(start(stepped, recipe(rounds={"maximum": 1, "patience": 1})))
    costs = stepped.client.controller.costs(run.id)
    captions = [line for line in costs.lines if line.work == "captioning"]
    assert [(line.round, line.what) for line in captions] == [
        ("round 1", ""),
        ("specialists", "ocr"),
    ]
    assert costs.images == 2 * SIZES.corpus
    assert captions[0].tokens == 12 * SIZES.corpus
    assert costs.estimate == ""
    assert {line.round for line in costs.lines} == {held.name for held in run.rounds}
