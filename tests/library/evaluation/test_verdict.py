"""Verdicts: simulated rounds with and without a true effect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vila2.evaluation.verdict import VerdictPolicy, judge, saturated

Benchmarks = dict[int, dict[str, dict[str, float]]]
POLICY = VerdictPolicy(resamples=400)


def _round(rng: np.random.Generator, *, mean: float, items: int = 120) -> Benchmarks:
    """Answers of a model that gets each item right with probability `mean`."""
    return {
        0: {
            benchmark: {f"q{i}": float(right) for i, right in enumerate(rng.random(items) < mean)}
            for benchmark in ("vqa", "captions")
        }
    }


def _share_judged(kind: str, *, before: float, after: float, trials: int) -> float:
    rng = np.random.default_rng(17)
    judged = 0
    for _ in range(trials):
        best, current = _round(rng, mean=before), _round(rng, mean=after)
        verdict = judge(previous=best, best=best, current=current, policy=POLICY)
        judged += verdict.kind == kind
    return judged / trials


def test_without_a_true_effect_few_rounds_are_judged_improved():
    """A two-sided 95 % interval is wholly above zero by luck about once in forty rounds."""
    assert _share_judged("improved", before=0.6, after=0.6, trials=400) <= 0.05


def test_a_large_effect_is_nearly_always_found():
    """Fifteen points over 240 items."""
    assert _share_judged("improved", before=0.6, after=0.75, trials=60) >= 0.9


def test_a_large_loss_is_nearly_always_found():
    """The same fifteen points downwards."""
    assert _share_judged("worse", before=0.75, after=0.6, trials=60) >= 0.9


def _uniform(score: float, items: int = 40) -> Benchmarks:
    return {0: {"vqa": {f"q{i}": score for i in range(items)}}}


def test_a_gain_below_the_minimum_effect_is_no_improvement():
    """A certain gain may still be too small to pay for another round."""
    policy = VerdictPolicy(minimum_effect=0.02)
    verdict = judge(
        previous=_uniform(0.5), best=_uniform(0.5), current=_uniform(0.51), policy=policy
    )
    assert verdict.kind == "no_measurable_change"
    assert "smaller than the 2.0 points" in verdict.evidence


def test_a_loss_below_the_minimum_effect_is_still_a_loss():
    """The minimum effect asks whether a gain is worth having; a loss never is."""
    policy = VerdictPolicy(minimum_effect=0.02)
    verdict = judge(
        previous=_uniform(0.5), best=_uniform(0.5), current=_uniform(0.49), policy=policy
    )
    assert verdict.kind == "worse"


def test_the_best_so_far_decides_and_the_previous_round_is_reported():
    """Recovering from a bad round is not an improvement."""
    verdict = judge(
        previous=_uniform(0.2), best=_uniform(0.6), current=_uniform(0.6), policy=POLICY
    )
    assert verdict.kind == "no_measurable_change"
    assert verdict.against_previous.mid == pytest.approx(0.4)
    assert verdict.against_best.mid == 0.0


def test_the_evidence_is_a_sentence_with_the_figures():
    """A reader needs no other file to see why."""
    verdict = judge(
        previous=_uniform(0.5), best=_uniform(0.5), current=_uniform(0.6), policy=POLICY
    )
    assert verdict.evidence == (
        "Improved: the macro score over 1 benchmark(s) changed by +10.0 points (95% interval +10.0"
        " to +10.0) against the best so far and by +10.0 points (95% interval +10.0 to +10.0)"
        " against the previous round; the interval lies above zero. One training each: the"
        " intervals cover the choice of images, not the luck of the seed."
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_copy_of_the_same_round_is_never_improved(seed: int, trainings: int):
    """Nor worse: nothing changed, whatever the scores."""
    rng = np.random.default_rng(seed)
    held = {s: _round(rng, mean=0.6, items=20)[0] for s in range(trainings)}
    verdict = judge(previous=held, best=held, current=held, policy=VerdictPolicy(resamples=100))
    assert verdict.kind == "no_measurable_change"
    assert verdict.against_best.mid == 0.0


def test_trainings_that_scatter_are_not_called_improved():
    """Three seeds of which one was lucky: their mean is higher, and proves nothing."""
    best = {seed: _uniform(0.5)[0] for seed in range(3)}
    current = {seed: _uniform(score)[0] for seed, score in enumerate((0.5, 0.5, 0.8))}
    verdict = judge(previous=best, best=best, current=current, policy=POLICY)
    assert verdict.kind == "no_measurable_change"
    assert verdict.seeds == (3, 3)
    assert "the luck of the seed" in verdict.evidence


def test_a_spread_of_seeds_that_the_recipe_states_is_counted():
    """Three points of gain are no improvement where two trainings differ by three."""
    policy = VerdictPolicy(resamples=400, seed_sd=0.03)
    verdict = judge(
        previous=_uniform(0.5), best=_uniform(0.5), current=_uniform(0.53), policy=policy
    )
    assert verdict.kind == "no_measurable_change"
    assert "as the recipe states it (3.0 points)" in verdict.evidence


def test_a_handful_of_items_proves_nothing():
    """Three items, all better, would have an interval wholly above zero."""
    verdict = judge(
        previous=_uniform(0.0, 3), best=_uniform(0.0, 3), current=_uniform(1.0, 3), policy=POLICY
    )
    assert verdict.kind == "no_measurable_change"
    assert "too few to tell" in verdict.evidence


def test_many_questions_about_few_images_prove_nothing_either():
    """It is images that are counted."""
    clusters = {"vqa": {f"q{i}": f"p{i % 3}" for i in range(40)}}
    verdict = judge(
        previous=_uniform(0.0),
        best=_uniform(0.0),
        current=_uniform(1.0),
        policy=POLICY,
        clusters=clusters,
    )
    assert verdict.kind == "no_measurable_change"


def test_rounds_scored_on_different_benchmarks_are_not_compared():
    """The error names the benchmark."""
    with pytest.raises(ValueError, match="benchmarks differ"):
        judge(
            previous=_uniform(0.5),
            best={0: {"other": {"q0": 1.0}}},
            current=_uniform(0.5),
            policy=POLICY,
        )


@pytest.mark.parametrize(
    ("kinds", "patience", "expected"),
    [
        ([], 1, False),
        (["improved"], 1, False),
        (["improved", "no_measurable_change"], 1, True),
        (["improved", "no_measurable_change"], 2, False),
        (["improved", "worse", "no_measurable_change"], 2, True),
        (["worse", "improved"], 1, False),
    ],
)
def test_a_loop_is_saturated_when_the_last_rounds_all_failed(kinds, patience, expected):
    """Patience counts rounds in a row, worse ones included."""
    assert saturated(kinds, patience) is expected


def test_a_policy_refuses_what_it_does_not_know():
    """A misspelt option in a recipe is an error, not a default."""
    with pytest.raises(ValidationError, match="minimal_effect"):
        VerdictPolicy.model_validate({"minimal_effect": 0.1})


def test_the_evidence_over_three_seeds_says_how_far_they_differ():
    """And that the intervals cover it; one training each says that they do not."""
    best = {seed: _uniform(level)[0] for seed, level in enumerate((0.50, 0.52, 0.54))}
    current = {seed: _uniform(level)[0] for seed, level in enumerate((0.60, 0.62, 0.64))}
    verdict = judge(previous=best, best=best, current=current, policy=POLICY)
    assert verdict.kind == "improved"
    assert (verdict.seeds, verdict.seed_sd) == ((3, 3), pytest.approx(0.02))
    assert "differ by 2.0 points between seeds" in verdict.evidence
    assert "the luck of the seed" in verdict.evidence


def test_the_evidence_over_one_seed_says_that_luck_is_not_covered():
    """Nothing is known of a spread then."""
    verdict = judge(
        previous=_uniform(0.5), best=_uniform(0.5), current=_uniform(0.6), policy=POLICY
    )
    assert (verdict.seeds, verdict.seed_sd) == ((1, 1), None)
    assert "not the luck of the seed" in verdict.evidence
