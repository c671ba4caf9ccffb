"""Base classes of the REST models."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vila2.schemas.base import Typed
from vila2.schemas.text import text_problem

# A number that fits the databases' integer columns.
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Model(BaseModel):
    """A REST body; unknown keys are rejected, so that misspellings are noticed."""

    model_config = ConfigDict(extra="forbid")


class Body(Typed, Model):
    """The body of a request; text that no database can hold is rejected wherever it stands."""

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        if problem := text_problem(given):
            raise ValueError(problem)
        return given


class Progress(Model):
    """Progress of a piece of work: `done` of `total`, in `unit`."""

    done: int = 0
    total: int = 0
    unit: str = "samples"
    phase: str = ""
    eta_seconds: float | None = Field(
        None, description="Estimated seconds left; null while unknown."
    )

    @property
    def fraction(self) -> float:
        """Completed share, 0 to 1; 0 if `total` is 0."""
        return self.done / self.total if self.total else 0.0
