"""The preset `tiny` with random weights: built in a second, trained in a few."""

from __future__ import annotations

from vila2.model.build import VLM, compose
from vila2.model.preset import load_preset


def model(*, seed: int = 0) -> VLM:
    """The tiny preset with random weights and a tokenizer of a few sentences."""
    texts = ["a large red circle and a small blue square on a white background."] * 20
    return compose(load_preset("tiny"), texts=texts, seed=seed)
