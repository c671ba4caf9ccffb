"""What all REST models share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vila2.schemas.base import whole

# A number that an integer column of the databases holds.
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Model(BaseModel):
    """A REST body; an unknown key is an error, so that a misspelling never passes unseen."""

    model_config = ConfigDict(extra="forbid")


class Body(Model):
    """What a request asks for; a value of another type is an error, not turned into this one.

    So is a number that JSON cannot carry.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, given: Any) -> Any:
        """JSON has no integers: where one is asked for, 12.0 says the same as 12."""
        if not isinstance(given, dict):
            return given
        return {name: whole(value) for name, value in given.items()}


class Progress(Model):
    """How far some work is."""

    done: int = 0
    total: int = 0
    unit: str = "samples"
    phase: str = ""
    eta_seconds: float | None = Field(None, description="Null while there is nothing to go by.")

    @property
    def fraction(self) -> float:
        """Share done, 0 to 1."""
        return self.done / self.total if self.total else 0.0
