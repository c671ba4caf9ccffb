"""What a person does with a run, through the real services with an instant trainer and engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs.instant_engine_and_backend import instant_training
from tests.support.runs.stepped_platform import SteppedPlatform, recipe, start
from vila2.client import ApiError
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest.controller import AmendIn, BranchIn, OverruleIn, Run


def bare(**changes: Any) -> Recipe:
    """Rounds alone: no specialists, no controls, and no gain that counts unless told so."""
    rounds = {"maximum": 3, "patience": 1, "minimum_effect": 0.9}
    return recipe(**{"specialists": [], "controls": [], "rounds": rounds, **changes})


def states(run: Run) -> dict[str, str]:
    return {held.name: held.state for held in run.rounds}


def kinds(stepped: SteppedPlatform, run: str) -> list[str]:
    return [event.kind for event in stepped.client.controller.events(run)]


def test_a_run_goes_to_its_end_by_itself(stepped: SteppedPlatform) -> None:
    """The loop ends, the specialist follows, and the control is there."""
    run = stepped.finish(start(stepped, recipe(rounds={"maximum": 1, "patience": 1})))
    assert run.state == "finished", run.error
    assert set(states(run)) == {"base", "round 0", "round 1", "shuffled", "specialists"}
    assert set(states(run).values()) == {"done"}


def test_a_paused_run_begins_nothing_and_goes_on_when_told(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare())
    stepped.until(made, "round 0", "training")
    stepped.client.controller.pause_run(made)
    for _ in range(5):
        stepped.turn()
    held = stepped.client.controller.run(made)
    assert (held.state, states(held)["round 0"]) == ("paused", "training")
    stepped.client.controller.resume_run(made)
    assert stepped.finish(made).state == "finished"
    assert (
        kinds(stepped, made).count("run.paused") == kinds(stepped, made).count("run.resumed") == 1
    )


def test_pausing_holds_the_shards_that_wait(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare())
    stepped.until(made, "round 1", "captioning")
    stepped.controller.reconciler.tick()  # asks for the captions, and nobody has begun
    stepped.client.controller.pause_run(made)
    assert stepped.caption.units.claimable() == []
    stepped.client.controller.resume_run(made)
    assert len(stepped.caption.units.claimable()) > 0
    assert stepped.finish(made).state == "finished"


def test_a_failed_training_is_tried_again_from_where_it_failed(world: Path, tmp_path: Path) -> None:
    """Not the round's captions: their layer is sealed and stays."""
    shutil.copytree(world, tmp_path / "w")
    broken = {"left": 1}

    def fails(spec: dict[str, Any]) -> bool:
        recaptioned = any(s["layers"] for stage in spec.get("stages", []) for s in stage["sources"])
        broken["left"] -= recaptioned
        return recaptioned and broken["left"] >= 0

    with SteppedPlatform(tmp_path / "w", instant_training(fails)) as stepped:
        made = start(stepped, bare())
        failed = stepped.finish(made)
        assert failed.state == "failed"
        assert "round 1" in failed.error
        assert "made to fail" in failed.error
        stepped.client.controller.retry_run(made)
        held = stepped.finish(made)
        assert held.state == "finished"
        assert held.error == ""
        (retried,) = [
            e for e in stepped.client.controller.events(made) if e.kind == "round.retried"
        ]
        assert retried.by.startswith("key ")
        assert retried.message == "tried again from training"
        assert len(stepped.client.datasets.layers()) == 1


def test_nothing_is_tried_again_where_nothing_failed(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare())
    stepped.finish(made)
    with pytest.raises(ApiError, match="0 of its rounds have failed"):
        stepped.client.controller.retry_run(made)


def test_an_overruled_verdict_opens_the_loop_again(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare())
    assert set(states(stepped.finish(made))) == {"base", "round 0", "round 1"}
    body = OverruleIn(kind="improved", reason="read by three people")
    stepped.client.controller.overrule(made, "round 1", body)
    held = stepped.finish(made)
    assert set(states(held)) == {"base", "round 0", "round 1", "round 2"}
    verdict = next(r for r in held.rounds if r.name == "round 1").verdict
    assert verdict is not None
    assert verdict["kind"] == "improved"
    assert verdict["overruled"]["was"] == "no_measurable_change"
    assert verdict["overruled"]["reason"] == "read by three people"


def test_a_verdict_that_others_stand_on_cannot_be_overruled(stepped: SteppedPlatform) -> None:
    made = start(stepped, recipe(controls=[], rounds={"maximum": 1, "patience": 1}))
    stepped.finish(made)
    with pytest.raises(ApiError, match=r"specialists began by the verdict.*[Bb]ranch the run"):
        stepped.client.controller.overrule(made, "round 1", OverruleIn(kind="worse", reason="no"))


