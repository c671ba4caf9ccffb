"""The base class of all schemas."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Typed(BaseModel):
    """Rejects values of another type and numbers that JSON cannot represent (NaN).

    An integer may be written as a float (`12.0`), since JSON does not distinguish them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: whole(value) for name, value in given.items()}


class Strict(Typed):
    """An immutable value."""

    model_config = ConfigDict(frozen=True)


def whole(value: Any) -> Any:
    """Convert floats that are whole numbers to int, also within a list; pass on anything else."""
    if isinstance(value, list):
        return [whole(held) for held in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
