"""The order of visits: complete, seeded, and the same from wherever one begins."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila2.training.batches.sampler import Order, Visit, batches_of_block

sources = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.5, 1.0, 2.0, 2.4])), max_size=3)


def order(*given: tuple[int, float], seed: int = 0, shard: int = 3, window: int = 2) -> Order:
    """Sources of `size` samples in shards of at most `shard`."""
    shards = [
        [min(shard, size - start) for start in range(0, size, shard)] or [0] for size, _ in given
    ]
    return Order(shards, [repeat for _, repeat in given], seed=seed, window=window)


def sample_counts(visits: list[Visit]) -> Counter[tuple[int, int]]:
    return Counter((visit.source, 3 * visit.shard + visit.row) for visit in visits)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_visits_every_sample_once(epoch):
    """And says which epoch it is."""
    made = order((7, 1.0), (4, 1.0))
    visits = made.visits(epoch * 11, 11)
    assert made.epoch_size == 11
    assert sample_counts(visits) == Counter([(0, i) for i in range(7)] + [(1, i) for i in range(4)])
    assert {visit.number for visit in visits} == {epoch}


def test_epochs_and_seeds_have_orders_of_their_own():
    """A model must not learn the order."""
    first, second = order((30, 1.0)).visits(0, 30), order((30, 1.0)).visits(30, 30)
    other = order((30, 1.0), seed=1).visits(0, 30)
    assert [v.row for v in first] != [v.row for v in second]
    assert first != other
    assert first == order((30, 1.0)).visits(0, 30)


def test_a_source_repeats_as_its_weight_says():
    """Two and a half passes: each sample twice, half of them once more."""
    counts = sample_counts(order((10, 2.5), (4, 1.0)).visits(0, 29))
    assert sorted(counts[0, i] for i in range(10)) == [2] * 5 + [3] * 5
    assert [counts[1, i] for i in range(4)] == [1] * 4


def test_the_broken_pass_takes_other_samples_in_each_epoch():
    """So that a weight of a half is not half of the data."""
    visits = order((20, 0.5)).visits(0, 10 * 10)
    assert len(sample_counts(visits[:10])) == 10
    assert set(sample_counts(visits)) == {(0, i) for i in range(20)}


@settings(max_examples=60, deadline=None)
@given(
    given_sources=sources.filter(lambda s: sum(round(n * r) for n, r in s) >= 1),
    seed=st.integers(0, 5),
    start=st.integers(0, 60),
    count=st.integers(0, 30),
)
def test_visits_do_not_hang_on_where_one_begins(given_sources, seed, start, count):
    """A resumed job, which asks from its step on, sees what the unbroken one sees."""
    whole = order(*given_sources, seed=seed).visits(0, start + count)
    assert order(*given_sources, seed=seed).visits(start, count) == whole[start:]


def test_going_back_gives_the_same_visits():
    """Epochs that were forgotten are made again."""
    made = order((5, 1.0))
    first = made.visits(0, 5)
    made.visits(45, 5)
    assert made.visits(0, 5) == first


def test_few_shards_are_open_at_a_time():
    """Neighbouring visits lie in one window of shards: a large dataset is read piece by piece."""
    visits = order((40_000, 1.0), shard=100, window=8).visits(0, 40_000)
    for start in range(0, 40_000, 8000):
        # A chunk of visits (8,000 where 40,000 are split into five) spans its own windows.
        assert len({visit.shard for visit in visits[start : start + 8000]}) <= 8000 // 100 + 8


def test_sources_are_mixed_evenly_however_their_shards_lie():
    """No stretch of an epoch lacks a source."""
    visits = order((30_000, 1.0), (3_000, 1.0), shard=1000).visits(0, 33_000)
    shares = [sum(v.source for v in visits[i : i + 1100]) / 1100 for i in range(0, 33_000, 1100)]
    assert all(0.05 < share < 0.14 for share in shares)


def test_no_samples_at_all_is_an_error():
    """Instead of a job that never takes a step."""
    with pytest.raises(ValueError, match="no samples"):
        order((0, 1.0), (0, 2.0))


def test_a_weight_so_small_that_nothing_is_left_is_an_error():
    """Instead of a division by zero at the first step."""
    with pytest.raises(ValueError, match="repeat"):
        order((3, 0.1)).visits(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), max_size=40),
    batch_size=st.integers(1, 8),
    seed=st.integers(0, 5),
    block=st.integers(0, 5),
)
def test_every_position_is_in_exactly_one_batch(lengths, batch_size, seed, block):
    """All batches are full, but for one where the count does not divide."""
    batches = batches_of_block(lengths, batch_size=batch_size, seed=seed, block=block)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == batch_size for batch in sorted(batches, key=len)[1:])


def test_a_batch_holds_samples_of_like_length():
    """Little padding: no batch reaches over another's lengths."""
    lengths = [9, 1, 5, 2, 8, 1, 5, 9]
    batches = batches_of_block(lengths, batch_size=2, seed=0, block=0)
    found = sorted(sorted(lengths[i] for i in batch) for batch in batches)
    assert found == [[1, 1], [2, 5], [5, 8], [9, 9]]


def test_batches_do_not_come_in_order_of_length():
    """Short ones first would be a curriculum that nobody asked for."""
    lengths = list(range(32))
    firsts = [
        [lengths[b[0]] for b in batches_of_block(lengths, batch_size=4, seed=0, block=block)]
        for block in range(3)
    ]
    assert firsts[0] != firsts[1]
    assert all(first != sorted(first) for first in firsts)