def test_a_changed_recipe_holds_from_the_next_round_on(stepped: SteppedPlatform) -> None:
    changed = bare(rounds={"maximum": 2, "patience": 2})
    made = start(stepped, changed)
    stepped.until(made, "round 1", "training")
    captioning = changed.captioning.model_copy(update={"prompts": ["Tell all."]})
    other = changed.model_copy(update={"captioning": captioning})
    body = AmendIn(recipe=other.model_dump(mode="json"), based_on=1, reason="one prompt will do")
    stepped.client.controller.amend(made, body)
    held = stepped.finish(made)
    numbers = {r.name: r.recipe_number for r in held.rounds}
    assert (numbers["round 1"], numbers["round 2"], held.recipe_number) == (1, 2, 2)
    layers = {layer.name: layer for layer in stepped.client.datasets.layers()}
    prompts = {
        name: {row.prompt for row in _rows(stepped, layer.id)} for name, layer in layers.items()
    }
    assert prompts["a-run round 2"] == {"Tell all."}
    assert "Tell all." not in prompts["a-run round 1"]
    assert [r.reason for r in stepped.client.controller.recipes(made)] == ["", "one prompt will do"]


def test_a_recipe_that_changed_meanwhile_is_not_overwritten(stepped: SteppedPlatform) -> None:
    """Two people change it at once: the second is told to read what the first made of it."""
    made = start(stepped, bare())
    first = AmendIn(recipe=bare(rounds={"maximum": 2}).model_dump(mode="json"), based_on=1)
    second = AmendIn(recipe=bare(rounds={"maximum": 4}).model_dump(mode="json"), based_on=1)
    stepped.client.controller.amend(made, first)
    with pytest.raises(ApiError, match="recipe 2 is in force, not 1") as refused:
        stepped.client.controller.amend(made, second)
    assert (refused.value.problem.status, refused.value.problem.field) == (409, "based_on")
    assert len(stepped.client.controller.recipes(made)) == 2


def test_what_all_rounds_share_cannot_be_changed(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare())
    body = AmendIn(recipe=bare(seed=7).model_dump(mode="json"), based_on=1)
    with pytest.raises(ApiError, match="all rounds of a run share seed") as refused:
        stepped.client.controller.amend(made, body)
    assert refused.value.problem.field == "recipe.seed"


def test_a_branch_shares_the_rounds_before_it_and_goes_its_own_way(
    stepped: SteppedPlatform,
) -> None:
    made = start(stepped, bare())
    first = stepped.finish(made)
    further = bare(rounds={"maximum": 2, "patience": 2})
    body = BranchIn(round="round 1", recipe=further.model_dump(mode="json"), name="further")
    branch = stepped.client.controller.branch(made, body)
    assert branch.origin is not None
    assert (branch.origin.run, branch.origin.round) == (made, "round 1")
    second = stepped.finish(branch.id)
    assert set(states(second)) == {"base", "round 0", "round 1", "round 2"}
    models = [{r.name: r.model for r in run.rounds} for run in (first, second)]
    assert models[1].items() >= models[0].items()
    compared = stepped.client.controller.compare(made, branch.id)
    assert compared.recipe["rounds.maximum"] == [3, 2]
    assert {r.round: r.same_model for r in compared.rounds} == {
        "round 0": True, "round 1": True, "round 2": False,
    }  # fmt: skip


def test_runs_that_share_nothing_are_compared_item_by_item(stepped: SteppedPlatform) -> None:
    runs = [
        stepped.finish(start(stepped, bare(captioning=_prompted(prompt)), name=prompt)).id
        for prompt in ("Describe it.", "Tell all.")
    ]
    compared = stepped.client.controller.compare(*runs)
    last = compared.rounds[-1]
    assert last.round == "round 1"
    assert last.difference is not None
    assert last.low is not None
    assert last.high is not None
    assert last.low <= last.difference <= last.high
    assert compared.recipe == {"captioning.prompts": [["Describe it."], ["Tell all."]]}


def test_several_runs_of_several_names_all_end(stepped: SteppedPlatform) -> None:
    made = [start(stepped, bare(), name=f"run-{n}") for n in range(3)]
    for run in made:
        assert stepped.finish(run).state == "finished"
    assert len({m.name for m in stepped.client.training.models()}) == 3 * 3


def _prompted(prompt: str) -> dict[str, Any]:
    content = bare().captioning.model_dump(mode="json")
    return {**content, "prompts": [prompt]}


def _rows(stepped: SteppedPlatform, layer: str) -> list[Any]:
    from vila2.data.layers import decode_layer_shard

    return decode_layer_shard(stepped.client.datasets.layer_content(layer, 0))
