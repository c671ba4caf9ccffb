"""The base class of all schemas."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Typed(BaseModel):
    """A value of another type is an error, and so is a number that JSON cannot carry (NaN).

    A whole number may be written as a float (`12.0`): JSON does not tell the two apart.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: whole(value) for name, value in given.items()}


class Strict(Typed):
    """A value that does not change."""

    model_config = ConfigDict(frozen=True)


def whole(value: Any) -> Any:
    """A float that is a whole number as an int, also within a list; anything else as it is."""
    if isinstance(value, list):
        return [whole(held) for held in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
