"""Warnings: each fires on a made collapse, and is silent on captions that nothing is wrong with."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vila2.evaluation.metrics.captions import compute
from vila2.evaluation.metrics.claims import ClaimMetrics
from vila2.evaluation.warnings import caption_warnings, stops
from vila2.scenes.language import dense_caption
from vila2.scenes.world import Nuisance, sample_scene

PHOTOS = Path(os.environ.get("VILA2_REAL_DATA", "")) / "flickr8k" / "captions.csv"


def _drawn(seed: int, count: int = 300) -> list[str]:
    rng = np.random.default_rng(seed)
    return [dense_caption(sample_scene(rng, nuisance=Nuisance())) for _ in range(count)]


def _figures(before: list[str], after: list[str]) -> set[tuple[str, str]]:
    found = caption_warnings(compute(before), compute(after))
    return {(warning.kind, warning.figure) for warning in found}


def _claims(precision: float) -> ClaimMetrics:
    return ClaimMetrics(100, 12, 100, precision, 0.5, 0.1, 100, precision, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_captions_raise_no_warning(seed: int):
    """Two sets of images, one grammar."""
    assert _figures(_drawn(seed), _drawn(seed + 100)) == set()


@pytest.mark.skipif(not PHOTOS.exists(), reason="VILA2_REAL_DATA is not set")
@pytest.mark.parametrize("seed", range(5))
def test_peoples_captions_raise_no_warning(seed: int):
    """Two people's captions of each of 500 photographs."""
    with PHOTOS.open(newline="") as file:
        texts = [row["caption"] for row in csv.DictReader(file)]
    starts = np.random.default_rng(seed).choice(len(texts) // 5, 500, replace=False) * 5
    assert _figures([texts[i] for i in starts], [texts[i + 2] for i in starts]) == set()


def test_captions_that_become_one_another_are_a_collapse():
    """A third of them repeats ten."""
    before = _drawn(1)
    after = [before[i % 10] if i % 3 == 0 else text for i, text in enumerate(_drawn(2))]
    assert ("diversity-collapse", "duplicate_rate") in _figures(before, after)


def test_captions_that_begin_alike_are_a_collapse():
    """Half of them takes on one formula."""
    after = [
        f"The image features a scene with {text}" if i % 2 else text
        for i, text in enumerate(_drawn(2))
    ]
    assert ("diversity-collapse", "prefix_mass") in _figures(_drawn(1), after)


def test_a_vocabulary_that_shrinks_is_a_collapse():
    """People's words give way to a few."""
    rich = [f"word{i} of{i % 97} many{i % 89} kinds{i % 83}" for i in range(200)]
    poor = [f"word of{i % 7} many{i % 5} kinds" for i in range(200)]
    assert ("diversity-collapse", "distinct_2") in _figures(rich, poor)


def test_captions_that_swell_are_an_inflation():
    """Half as long again."""
    after = [f"{text} It is a very nice image of many things." for text in _drawn(2)]
    assert ("length-inflation", "words_mean") in _figures(_drawn(1), after)


def test_longer_captions_that_say_less_truth_are_an_inflation_sooner():
    """Fifteen per cent longer is fine as long as what is claimed stays true."""
    before = compute(_drawn(1))
    after = replace(before, words_mean=1.15 * before.words_mean)
    false, true = _claims(0.6), _claims(0.7)
    assert caption_warnings(before, after, claims_before=true, claims_after=true) == []
    (warning,) = caption_warnings(before, after, claims_before=true, claims_after=false)
    assert (warning.kind, warning.figure) == ("length-inflation", "claim_precision")


def test_a_warning_stops_a_run_only_where_the_recipe_says_so():
    """By its kind."""
    found = caption_warnings(compute(_drawn(1)), compute(["the same"] * 300))
    assert stops(found, ["diversity-collapse"])
    assert not stops(found, ["length-inflation"])
    assert not stops(found, [])


def test_a_handful_of_captions_warns_of_nothing():
    """Shares of ten captions mean nothing."""
    assert _figures(["a cat sat"] * 9 + ["a dog"], ["the same"] * 10) == set()


def test_variety_within_different_budgets_is_not_compared():
    """The error says so."""
    with pytest.raises(ValueError, match="one budget"):
        caption_warnings(compute(_drawn(1), budget=8), compute(_drawn(1), budget=9))
