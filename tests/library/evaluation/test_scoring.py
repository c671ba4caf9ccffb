"""From answers to outcomes, without a model."""

from __future__ import annotations

import pytest

from vila2.evaluation.scoring import score_answers


def item(metric: str, answers: list[str], **fields: object) -> dict[str, object]:
    return {"id": "q", "benchmark": "b", "kind": "k", "question": "?", "metric": metric,
            "answers": answers, **fields}  # fmt: skip


def test_an_outcome_says_how_the_answer_was_read():
    """So that figures need neither the question nor its options."""
    asked = [
        ("p", item("yes_no", ["no"])),
        ("p", item("choice", ["a cat"], id="c", options=["a dog", "a cat"], group="g")),
        ("p", item("exact", ["red"], id="e")),
    ]
    found = score_answers(asked, ["No, it is not.", "B", "Red."])
    assert [(o.metric, o.read, o.score) for o in found] == [
        ("yes_no", "no", 1.0), ("choice", "B", 1.0), ("exact", "", 1.0),
    ]  # fmt: skip
    assert (found[1].expected, found[1].group) == ("B", "g")


def test_the_option_that_a_model_prefers_is_right_or_wrong():
    """The letters are those of the options' order."""
    asked = [("p", item("likelihood", ["a cat"], options=["a dog", "a cat"]))]
    assert [o.score for o in score_answers(asked, ["a cat"])] == [1.0]
    assert [o.score for o in score_answers(asked, ["a dog"])] == [0.0]


def test_cider_is_computed_within_each_benchmark():
    """Questions of two benchmarks may have the same id, and share no document frequencies."""
    captions = {"q1": "a dog runs in the snow", "q2": "two red boats lie on a beach"}
    one = [("p", item("cider", [text], id=key)) for key, text in captions.items()]
    other = [("p", {**asked, "benchmark": "other"}) for _, asked in one]
    found = score_answers([*one, *other], [*captions.values(), "nothing", "at all"])
    assert [o.score for o in found] == pytest.approx([10.0, 10.0, 0.0, 0.0])
