"""The evaluator holds few images at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vila2.data.sample import Sample
from vila2.evaluation import evaluate


def sample(number: int, questions: int) -> Sample:
    items = tuple({"id": f"{number}-{n}"} for n in range(questions))
    return Sample(f"p{number}", b"", "png", "", 1, 1, "", items=items)


@given(st.lists(st.sampled_from([0, 1, 400, 3000]), max_size=12))
def test_chunks_lose_and_double_no_image_and_are_as_small_as_images_allow(counts: list[int]):
    """A chunk ends as soon as it has enough questions; an image's questions stay together."""
    samples = [sample(number, count) for number, count in enumerate(counts)]
    chunks = list(evaluate._chunks(samples))
    assert [one for chunk in chunks for one in chunk] == samples
    for chunk in chunks:
        assert sum(len(one.items) for one in chunk[:-1]) < evaluate._CHUNK
