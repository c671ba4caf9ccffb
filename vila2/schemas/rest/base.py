"""What all REST models share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vila2.schemas.base import Typed

# A number that an integer column of the databases holds.
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Model(BaseModel):
    """A REST body; an unknown key is an error, so that a misspelling never passes unseen."""

    model_config = ConfigDict(extra="forbid")


class Body(Typed, Model):
    """What a request asks for."""


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
