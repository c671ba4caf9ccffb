"""REST models of the controller."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vila2.api.base import Model, Progress

RunState = Literal["running", "finished", "failed", "cancelled"]
RoundKind = Literal["base", "baseline", "self", "specialist", "control"]


class RunIn(Model):
    """A run to start."""

    recipe: dict[str, Any] = Field(description="A recipe's content.")
    name: str = Field("", max_length=100)
    token: str = Field("", max_length=200, description="The same token gives the same run.")


class Round(Model):
    """One model of a run: what it is trained on, how far it is, and what came out."""

    name: str
    kind: RoundKind
    index: int
    state: str
    model: str = ""
    layer: str = ""
    jobs: list[str] = []
    scores: dict[str, dict[str, float]] = {}
    verdict: dict[str, Any] | None = None
    error: str = ""
    progress: Progress
    seconds: float = 0.0


class Run(Model):
    """A run of a recipe."""

    id: str
    name: str
    team: str
    recipe_name: str
    recipe_hash: str
    state: RunState
    phase: str
    rounds: list[Round]
    error: str = ""
    created_at: float
    finished_at: float = 0.0
    progress: Progress


class Event(Model):
    """One thing that happened to a run."""

    sequence: int
    at: float
    kind: str
    round: str
    message: str


class ShippedRecipe(Model):
    """A recipe that ships with the platform: to read, copy and start."""

    name: str
    description: str
    recipe_hash: str
    yaml: str = Field(description="Its file, comments and citations included.")
    content: dict[str, Any] = Field(description="What `recipe` of a run or an estimate takes.")
