"""Canonical JSON: equal values give equal bytes, different ones different bytes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.schemas.canonical import canonical_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(VALUES)
def test_a_value_is_read_back(value: object) -> None:
    """So two values that differ as JSON differ as bytes."""
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_the_bytes_are_compact_and_in_utf_8() -> None:
    assert canonical_json({"b": [1, 0.5], "a": "größe"}) == '{"a":"größe","b":[1,0.5]}'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_has_no_canonical_form(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": number})


def test_an_object_has_no_canonical_form() -> None:
    """Its `repr` may hold an address."""
    with pytest.raises(TypeError):
        canonical_json(object())


def test_lone_surrogates_stay_apart() -> None:
    assert canonical_json("\udc80") != canonical_json("\udc81")
