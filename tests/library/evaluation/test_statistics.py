"""Bootstrap intervals: what they cover, what they refuse, how fast they are."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila2.evaluation.statistics.bootstrap import (
    difference_over_seeds,
    macro_difference,
    macro_interval,
    macro_over_seeds,
    mean_interval,
    paired_difference,
    paired_difference_over_seeds,
    seed_spread,
)


def _random_scores(seed: int, items: int, mean: float = 0.5) -> dict[str, float]:
    drawn = np.random.default_rng(seed).random(items) < mean
    return {f"q{index}": float(score) for index, score in enumerate(drawn)}


def test_an_interval_brackets_the_mean_and_matches_the_normal_approximation():
    """For many items the bootstrap agrees with mean ± 1.96 standard errors."""
    scores = list(_random_scores(1, 1000).values())
    interval = mean_interval(scores)
    error = 1.96 * np.std(scores) / np.sqrt(len(scores))
    assert interval.mid == pytest.approx(np.mean(scores))
    assert interval.low == pytest.approx(interval.mid - error, abs=0.005)
    assert interval.high == pytest.approx(interval.mid + error, abs=0.005)


def test_the_same_seed_gives_the_same_interval():
    """An interval that is computed again is the same interval."""
    scores = np.random.default_rng(2).random(50).tolist()
    assert mean_interval(scores, seed=3) == mean_interval(scores, seed=3)
    assert mean_interval(scores, seed=3) != mean_interval(scores, seed=4)


def test_higher_confidence_widens_the_interval():
    """A surer statement is a vaguer one."""
    scores = list(_random_scores(5, 200).values())
    wide, narrow = mean_interval(scores, confidence=0.99), mean_interval(scores, confidence=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_pairing_removes_the_difficulty_of_items():
    """A small gain on every item is certain, although the scores themselves vary widely."""
    before = {item: 0.8 * score for item, score in _random_scores(7, 100).items()}
    after = {item: score + 0.01 for item, score in before.items()}
    interval = paired_difference(before, after)
    assert interval.low == pytest.approx(0.01)
    assert interval.high == pytest.approx(0.01)


def test_the_difference_is_after_minus_before_whatever_the_order_of_items():
    """The sign is the reader's, and items are paired by name."""
    before = {"a": 0.0, "b": 1.0}
    after = {"b": 1.0, "a": 1.0}
    assert paired_difference(before, after).mid == 0.5


def test_models_scored_on_different_items_are_not_compared():
    """The message says which items are missing on which side."""
    with pytest.raises(ValueError, match=r"1 only before \['b'\], 1 only after \['c'\]"):
        paired_difference({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})


def test_questions_that_share_an_image_widen_the_interval():
    """Ten copies of each question are no more evidence than one."""
    one = _random_scores(11, 60)
    before = {f"{item}/{copy}": 0.0 for item in one for copy in range(10)}
    after = {name: one[name.split("/")[0]] for name in before}
    images = {name: name.split("/")[0] for name in before}
    single = paired_difference(dict.fromkeys(one, 0.0), one)
    clustered = paired_difference(before, after, clusters=images)
    naive = paired_difference(before, after)
    assert clustered.high - clustered.low == pytest.approx(single.high - single.low, rel=0.15)
    assert naive.high - naive.low < 0.5 * (single.high - single.low)


def test_every_benchmark_counts_alike_in_the_macro_difference():
    """A benchmark with many items does not drown one with few."""
    before = {"few": {"a": 0.0}, "many": {f"q{i}": 0.0 for i in range(9)}}
    after = {"few": {"a": 1.0}, "many": {f"q{i}": 0.0 for i in range(9)}}
    assert macro_difference(before, after).mid == 0.5


def test_an_image_shared_by_benchmarks_is_drawn_for_all_of_them():
    """Two benchmarks about the same images, with equal answers, are one benchmark's evidence."""
    after = _random_scores(13, 80)
    before = dict.fromkeys(after, 0.0)
    images = {item: item for item in after}
    together = macro_difference(
        {"x": before, "y": before},
        {"x": after, "y": after},
        clusters={"x": images, "y": images},
    )
    alone = paired_difference(before, after)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_benchmarks_with_images_of_their_own_are_resampled_apart():
    """Equal item names in two benchmarks are different items when nothing says otherwise."""
    after = _random_scores(13, 80)
    before = dict.fromkeys(after, 0.0)
    alone = paired_difference(before, after)
    apart = macro_difference({"x": before, "y": before}, {"x": after, "y": after})
    assert apart.high - apart.low == pytest.approx((alone.high - alone.low) / 2**0.5, rel=0.15)


def test_seeds_that_disagree_widen_the_interval():
    """One seed up and one down is no evidence: two seeds give Student's t one degree of freedom."""
    before = {f"q{i}": 0.5 for i in range(2000)}
    up, down = (dict.fromkeys(before, 0.5 + step) for step in (0.2, -0.1))
    interval = paired_difference_over_seeds([(before, up), (before, down)])
    assert interval.mid == pytest.approx(0.05)
    assert interval.low < -1.5
    assert interval.high > 1.5


def test_repeating_a_seed_does_not_narrow_the_interval():
    """The items are the same for every seed, so their noise does not average away."""
    before, after = _random_scores(1, 300), _random_scores(2, 300)
    alone = paired_difference(before, after)
    repeated = paired_difference_over_seeds([(before, after)] * 5)
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_one_seed_is_not_taken_for_several():
    """The error names the function that fits."""
    with pytest.raises(ValueError, match="use paired_difference for one"):
        paired_difference_over_seeds([({"a": 0.0}, {"a": 1.0})])


