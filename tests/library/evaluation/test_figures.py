"""What metrics tell beside their mean, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.evaluation.metrics.figures import MOST_KINDS, Figure, figures_of
from vila2.evaluation.outcomes import Outcome, benchmark_scores
from vila2.evaluation.statistics.ratios import ratio_intervals


def said(number: int, read: str, expected: str, *, kind: str = "random") -> Outcome:
    return Outcome(
        f"q{number}", "pope", kind, float(read == expected), read, expected, f"p{number}",
        "yes_no", read,
    )  # fmt: skip


def value(figures: tuple[Figure, ...], name: str, kind: str = "") -> float:
    return next(f.value for f in figures if (f.name, f.kind) == (name, kind))


def pope() -> list[Outcome]:
    """True yes 3, false yes 1, missed 2, true no 3, neither 1 (expected no)."""
    pairs = [("yes", "yes")] * 3 + [("yes", "no")] + [("no", "yes")] * 2 + [("no", "no")] * 3
    return [said(n, *pair) for n, pair in enumerate([*pairs, ("", "no")])]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision", 3 / 4),
        ("recall", 3 / 5),
        ("f1", 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)),
        ("yes_rate", 4 / 10),
        ("unread_rate", 1 / 10),
    ],
)
def test_yes_no_questions_are_told_as_pope_tells_them(name: str, expected: float):
    """By the confusion matrix; the yes-rate is that of the answers, not of the truth."""
    assert value(figures_of(pope()), name) == pytest.approx(expected)


def test_the_score_stays_the_accuracy():
    """Figures stand beside the mean, on which verdicts rest."""
    (score,) = benchmark_scores(pope())
    assert (score.score, score.metric) == (pytest.approx(6 / 10), "yes_no")


def test_each_split_has_figures_of_its_own():
    """Random, popular and adversarial are told apart by kind."""
    easy = [said(n, "yes", "yes") for n in range(4)]
    hard = [said(n, "yes", "no", kind="adversarial") for n in range(4, 8)]
    figures = figures_of([*easy, *hard])
    assert value(figures, "precision", "random") == 1.0
    assert value(figures, "precision", "adversarial") == 0.0
    assert value(figures, "precision") == 0.5
    assert value(figures, "mean", "adversarial") == 0.0


def test_precision_of_a_model_that_never_says_yes_is_zero():
    """And not an error, nor a number that JSON cannot hold."""
    figures = figures_of([said(n, "no", "yes") for n in range(3)])
    assert [value(figures, name) for name in ("precision", "f1", "yes_rate")] == [0.0, 0.0, 0.0]


def test_boxes_are_told_by_mean_overlap_and_by_accuracy():
    """Mean IoU is the score, accuracy at 0.5 the figure."""
    scores = [0.9, 0.5, 0.49, 0.0]
    outcomes = [Outcome(f"q{n}", "b", "k", s, "", "", f"p{n}", "iou") for n, s in enumerate(scores)]
    (score,) = benchmark_scores(outcomes)
    assert score.score == pytest.approx(sum(scores) / 4)
    assert value(score.figures, "accuracy_at_0.5") == 0.5


def test_a_group_counts_once_and_only_when_all_of_it_is_right():
    """SugarCrepe in both orders: always A is right half the time, and never throughout."""

    def asked(pair: int, order: int, read: str) -> Outcome:
        right = "A" if order == 1 else "B"
        return Outcome(
            f"{pair}-{order}", "s", "k", float(read == right), read, right, f"p{pair}", "choice",
            read, f"pair-{pair}",
        )  # fmt: skip

    always_a = [asked(pair, order, "A") for pair in range(3) for order in (1, 2)]
    figures = figures_of(always_a)
    assert value(figures, "first_option_rate") == 1.0
    assert value(figures, "whole_group_right") == 0.0
    (score,) = benchmark_scores(always_a)
    assert score.score == 0.5
    one_pair_right = [*always_a[:1], asked(0, 2, "B"), *always_a[2:]]
    assert value(figures_of(one_pair_right), "whole_group_right") == pytest.approx(1 / 3)


def test_a_figure_is_over_the_items_of_its_metric():
    """Where a benchmark mixes metrics, `n` says over how many."""
    other = Outcome("x", "pope", "random", 1.0, "red", "red", "px", "exact")
    figures = figures_of([*pope(), other])
    assert {figure.n for figure in figures} == {10}
    (score,) = benchmark_scores([*pope(), other])
    assert score.metric == "mixed"


def test_very_many_kinds_are_not_told_one_by_one():
    """So many intervals say nothing."""
    outcomes = [said(n, "yes", "yes", kind=f"k{n}") for n in range(MOST_KINDS + 1)]
    assert {figure.kind for figure in figures_of(outcomes)} == {""}


@given(
    st.lists(
        st.tuples(st.sampled_from(["yes", "no", ""]), st.sampled_from(["yes", "no"])),
        min_size=1,
        max_size=30,
    )
)
def test_figures_are_shares_and_lie_in_their_interval_whatever_was_said(pairs):
    """Also where a class is missing altogether."""
    figures = figures_of([said(n, *pair) for n, pair in enumerate(pairs)], resamples=100)
    assert all(0 <= f.low <= f.high <= 1 for f in figures)
    assert all(0 <= f.value <= 1 for f in figures)


def test_the_interval_of_a_ratio_resamples_whole_images():
    """Two images that disagree wholly: every share from 0 to 1 may come out."""
    parts = [[(float(image == "p"), 1.0)] for image in "pq" for _ in range(50)]
    (interval,) = ratio_intervals(parts, clusters=[p for p in "pq" for _ in range(50)])
    assert (interval.low, interval.mid, interval.high) == (0.0, 0.5, 1.0)


def test_the_mean_as_a_ratio_has_the_interval_of_the_mean():
    """The same bootstrap, to within the luck of its draws."""
    outcomes = [said(n, "yes", "yes" if n % 3 else "no") for n in range(200)]
    (score,) = benchmark_scores(outcomes)
    (interval,) = ratio_intervals(
        [[(o.score, 1.0)] for o in outcomes], clusters=[o.image for o in outcomes]
    )
    assert interval.low == pytest.approx(score.low, abs=0.02)
    assert interval.high == pytest.approx(score.high, abs=0.02)
