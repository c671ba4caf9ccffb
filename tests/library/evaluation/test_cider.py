"""CIDEr-D against the COCO caption server's own code, and what it promises its callers.

The figures come from `pycocoevalcap` 1.2 (PyPI): its `PTBTokenizer` (Java, Stanford 3.4.1) on the
captions below, then `Cider().compute_score`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.evaluation.metrics.cider import DocumentFrequencies, cider_d, tokenise

REFERENCES = {
    "pier": [
        "Two fishermen sit at the end of a wooden pier.",
        "A pair of men are fishing off a pier at sunset.",
        "Men with fishing rods sit on a pier, waiting.",
    ],
    "dog": [
        "A brown dog isn't letting go of the red ball.",
        "The dog holds a red ball in its mouth.",
        "A dog runs across the grass with a ball.",
    ],
    "market": [
        "A woman sells fruit at an open-air market.",
        "The market's stalls are full of fruit; a woman is selling it.",
        "A lady in a blue T-shirt stands behind boxes of oranges.",
    ],
    "train": [
        "A red train crosses a bridge over the river.",
        "The 10:15 train is going over a bridge.",
        "A train on a bridge.",
    ],
    "kite": [
        "Three children fly a kite on the beach.",
        "Kids are flying a kite near the sea.",
        "Children run along the beach with a kite (a red one).",
    ],
}
CANDIDATES = {
    "pier": "Two men are fishing off a wooden pier.",
    "dog": "A dog with a red ball in its mouth.",
    "market": "A woman in a blue T-shirt is selling fruit at the market, isn't she?",
    "train": "A train train train on a bridge.",
    "kite": "A man is riding a bicycle down the street.",
}
LIBRARY = {
    "pier": 2.4533351944329116,
    "dog": 3.076639400204559,
    "market": 1.375848295948836,
    "train": 2.24908523061291,
    "kite": 0.0,
}
LIBRARY_SCORE = 1.8309816242398433


def test_scores_equal_those_of_pycocoevalcap() -> None:
    """Per image and in the mean."""
    result = cider_d(CANDIDATES, REFERENCES)
    assert result.per_item == pytest.approx(LIBRARY, abs=1e-12)
    assert result.score == pytest.approx(LIBRARY_SCORE, abs=1e-12)


def test_copying_the_only_reference_scores_ten() -> None:
    """The scale's top."""
    references = {"a": ["a dog runs in the snow"], "b": ["two red boats lie on a beach"]}
    copied = {key: texts[0] for key, texts in references.items()}
    assert cider_d(copied, references).score == pytest.approx(10.0)


def test_given_document_frequencies_replace_those_of_the_references() -> None:
    """So an image scored alone gets what it gets among the others."""
    frequencies = DocumentFrequencies.of(REFERENCES.values())
    alone = cider_d(
        {"dog": CANDIDATES["dog"]},
        {"dog": REFERENCES["dog"]},
        document_frequencies=frequencies,
    )
    assert alone.score == pytest.approx(LIBRARY["dog"])


def test_a_single_image_without_frequencies_is_an_error_that_says_what_to_do() -> None:
    """Every n-gram would weigh nothing, and the score would be a silent 0."""
    with pytest.raises(ValueError, match="at least two images"):
        cider_d({"dog": "a dog"}, {"dog": ["a dog"]})


def test_missing_and_surplus_images_are_named() -> None:
    """A score over the images that happen to match would be another score."""
    with pytest.raises(ValueError, match="2 ids, such as \\['b', 'c'\\]"):
        cider_d({"a": "x", "b": "x"}, {"a": ["x"], "c": ["x"]})


def test_an_image_without_references_is_named() -> None:
    """It can be given no score."""
    with pytest.raises(ValueError, match="such as \\['b'\\]"):
        cider_d({"a": "x", "b": "x"}, {"a": ["x"], "b": []})


def test_an_empty_caption_scores_zero() -> None:
    """A model may say nothing."""
    result = cider_d({**CANDIDATES, "pier": ""}, REFERENCES)
    assert result.per_item["pier"] == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog isn't sitting; it's running!", "a man 's dog is n't sitting it 's running"),
        ("They cannot see the U.S. flag at 3:30.", "they can not see the u.s. flag at 3:30"),
        (
            "Mr. Smith paid $5.50 for 10,000 T-shirts...",
            "mr. smith paid $ 5.50 for 10,000 t-shirts",
        ),
        ("“Quoted” -- and ‘single’ dogs' toys", "quoted and single dogs toys"),
        ("black-and-white o'clock 100% #2", "black-and-white o'clock 100 % # 2"),
    ],
)
def test_words_are_split_as_the_treebank_splits_them(text: str, words: str) -> None:
    """Checked against Stanford's PTBTokenizer, whose punctuation the COCO server drops."""
    assert tokenise(text) == words.split()


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=40), min_size=2, max_size=4))
def test_any_text_gets_a_score_between_zero_and_ten(texts: dict[str, str]) -> None:
    """Captions come from a model; references from people. Neither may break the scorer."""
    result = cider_d(texts, {key: [text, "a dog"] for key, text in texts.items()})
    assert all(0.0 <= score <= 10.0 + 1e-9 for score in result.per_item.values())
