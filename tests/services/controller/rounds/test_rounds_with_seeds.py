"""Rounds that are trained with several seeds, through the real services."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.controller.estimates.measured import PastJobs
from tests.services.controller.runs.test_operations import bare
from tests.support.runs.instant_engine_and_backend import instant_training
from tests.support.runs.instant_jobs import LUCK
from tests.support.runs.stepped_platform import SteppedPlatform, recipe, start
from vila2.evaluation.report.findings import findings
from vila2.evaluation.report.model import RunReport
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest.controller import AmendIn, BranchIn, Round, Run
from vila2.schemas.rest.estimates import EstimateIn
from vila2.schemas.rest.training import ImportedScore, ImportIn, JobIn

ONE_ROUND = {"maximum": 1, "patience": 1}
SEEDS = [0, 1, 2]


def thrice(**changes: Any) -> Recipe:
    """One self-augmented round, a specialist's and a control, each trained three times."""
    return recipe(**{"rounds": {**ONE_ROUND, "seeds": 3}, **changes})


def named(run: Run, name: str) -> Round:
    return next(held for held in run.rounds if held.name == name)


@pytest.fixture(scope="module")
def finished(
    world: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SteppedPlatform, Run]]:
    """A run of three seeds at its end."""
    folder = tmp_path_factory.mktemp("seeds") / "workspace"
    shutil.copytree(world, folder)
    with SteppedPlatform(folder) as stepped:
        run = stepped.finish(start(stepped, thrice()))
        assert run.state == "finished", run.error
        yield stepped, run


