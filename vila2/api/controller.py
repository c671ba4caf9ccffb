"""REST models of the controller."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vila2.api.base import Body, Model, Progress

RunState = Literal["running", "paused", "finished", "failed", "cancelled"]
VerdictKind = Literal["improved", "no_measurable_change", "worse"]
RoundKind = Literal["base", "baseline", "self", "specialist", "control"]


class RunIn(Body):
    """A run to start."""

    recipe: dict[str, Any] = Field(description="A recipe's content.")
    name: str = Field("", max_length=100)


class OverruleIn(Body):
    """A person's verdict in place of the computed one; the record keeps both."""

    kind: VerdictKind
    reason: str = Field(min_length=1, max_length=1000, description="Why; it is kept.")


class AmendIn(Body):
    """Another recipe for the rounds that have not begun."""

    recipe: dict[str, Any] = Field(description="The whole recipe, changed.")
    based_on: int = Field(
        ge=1,
        le=2**31 - 1,
        description="Number of the recipe that was changed; 409 if another is in force by now.",
    )
    reason: str = Field("", max_length=1000)


class BranchIn(Body):
    """A new run that shares another's rounds up to one of them."""

    round: str = Field(description="The last round that both runs share, such as `round 1`.")
    recipe: dict[str, Any] | None = Field(
        None, description="What the new run does from there on; the other's own where left out."
    )
    name: str = Field("", max_length=100)


class Origin(Model):
    """Where a branch, or a round that it shares, comes from."""

    run: str
    round: str


class RecipeOfRun(Model):
    """A recipe that a run has had, and from whom."""

    number: int
    recipe: dict[str, Any]
    recipe_hash: str
    by: str = ""
    reason: str = ""
    at: float


class Difference(Model):
    """How one run's round differs from another's of the same name.

    `difference` is the paired difference of the macro scores, theirs minus ours, with its interval;
    all three are missing where the two were not asked the same questions.
    """

    round: str
    ours: float | None = None
    theirs: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    same_model: bool = False


class Comparison(Model):
    """Two runs beside each other."""

    ours: str
    theirs: str
    recipe: dict[str, list[Any]] = Field(
        description="Values of the recipes that differ: dotted name -> [ours, theirs]."
    )
    rounds: list[Difference]


class RoundSeed(Model):
    """One of the trainings of a round with several seeds: its model, and that one's evaluation."""

    seed: int
    model: str
    evaluation: str = ""


class Round(Model):
    """One model of a run: what it is trained on, how far it is, and what came out."""

    name: str
    kind: RoundKind
    index: int
    state: str
    model: str = ""
    layer: str = ""
    jobs: list[str] = []
    seeds: list[RoundSeed] = Field(
        [], description="Of a round with several seeds, once trained; `model` is the first one's."
    )
    scores: dict[str, dict[str, float]] = {}
    verdict: dict[str, Any] | None = None
    error: str = ""
    recipe_number: int = 1
    origin: Origin | None = None
    progress: Progress
    seconds: float = 0.0


class Run(Model):
    """A run of a recipe."""

    id: str
    name: str
    team: str
    recipe_name: str
    recipe_hash: str
    recipe_number: int = 1
    origin: Origin | None = None
    state: RunState
    phase: str
    rounds: list[Round]
    error: str = ""
    trouble: str = Field("", description="Why nothing could be done just now; it is tried again.")
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
    by: str = ""


class ShippedRecipe(Model):
    """A recipe that ships with the platform: to read, copy and start."""

    name: str
    description: str
    recipe_hash: str
    yaml: str = Field(description="Its file, comments and citations included.")
    content: dict[str, Any] = Field(description="What `recipe` of a run or an estimate takes.")