def _seeds(*levels: float, items: int = 400) -> dict[int, dict[str, dict[str, float]]]:
    """Trainings that get so many of the items right, each with answers of its own."""
    return {
        seed: {"vqa": _random_scores(1000 * seed + int(100 * level), items, mean=level)}
        for seed, level in enumerate(levels)
    }


def test_more_seeds_narrow_the_interval():
    """Two seeds can tell little, five much more, at the same spread."""
    two = difference_over_seeds(_seeds(0.5, 0.54), _seeds(0.6, 0.64))
    five = difference_over_seeds(
        _seeds(0.5, 0.54, 0.5, 0.54, 0.52), _seeds(0.6, 0.64, 0.6, 0.64, 0.62)
    )
    assert five.high - five.low < 0.7 * (two.high - two.low)


def test_a_round_with_one_seed_borrows_the_spread_of_the_other():
    """Equal trainings, equal luck: one seed may be compared with three."""
    spread = {
        seed: {"vqa": dict.fromkeys(map(str, range(200)), score)}
        for seed, score in enumerate((0.4, 0.5, 0.6))
    }
    one = {0: {"vqa": dict.fromkeys(map(str, range(200)), 0.6)}}
    interval = difference_over_seeds(spread, one)
    assert interval.mid == pytest.approx(0.1)
    assert interval.low < -0.3  # t of two degrees, 0.1 * sqrt(1/3 + 1)


def test_a_known_spread_of_seeds_widens_a_comparison_of_single_trainings():
    """Points of the macro score between seeds, by 1.96 and the root of two of them."""
    before = {0: {"vqa": dict.fromkeys("abcdefghijklm", 0.5)}}
    after = {0: {"vqa": dict.fromkeys("abcdefghijklm", 0.53)}}
    interval = difference_over_seeds(before, after, seed_sd=0.01)
    assert interval.high - interval.mid == pytest.approx(1.96 * 0.01 * 2**0.5, rel=0.35)


def test_a_round_of_one_seed_has_the_interval_of_its_one_model():
    """Bit for bit."""
    scores = _seeds(0.6)
    assert macro_over_seeds(scores) == macro_interval(scores[0])


def test_seeds_that_disagree_widen_the_interval_of_a_rounds_score():
    """It lies around the mean over them."""
    scores = _seeds(0.5, 0.6, 0.7)
    alike, apart = macro_over_seeds(_seeds(0.6, 0.6, 0.6)), macro_over_seeds(scores)
    assert apart.mid == pytest.approx(sum(macro_interval(s).mid for s in scores.values()) / 3)
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_the_spread_of_seeds_leaves_out_what_chance_answers_make():
    """Models of one quality differ by the luck of items alone; models of several do not."""
    assert seed_spread([_seeds(*[0.5] * 8)]) == pytest.approx(0.0, abs=0.015)
    apart = seed_spread([_seeds(*[0.4, 0.6] * 4)])
    assert apart == pytest.approx(0.107, abs=0.02)
    assert seed_spread([_seeds(0.5)]) is None


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(40)), st.integers(0, 5))
def test_the_order_of_items_does_not_matter(order: list[int], seed: int):
    """Items and images are known by their names."""
    before, after = _random_scores(1, 40), _random_scores(2, 40)
    images = {item: item[-1] for item in before}
    expected = paired_difference(before, after, clusters=images, resamples=200, seed=seed)
    shuffled = [{f"q{i}": scores[f"q{i}"] for i in order} for scores in (before, after)]
    assert paired_difference(*shuffled, clusters=images, resamples=200, seed=seed) == expected


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 50))
def test_more_items_narrow_the_interval(seed: int):
    """Sixteen times the items, about a quarter of the width."""
    few = mean_interval(list(_random_scores(seed, 100).values()), resamples=400)
    many = mean_interval(list(_random_scores(seed, 1600).values()), resamples=400)
    assert many.high - many.low < 0.4 * (few.high - few.low)


def test_few_images_widen_the_interval_beyond_the_plain_percentiles():
    """Ten: Student's t has nine degrees of freedom, 2.26 in place of 1.96."""
    scores = np.random.default_rng(3).normal(0.5, 0.1, 10).tolist()
    interval = mean_interval(scores, resamples=20000)
    error = np.std(scores, ddof=1) / np.sqrt(10)
    assert interval.high - interval.low == pytest.approx(2 * 2.26 * error, rel=0.08)


def test_the_interval_of_a_score_stays_within_the_scores():
    """No accuracy above 100 %, however few the images."""
    interval = mean_interval([1.0] * 11 + [0.0])
    assert interval.high <= 1.0
    assert interval.low >= 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"resamples": 5}, "at least 100"),
        ({"scores": []}, "there are none"),
        ({"scores": [float("nan")]}, "not a finite number"),
        ({"clusters": ["one"]}, "2 scores but 1 clusters"),
    ],
)
def test_a_mistaken_call_says_what_is_wrong(options: dict, message: str):
    """Nothing is guessed from a bad option."""
    with pytest.raises(ValueError, match=message):
        mean_interval(options.pop("scores", [0.0, 1.0]), **options)


def test_two_thousand_resamples_of_five_thousand_items_take_less_than_a_second():
    """CPU time, so that a busy machine does not fail it."""
    before, after = _random_scores(1, 5000), _random_scores(2, 5000)
    started = time.process_time()
    paired_difference(before, after)
    assert time.process_time() - started < 1.0


def test_a_95_percent_interval_covers_the_truth_about_95_times_in_100():
    """Simulated on binary scores whose true mean is known."""
    misses = 0
    for seed in range(300):
        interval = mean_interval(
            list(_random_scores(seed, 150, mean=0.7).values()), resamples=400, seed=seed
        )
        misses += not interval.low <= 0.7 <= interval.high
    assert misses / 300 < 0.09
