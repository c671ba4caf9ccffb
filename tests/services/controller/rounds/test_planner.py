"""The planner decides what comes next; nothing else does."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.controller.rounds.planner import (
    AddRound,
    FailRun,
    FinishRun,
    RoundFacts,
    best_round,
    plan,
    rival,
)
from services.controller.rounds.state import ENDED, STEPS, is_legal, next_state
from vila2.recipes.recipe import Recipe, load_recipe


def recipe(**rounds: int) -> Recipe:
    """The shipped tiny recipe with other limits."""
    tiny = load_recipe("tiny")
    return tiny.model_copy(update={"rounds": tiny.rounds.model_copy(update=rounds)})


def done(name: str, kind: str, position: int, verdict: str | None = None) -> RoundFacts:
    return RoundFacts(name, kind, position, "done", has_layer=True, verdict=verdict)  # type: ignore[arg-type]


BASE = done("base", "base", 0)
BASELINE = done("round 0", "baseline", 1)


def added(actions: list[object]) -> list[str]:
    return [action.name for action in actions if isinstance(action, AddRound)]


def test_a_run_begins_with_its_base() -> None:
    assert added(plan(recipe(), [])) == ["base"]


def test_nothing_is_done_while_a_round_is_at_work() -> None:
    assert plan(recipe(), [replace(BASE, state="training")]) == []


def test_the_baseline_follows_the_base() -> None:
    assert added(plan(recipe(), [BASE])) == ["round 0"]


def test_round_one_follows_the_baseline() -> None:
    assert added(plan(recipe(), [BASE, BASELINE])) == ["round 1"]


def test_an_improved_round_is_followed_by_another() -> None:
    facts = [BASE, BASELINE, done("round 1", "self", 2, "improved")]
    assert "round 2" in added(plan(recipe(maximum=3), facts))


def test_saturation_brings_the_specialists() -> None:
    facts = [BASE, BASELINE, done("round 1", "self", 2, "no_measurable_change")]
    assert "specialists" in added(plan(recipe(maximum=3, patience=1), facts))


def test_patience_allows_a_round_without_improvement() -> None:
    facts = [BASE, BASELINE, done("round 1", "self", 2, "no_measurable_change")]
    assert "round 2" in added(plan(recipe(maximum=3, patience=2), facts))


def test_the_limit_ends_the_loop_even_while_it_improves() -> None:
    facts = [BASE, BASELINE, done("round 1", "self", 2, "improved")]
    assert "round 2" not in added(plan(recipe(maximum=1), facts))


def test_the_papers_three_rounds_are_replayed() -> None:
    """Rounds 1 to 3 help and round 4 does not (paper, table 3): then come the specialists."""
    verdicts = ["improved", "improved", "improved", "no_measurable_change"]
    facts = [BASE, BASELINE]
    for index, verdict in enumerate(verdicts, 1):
        assert f"round {index}" in added(plan(recipe(maximum=9), facts))
        facts.append(done(f"round {index}", "self", index + 1, verdict))
    assert "specialists" in added(plan(recipe(maximum=9), facts))
    assert best_round(facts).name == "round 3"


def test_a_failed_round_of_the_loop_fails_the_run() -> None:
    broken = replace(BASELINE, state="failed", error="no space left")
    assert plan(recipe(), [BASE, broken]) == [FailRun("round 0: no space left")]


def test_a_failed_control_does_not_fail_the_run() -> None:
    control = RoundFacts("shuffled", "control", 3, "failed", error="diverged")
    facts = [BASE, BASELINE, done("round 1", "self", 2, "improved"), control]
    assert not any(isinstance(action, FailRun) for action in plan(recipe(), facts))


def test_the_best_is_the_last_improved_round_not_the_luckiest() -> None:
    facts = [
        BASE,
        BASELINE,
        done("round 1", "self", 2, "improved"),
        done("round 2", "self", 3, "no_measurable_change"),
    ]
    assert best_round(facts).name == "round 1"
    assert rival(facts, facts[-1]).name == "round 1"


def test_without_any_improvement_specialists_start_from_round_one() -> None:
    facts = [BASE, BASELINE, done("round 1", "self", 2, "worse")]
    assert best_round(facts).name == "round 1"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), maximum=st.integers(1, 4), patience=st.integers(1, 2))
def test_any_order_of_progress_leads_to_one_legal_end(
    seed: int, maximum: int, patience: int
) -> None:
    """Rounds move at random, in any order: the run ends, and every round was planned once."""
    rng = random.Random(seed)
    held: dict[str, RoundFacts] = {}
    now = recipe(maximum=maximum, patience=patience)
    for _ in range(500):
        actions = plan(now, list(held.values()))
        # A crash between plan and action repeats the plan: it must say the same again.
        assert actions == plan(now, list(held.values()))
        if any(isinstance(action, FinishRun) for action in actions):
            break
        for action in actions:
            assert isinstance(action, AddRound)
            assert action.name not in held
            held[action.name] = RoundFacts(action.name, action.kind, action.position, "pending")
        moving = [facts for facts in held.values() if facts.state not in ENDED]
        facts = rng.choice(moving)
        after = next_state(facts.kind, facts.state)
        verdict = rng.choice(["improved", "no_measurable_change", "worse"])
        judged = after == "done" and facts.kind not in ("base", "baseline")
        held[facts.name] = replace(
            facts,
            state=after,
            has_layer=facts.has_layer or facts.state == "captioning",
            verdict=verdict if judged else None,  # type: ignore[arg-type]
        )
    else:
        pytest.fail("the run never ended")
    assert all(facts.state == "done" for facts in held.values())
    assert {"specialists", *(control.name for control in now.controls)} <= set(held)


@pytest.mark.parametrize("kind", STEPS)
def test_a_round_that_ended_never_moves_again(kind: str) -> None:
    for end in ENDED:
        for after in ("pending", "training", "done", "failed"):
            assert not is_legal(kind, end, after)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", STEPS)
def test_steps_cannot_be_skipped(kind: str) -> None:
    assert not is_legal(kind, "pending", "done")  # type: ignore[arg-type]
