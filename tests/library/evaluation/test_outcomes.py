"""Outcomes: grouping, scoring, and their file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.evaluation.outcomes import (
    Outcome,
    benchmark_scores,
    by_benchmark,
    by_kind,
    item_images,
    item_scores,
    macro_score,
    read_outcomes,
    write_outcomes,
)

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_NAME = _TEXT.filter(bool)
_OUTCOMES = st.lists(
    st.builds(
        Outcome,
        item=_NAME,
        benchmark=_NAME,
        kind=_TEXT,
        score=st.floats(0, 10),
        answer=_TEXT,
        expected=_TEXT,
        image=_TEXT,
    ),
    max_size=5,
)


def _outcome(item: str, score: float, *, benchmark: str = "vqa", image: str = "") -> Outcome:
    return Outcome(item, benchmark, "colour", score, "red", "red", image)


@given(_OUTCOMES)
def test_outcomes_come_back_from_their_file_as_they_were(outcomes: list[Outcome]):
    """Answers are a model's text: line separators and quotes must survive."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcomes.jsonl"
        assert write_outcomes(path, outcomes) == len(outcomes)
        assert read_outcomes(path) == outcomes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: not an outcome"),
        ("[]", "not a JSON object"),
        ('{"item": "a"}', "field 'score' is not of type float"),
        ('{"item":"a","benchmark":"b","kind":"","score":true,"answer":"","expected":""}', "score"),
        ('{"item":"a","benchmark":"b","kind":"","score":NaN,"answer":"","expected":""}', "nan"),
        ('{"item":"a","benchmark":"b","score":1,"answer":"","expected":""}', "kind"),
        (
            '{"item":"a","benchmark":"b","kind":"","score":1,"answer":"","expected":"","x":1}',
            "unexpected keyword",
        ),
    ],
)
def test_a_line_that_is_no_outcome_is_named(tmp_path: Path, line: str, message: str):
    """The error says which file and line."""
    path = tmp_path / "outcomes.jsonl"
    write_outcomes(path, [_outcome("a", 1.0)])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_outcomes(path)
    assert f"{path}:2" in str(caught.value)


def test_a_file_cut_short_is_not_read_as_a_shorter_one(tmp_path: Path):
    """A copy that stopped in the middle of a line is refused."""
    path = tmp_path / "outcomes.jsonl"
    write_outcomes(path, [_outcome("a", 1.0), _outcome("b", 1.0)])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut short"):
        read_outcomes(path)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1])
def test_a_score_is_finite_and_not_negative(score: float):
    """CIDEr may exceed 1; nothing may be below 0 or undefined."""
    with pytest.raises(ValueError, match="finite number"):
        _outcome("a", score)


def test_outcomes_group_by_benchmark_and_by_kind():
    """Both keep the order of first appearance."""
    outcomes = [_outcome("a", 1.0, benchmark="y"), _outcome("b", 0.0, benchmark="x")]
    assert list(by_benchmark(outcomes)) == ["y", "x"]
    assert by_kind(outcomes) == {"colour": outcomes}


def test_the_same_item_twice_is_an_error():
    """Otherwise the later answer would silently replace the earlier."""
    with pytest.raises(ValueError, match="'a' appears twice"):
        item_scores([_outcome("a", 1.0), _outcome("a", 0.0)])


def test_an_item_without_an_image_is_its_own_cluster():
    """Items of two benchmarks are not mixed up by their names."""
    outcomes = [_outcome("a", 1.0), _outcome("a", 1.0, benchmark="x", image="p")]
    assert item_images(outcomes) == {"vqa": {"a": "vqa/a"}, "x": {"a": "p"}}


def test_a_benchmark_scores_its_mean_with_an_interval_over_images():
    """Two images, all answers alike within each: the interval spans everything."""
    outcomes = [_outcome(f"{p}{i}", float(p == "p"), image=p) for p in "pq" for i in range(50)]
    (score,) = benchmark_scores(outcomes)
    assert (score.n, score.score, score.low, score.high) == (100, 0.5, 0.0, 1.0)


def test_every_benchmark_counts_alike_in_the_macro_score():
    """One item in one benchmark weighs as much as nine in another."""
    scores = {"few": {"a": 1.0}, "many": {f"q{i}": 0.0 for i in range(9)}}
    assert macro_score(scores) == 0.5
    with pytest.raises(ValueError, match="at least one item"):
        macro_score({"empty": {}})
