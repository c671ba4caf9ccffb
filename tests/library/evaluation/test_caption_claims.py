"""Claims of captions against the truth of their images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.evaluation.metrics.claims import Truth, check, matched_budget, truths_of

DRAWN = Truth(("a small red circle and a large blue square on a gray background.",))
VOCABULARY = frozenset({"dog", "hot dog", "person", "bench", "frisbee"})
PARK = Truth(("A man throws a frisbee.",), frozenset({"dog", "person"}), VOCABULARY)


def test_a_claim_counts_only_with_all_its_attributes():
    """The circle is there, but it is not green; the star is not there at all."""
    found = check(["a small green circle, a large blue square and a star"], [DRAWN], budget=64)
    assert (found.claims, found.claim_precision, found.claim_recall) == (3, 1 / 3, 1 / 2)
    assert (found.objects, found.object_precision, found.object_recall) == (3, 2 / 3, 1.0)
    assert found.chair_s == 1.0


def test_captions_are_cut_to_the_budget_before_they_are_checked():
    """What comes after the budget neither helps nor harms."""
    found = check(["a small red circle and a large green star"], [DRAWN], budget=4)
    assert (found.claims, found.claim_precision) == (1, 1.0)


def test_the_budget_is_that_of_the_tersest_round():
    """Its median; a round without captions does not count."""
    assert matched_budget([["one two three four", "one two three four"], ["a " * 50], []]) == 4


def test_an_object_of_the_list_or_of_a_persons_caption_is_there():
    """As CHAIR has it; the bench is neither, and a tree is in no list."""
    found = check(["Two dogs and a frisbee by a bench under a tree"], [PARK], budget=64)
    assert (found.objects, found.object_precision) == (3, pytest.approx(2 / 3))
    assert found.object_recall == pytest.approx(2 / 3)
    assert (found.claims, found.claim_precision) == (0, None)


def test_a_hot_dog_is_no_dog():
    """A kind within a longer kind is not counted by itself, unless it is named again."""
    truth = Truth((), frozenset({"hot dog"}), VOCABULARY)
    assert check(["a hot dog on a plate"], [truth], budget=64).object_precision == 1.0
    assert check(["a dog eats a hot dog"], [truth], budget=64).object_precision == 0.5


def test_truth_is_read_from_captioning_items_alone():
    """Object lists, or drawn captions; a question with another metric has none."""
    truths = truths_of(
        {
            "drawn": {"metric": "object_f1", "answers": ["a red circle"]},
            "photo": {"metric": "cider", "answers": ["A dog."], "objects": ["Dog", "person"]},
            "vqa": {"metric": "exact", "answers": ["red"]},
        }
    )
    assert set(truths) == {"drawn", "photo"}
    assert truths["photo"].objects == {"dog", "person"}


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 80))
def test_every_share_is_a_share_whatever_the_captions(captions: list[str], budget: int):
    """Captions are a model's text."""
    for truth in (DRAWN, PARK):
        found = check(captions, [truth] * len(captions), budget=budget)
        shares = (
            found.object_precision, found.object_recall, found.chair_s,
            found.claim_precision, found.claim_recall,
        )  # fmt: skip
        assert all(share is None or 0 <= share <= 1 for share in shares)


def test_captions_and_truths_must_pair_up():
    """And there must be some."""
    with pytest.raises(ValueError, match="2 captions and 1 truths"):
        check(["a", "b"], [DRAWN], budget=9)