def test_every_round_and_control_is_trained_and_evaluated_with_every_seed(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    """The base, which all of them share, is trained once."""
    stepped, run = finished
    for held in run.rounds:
        assert [one.seed for one in held.seeds] == ([] if held.kind == "base" else SEEDS)
        assert len({one.model for one in held.seeds}) == len(held.seeds)
        for one in held.seeds:
            details = stepped.client.training.model_details(one.model)
            assert details.config["seed"] == one.seed
            assert {scored.job for scored in details.evaluations} == {one.evaluation}


def test_the_first_seeds_model_captions_the_next_round_and_not_the_best(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    """Seed 1 is the luckiest here; a captioner that were chosen by its score would be it."""
    assert max(LUCK) == LUCK[1]
    stepped, run = finished
    before, after = named(run, "round 0"), named(run, "round 1")
    assert stepped.client.datasets.layer(after.layer).captioner == before.seeds[0].model
    assert before.model == before.seeds[0].model


def test_scores_are_means_over_the_seeds(finished: tuple[SteppedPlatform, Run]) -> None:
    stepped, run = finished
    held = named(run, "round 1")
    (benchmark, *_) = held.scores
    each = [
        scored.value
        for one in held.seeds
        for scored in stepped.client.training.model_details(one.model).evaluations
        if scored.benchmark == benchmark
    ]
    assert len(set(each)) > 1, "the seeds must differ for this to show anything"
    assert held.scores[benchmark]["score"] == pytest.approx(sum(each) / 3)
    assert held.scores[benchmark]["low"] <= min(each)


def test_a_verdict_says_over_how_many_trainings_it_is_and_how_they_differ(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    verdict = named(finished[1], "round 1").verdict
    assert verdict is not None
    assert verdict["seeds"] == [3, 3]
    assert verdict["seed_sd"] >= 0
    assert "3 training(s) of the best and 3 of this round" in verdict["evidence"]
    assert "the luck of the seed" in verdict["evidence"]


def test_the_report_shows_every_seed_and_their_spread(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    stepped, run = finished
    report = RunReport.model_validate(stepped.client.controller.report(run.id))
    first = next(r for r in report.rounds if r.name == "round 1")
    assert [one.seed for one in first.seeds] == SEEDS
    assert first.macro is not None
    assert first.macro.score == pytest.approx(sum(one.macro for one in first.seeds) / 3)
    assert report.seed_sd is not None
    assert any("differ in their seed only" in line for line in findings(report))
    page = stepped.client.controller.report_html(run.id)
    assert "Table of seeds" in page
    assert f"{100 * first.seeds[1].macro:.1f}" in page


def test_lineage_and_costs_are_of_all_seeds(finished: tuple[SteppedPlatform, Run]) -> None:
    stepped, run = finished
    report = RunReport.model_validate(stepped.client.controller.report(run.id))
    assert {f"round 1, seed {seed}" for seed in SEEDS} <= {held.name for held in report.lineage}
    held = named(run, "round 1")
    questions = [
        stepped.client.training.job(one.evaluation).result["questions"] for one in held.seeds
    ]
    line = next(
        one
        for one in stepped.client.controller.costs(run.id).lines
        if (one.round, one.work) == ("round 1", "evaluation")
    )
    assert line.images == sum(questions)
    assert line.state == "succeeded"


def test_the_report_tells_the_costs_that_the_run_is_asked_for(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    """One account, in two places."""
    stepped, run = finished
    report = RunReport.model_validate(stepped.client.controller.report(run.id))
    assert report.costs == stepped.client.controller.costs(run.id)


def test_trainings_with_several_seeds_are_history_for_the_next_estimate(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    """Each of them, as if it had been trained alone; the base and the specialist are beside."""
    stepped, run = finished
    known = PastJobs(stepped.client)
    models = {one.model for held in run.rounds for one in held.seeds}
    assert models <= set(known.presets)
    assert len(known.of_preset("tiny").evaluations) == len(models) == 4 * 3


def test_scores_that_another_program_found_do_not_stop_an_estimate(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    """An import is no job here, so it says nothing about how long a question takes."""
    stepped, run = finished
    before = PastJobs(stepped.client).of_preset("tiny").evaluations
    score = ImportedScore(benchmark="mme", version="1", metric="accuracy", value=0.5, items=2)
    stepped.client.training.import_scores(
        named(run, "round 1").model, ImportIn(source="lmms-eval", scores=[score])
    )
    content = thrice().model_dump(mode="json")
    made = stepped.client.controller.estimate(EstimateIn(recipe=content, sample=0, device="cpu"))
    assert made.lines
    assert PastJobs(stepped.client).of_preset("tiny").evaluations == before


def test_a_round_tells_how_many_of_its_seeds_have_ended(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare(rounds={**ONE_ROUND, "seeds": 3}))
    stepped.until(made, "round 0", "training")
    stepped.controller.reconciler.tick()  # asks for the trainings
    stepped.training.dispatcher.tick()  # there are two slots
    stepped.training.dispatcher.tick()
    progress = named(stepped.client.controller.run(made), "round 0").progress
    assert progress.phase == "2 of 3 seeds"
    assert 0.6 < progress.fraction < 0.7


def test_a_seed_that_fails_is_named_and_it_alone_is_tried_again(
    world: Path, tmp_path: Path
) -> None:
    """The other two are trained to their end first, and not again afterwards."""
    shutil.copytree(world, tmp_path / "w")
    broken = {"left": 1}

    def fails(spec: dict[str, Any]) -> bool:
        second = spec.get("seed") == 1 and len(spec.get("stages", [])) == 3
        broken["left"] -= second
        return second and broken["left"] >= 0

    with SteppedPlatform(tmp_path / "w", instant_training(fails)) as stepped:
        made = start(stepped, bare(rounds={**ONE_ROUND, "seeds": 3}))
        failed = stepped.finish(made)
        assert failed.state == "failed"
        said = named(failed, "round 0").error
        assert "1 of 3 seeds: seed 1, job" in said
        assert "made to fail" in said
        assert any(said in note for note in stepped.client.controller.report(made)["notes"])
        models = {model.name for model in stepped.client.training.models()}
        assert {name.split("-s")[1][0] for name in models if "round-0" in name} == {"0", "2"}
        stepped.client.controller.retry_run(made)
        held = stepped.finish(made)
        assert held.state == "finished", held.error
        (job, *_) = named(held, "round 0").jobs
        each = stepped.client.training.jobs(parent=job)
        attempts = {one.name.rpartition("-s")[2]: one.attempt for one in each}
        assert attempts == {"0": 1, "1": 1, "2": 1}
        assert [one.seed for one in named(held, "round 0").seeds] == SEEDS


def test_an_evaluation_that_fails_is_tried_again_alone(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "w")
    evaluated: list[str] = []

    def fails(spec: dict[str, Any]) -> bool:
        if "benchmarks" not in spec:
            return False
        evaluated.append(spec["output"])
        return len(evaluated) == 2

    with SteppedPlatform(tmp_path / "w", instant_training(fails)) as stepped:
        made = start(stepped, bare(rounds={**ONE_ROUND, "seeds": 3}))
        failed = stepped.finish(made)
        assert "evaluate ended without success with 1 of 3 seeds" in failed.error
        assert len(evaluated) == 3
        stepped.client.controller.retry_run(made)
        assert stepped.finish(made).state == "finished"
        # One again, and the three of round 1.
        assert len(evaluated) == 3 + 1 + 3


def test_cancelling_stops_every_seed(stepped: SteppedPlatform) -> None:
    made = start(stepped, bare(rounds={**ONE_ROUND, "seeds": 3}))
    stepped.until(made, "round 0", "evaluating")
    stepped.controller.reconciler.tick()  # asks for the evaluations, and nobody has begun
    stepped.client.controller.cancel_run(made)
    states = {job.state for job in stepped.client.training.jobs(kind="evaluate")}
    assert states == {"cancelled"}


def test_rounds_that_begin_after_an_amendment_have_its_seeds(stepped: SteppedPlatform) -> None:
    """A verdict may hold three trainings against one: the spread is that of the three."""
    once = bare(rounds={"maximum": 2, "patience": 2})
    made = start(stepped, once)
    stepped.until(made, "round 1", "training")
    more = once.model_copy(update={"rounds": once.rounds.model_copy(update={"seeds": 3})})
    stepped.client.controller.amend(made, AmendIn(recipe=more.model_dump(mode="json"), based_on=1))
    run = stepped.finish(made)
    counts = {held.name: (held.verdict or {}).get("seeds") for held in run.rounds}
    assert (counts["round 1"], counts["round 2"]) == ([1, 1], [1, 3])


def test_a_branch_shares_all_seeds_of_the_rounds_before_it(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    stepped, run = finished
    branch = stepped.client.controller.branch(run.id, BranchIn(round="round 1", name="b"))
    shared = {held.name: held.seeds for held in branch.rounds}
    assert shared["round 1"] == named(run, "round 1").seeds
    assert stepped.client.controller.compare(run.id, branch.id).rounds[0].same_model


def test_runs_of_several_seeds_are_compared_over_all_of_them(
    finished: tuple[SteppedPlatform, Run],
) -> None:
    """Against a run of one seed, too."""
    stepped, run = finished
    once = stepped.finish(start(stepped, bare(rounds=ONE_ROUND), name="once"))
    found = stepped.client.controller.compare(once.id, run.id)
    base = next(held for held in found.rounds if held.round == "round 0")
    assert base.difference is not None
    assert base.ours is not None
    assert base.theirs is not None
    assert base.difference == pytest.approx(base.theirs - base.ours)


def test_with_one_seed_jobs_rows_and_names_are_what_they_always_were(
    stepped: SteppedPlatform,
) -> None:
    """No seed in a name or a key, no job of seeds, nothing in the lists of them."""
    asked: list[JobIn] = []
    keys: list[str] = []
    submit = stepped.training.jobs.submit

    def watched(team: str, body: JobIn, token: str) -> Any:
        asked.append(body)
        keys.append(token)
        return submit(team, body, token)

    stepped.training.jobs.submit = watched  # type: ignore[method-assign]
    run = stepped.finish(start(stepped, bare(rounds={**ONE_ROUND, "seeds": 1})))
    assert all(body.seeds == [] for body in asked)
    assert sorted(key.split(":", 1)[1] for key in keys) == [
        "base:train", "round_0:evaluate", "round_0:train", "round_1:evaluate", "round_1:train",
    ]  # fmt: skip
    assert {body.name for body in asked} == {
        "base", "a-run-round-0", "a-run-round-0-evaluation", "a-run-round-1",
        "a-run-round-1-evaluation",
    }  # fmt: skip
    assert all(held.seeds == [] for held in run.rounds)
    rows = stepped.controller.runs.rounds(run.id)
    assert all(row.seed_models == {} and row.seed_evaluations == {} for row in rows)
    verdict = named(run, "round 1").verdict
    assert verdict is not None
    assert (verdict["seeds"], verdict["seed_sd"]) == ([1, 1], None)
