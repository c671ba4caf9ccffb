"""What a caption changes of the one before, word by word."""

from __future__ import annotations

from vila2.evaluation.report.word_diff import word_diff


def marked(before: str, after: str) -> str:
    """The pieces in one line: +added+, -removed-."""
    marks = {"same": "", "added": "+", "removed": "-"}
    return " ".join(f"{marks[p.kind]}{p.text}{marks[p.kind]}" for p in word_diff(before, after))


def test_added_and_removed_words_are_marked() -> None:
    found = marked("A red circle left of a box.", "A small red circle right of a box.")
    assert found == "A +small+ red circle -left- +right+ of a box."


def test_a_text_that_shares_few_words_is_not_marked() -> None:
    assert marked("circle stock photo", "There are two objects in this image") == (
        "There are two objects in this image"
    )


def test_nothing_and_very_long_texts_are_left_as_they_are() -> None:
    long = "word " * 1000
    assert marked("", "a cat") == "a cat"
    assert [piece.kind for piece in word_diff(long, long + "more")] == ["same"]
