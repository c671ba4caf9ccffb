from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chaos.growth import slope


def test_what_fills_at_the_start_and_stays_is_flat() -> None:
    assert slope([50, 80, 100, 101, 99, 100, 100, 101, 100], allowed=0.03).flat


def test_what_grows_by_the_same_each_time_is_not() -> None:
    assert not slope([100 + 2 * n for n in range(12)], allowed=0.03).flat


@given(st.floats(1, 1e9), st.integers(6, 60))
def test_what_never_changes_does_not_grow(value: float, count: int) -> None:
    assert slope([value] * count, allowed=0.0).growth == pytest.approx(0)


def test_too_few_values_say_nothing() -> None:
    with pytest.raises(ValueError, match="at least six"):
        slope([1.0] * 5, allowed=0.1)
