"""Perceptual hashes and the banded index over them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vila2.data.images.perceptual_hash as near
from vila2.data.images.perceptual_hash import SURE_DISTANCE, clusters, near_pairs


def by_comparing_all(left: np.ndarray, right: np.ndarray | None, most: int) -> set:
    other = left if right is None else right
    return {
        (i, j)
        for i in range(len(left))
        for j in range(len(other))
        if int(left[i] ^ other[j]).bit_count() <= most and (right is not None or i < j)
    }


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


HASHES = st.lists(
    st.tuples(
        st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF, 0xF0F0F0F00F0F0F0F]),
        st.lists(st.integers(0, 63), max_size=9),
    ).map(lambda made: flipped(*made)),
    max_size=24,
)


@settings(max_examples=80, deadline=None)
@given(HASHES, st.integers(0, SURE_DISTANCE))
def test_every_pair_up_to_seven_bits_apart_is_found(values, most):
    """The index finds what comparing all with all finds, and nothing else."""
    hashes = np.array(values, dtype=np.uint64)
    found = near_pairs(hashes, max_distance=most)
    assert {tuple(pair) for pair in found.pairs.tolist()} == by_comparing_all(hashes, None, most)


@settings(max_examples=80, deadline=None)
@given(HASHES, HASHES)
def test_two_sets_are_held_against_each_other(left, right):
    """Pairs are (left, right), each with its distance."""
    one, two = np.array(left, dtype=np.uint64), np.array(right, dtype=np.uint64)
    found = near_pairs(one, two)
    assert {tuple(p) for p in found.pairs.tolist()} == by_comparing_all(one, two, SURE_DISTANCE)
    for (i, j), distance in zip(found.pairs.tolist(), found.distances.tolist(), strict=True):
        assert int(one[i] ^ two[j]).bit_count() == distance


@given(hnp.arrays(np.uint64, st.integers(0, 30)))
def test_an_image_is_no_pair_with_itself(hashes):
    """Only different positions pair."""
    assert all(i < j for i, j in near_pairs(hashes).pairs.tolist())


def test_images_too_alike_to_thousands_are_counted_and_not_compared(monkeypatch):
    """A blank page is like every other; their number is told."""
    monkeypatch.setattr(near, "MAX_BUCKET", 10)
    found = near_pairs(np.zeros(50, dtype=np.uint64))
    assert len(found.uncompared) == 50
    assert len(found.pairs) == 0


def test_pairs_that_share_an_image_are_one_group():
    """Whatever order they come in."""
    assert clusters(np.array([[4, 5], [0, 2], [2, 3], [7, 9]])) == [[0, 2, 3], [4, 5], [7, 9]]
    assert clusters(np.empty((0, 2), dtype=np.int64)) == []
