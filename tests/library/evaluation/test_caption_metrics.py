"""Caption metrics by small worked examples."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.evaluation.metrics.captions import compute, entities


def test_length_counts_words_not_punctuation():
    """Two captions of two and four words."""
    metrics = compute(["A cat.", "the dog's red - ball!"])
    assert (metrics.words_mean, metrics.words_sd) == (3.0, 1.0)


def test_distinct_is_the_share_of_different_n_grams():
    """`a b a b` has two words of four, two pairs of three, two triples of two."""
    metrics = compute(["a b a b"])
    assert metrics.distinct_1 == 1 / 2
    assert metrics.distinct_2 == 2 / 3
    assert metrics.distinct_3 == 1.0


def test_variety_is_measured_within_the_same_budget_of_words():
    """A caption that rambles on is compared by its first words only."""
    short, long = "one two three", "one two three three three three"
    assert compute([long], budget=3).distinct_1 == compute([short], budget=3).distinct_1
    assert compute([long], budget=3).words_mean == 6


def test_openers_are_the_most_common_first_three_words():
    """Two of three captions begin alike, but for case."""
    captions = ["The image shows a cat", "the image shows a dog", "A bird"]
    assert compute(captions).opener_rate == pytest.approx(2 / 3)


def test_prefix_mass_is_held_by_the_hundred_most_common_prefixes():
    """150 captions of which 50 begin alike: those and 99 others, of 150."""
    captions = ["all of these begin alike"] * 50 + [
        f"{i} is a number of its own" for i in range(100)
    ]
    assert compute(captions).top_prefix_mass == pytest.approx(149 / 150)


def test_retention_counts_the_content_words_of_the_alt_text():
    """Stop words do not count, and an alt-text without content is left out."""
    metrics = compute(
        ["A white temple on a hill", "a dog"], ["The Parthenon temple", "this is the"]
    )
    assert metrics.alt_text_retention == 0.5
    assert compute(["a dog"]).alt_text_retention is None
    assert compute(["a dog"], ["the"]).alt_text_retention is None


def test_prefix_mass_is_the_share_of_the_commonest_five_words():
    """Two of four captions share five words, and a third only four of them."""
    captions = ["a b c d e f", "a b c d e g", "a b c d x", "y"]
    assert compute(captions).prefix_mass == 0.5


def test_names_and_numbers_of_the_alt_text_are_told_from_its_other_words():
    """Title Case says nothing where somebody wrote the word without a capital."""
    originals = ["The Eiffel Tower at night", "A Red Dress from 1920", "red dress on sale"]
    assert entities(originals) == [{"eiffel", "tower"}, {"1920"}, set()]


def test_entity_retention_counts_names_alone():
    """The caption keeps one name of two, and the year of the other image's."""
    originals = ["The Eiffel Tower at night", "a red dress from 1920", "a night in red"]
    captions = ["the eiffel construction", "clothes of 1920", "something"]
    assert compute(captions, originals).entity_retention == pytest.approx(0.75)
    assert compute(["a dog"], ["a dog"]).entity_retention is None


def test_consistency_is_averaged_over_the_captions_that_have_a_score():
    """Quarantined or unscored ones do not count as zero."""
    assert compute(["a", "b", "c"], consistency=[0.5, None, 1.5]).consistency == 1.0
    assert compute(["a"]).consistency is None


def test_duplicates_are_captions_said_before():
    """Three equal captions of four: two repeat the first."""
    assert compute(["x", "x", "x", "y"]).duplicate_rate == 0.5


@given(st.lists(st.text(), min_size=1), st.data())
def test_every_share_is_a_share_whatever_the_captions(captions: list[str], data: st.DataObject):
    """Captions are a model's text: empty and odd ones included."""
    count = len(captions)
    metrics = compute(captions, data.draw(st.lists(st.text(), min_size=count, max_size=count)))
    assert all(share is None or 0 <= share <= 1 for share in astuple(metrics)[4:-1])


def test_captions_and_originals_must_pair_up():
    """And there must be some."""
    with pytest.raises(ValueError, match="2 captions but 1 originals"):
        compute(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="no captions"):
        compute([])
