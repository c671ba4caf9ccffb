"""Which recipe values may change during a run. Pure.

Rounds are compared with each other and share a base, so the base, the data and the benchmarks
are fixed. Changing one of these requires a new run; other settings can be amended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.controller.runs.pins import renamed
from vila2.recipes.recipe import Recipe

FIXED = ("name", "seed", "model", "data", "baseline", "benchmarks")


def differences(one: Recipe, other: Recipe) -> dict[str, list[Any]]:
    """Every value that differs, by dotted name: [one's, other's]; `None` if missing."""
    left, right = _flat(one.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
    return {
        name: [left.get(name), right.get(name)]
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    }


def forbidden(before: Recipe, after: Recipe) -> list[str]:
    """Dotted names of the values that differ and may not."""
    return [name for name in differences(before, after) if name.split(".")[0] in FIXED]


def at_the_versions_of(before: Recipe, after: Recipe) -> Recipe:
    """The new recipe with the datasets of the old at the versions that the run pinned.

    A submitted recipe names datasets by name; the run's own by `name@version`.
    """
    return renamed(after, {pinned.name: pinned for pinned in before.datasets()})


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested mappings and of lists of mappings, by dotted name."""
    if isinstance(value, Mapping) and value:
        parts = [_flat(held, f"{name}.{key}" if name else str(key)) for key, held in value.items()]
    elif isinstance(value, list) and value and all(isinstance(held, Mapping) for held in value):
        parts = [
            _flat(held, f"{name}.{held.get('name', number)}") for number, held in enumerate(value)
        ]
    else:
        return {name: value}
    return {key: held for part in parts for key, held in part.items()}
