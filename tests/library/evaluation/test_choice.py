"""Which option an answer names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.evaluation.metrics.choice import letter_of, prompt_of, read_choice

OPTIONS = ["a dog on a sofa", "a cat on a sofa"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("A", "A"),
        (" b. ", ""),  # a small letter is a word
        ("B.", "B"),
        ("(B)", "B"),
        ("[A] a dog on a sofa", "A"),
        ("B: a cat on a sofa", "B"),
        ("The answer is B.", "B"),
        ("Answer: (A)", "A"),
        ("A cat on a sofa.", "B"),  # begins with the word, not with the letter
        ("I see a dog on a sofa, clearly", "A"),
        ("A dog", ""),
        ("C", ""),
        ("a dog on a sofa and a cat on a sofa", ""),
        ("neither", ""),
        ("", ""),
    ],
)
def test_an_answer_names_an_option(answer: str, letter: str):
    """By its words or its letter; a doubtful answer names none."""
    assert read_choice(answer, OPTIONS) == letter


@given(st.text(), st.lists(st.text(min_size=1), min_size=2, max_size=26))
def test_no_answer_breaks_the_reading(answer: str, options: list[str]):
    """Whatever a model says, a letter of the list or nothing is read."""
    assert read_choice(answer, options) in ["", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(options)]]


_WORDS = st.lists(st.sampled_from(["dog", "cat", "two", "sofa", "red"]), min_size=1, max_size=4)


@given(st.lists(_WORDS.map(" ".join), min_size=2, max_size=6, unique=True))
def test_the_letter_and_the_words_of_an_option_are_read_back(options: list[str]):
    """For every option of every list."""
    for option in options:
        letter = letter_of(option, options)
        assert read_choice(letter, options) == letter
        assert read_choice(option.upper() + ".", options) == letter


def test_options_are_listed_under_the_question():
    """Only for `choice`; other questions are asked as they stand."""
    item = {"question": "Which?", "metric": "choice", "options": OPTIONS}
    assert prompt_of(item).splitlines()[:3] == [
        "Which?",
        "A. a dog on a sofa",
        "B. a cat on a sofa",
    ]
    assert prompt_of({**item, "metric": "likelihood"}) == "Which?"
