"""REST models of the controller."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vila2.schemas.rest.base import Body, Model, Progress
from vila2.schemas.rest.examples import AT, JOB, PROMPT, RUN, STAGE, TRAINING, example

RunState = Literal["running", "paused", "finished", "failed", "cancelled"]
VerdictKind = Literal["improved", "no_measurable_change", "worse"]
RoundKind = Literal["base", "baseline", "self", "specialist", "control"]


RECIPE: dict[str, Any] = {
    "name": "web-photos-small",
    "description": "Two rounds on a small corpus.",
    "model": {
        "preset": "tiny",
        "base": {
            "dataset": "web-base",
            "stage": {**STAGE, "trainable": ["vision", "projector", "language"]},
        },
    },
    "data": {"pretrain": "web-photos", "sft": "web-sft"},
    "stages": {
        "align": {**STAGE, "steps": 40, "trainable": ["projector"]},
        "pretrain": STAGE,
        "sft": STAGE,
    },
    "baseline": {"policy": "original"},
    "recaption": {
        "policy": "concat",
        "caption_layer": "self",
        "caption_question": PROMPT,
        "missing": "original",
    },
    "captioning": {"prompts": [PROMPT]},
    "benchmarks": ["shapes-vqa"],
    "rounds": {"maximum": 2, "patience": 1},
}


class RunIn(Body):
    """A run to start."""

    model_config = example(recipe=RECIPE, name="first try")

    recipe: dict[str, Any] = Field(description="The recipe.")
    name: str = Field("", max_length=100)


class OverruleIn(Body):
    """A verdict that replaces the computed one; both are kept in the record."""

    model_config = example(kind="worse", reason="captions repeat the prompt")

    kind: VerdictKind
    reason: str = Field(
        min_length=1, max_length=1000, description="The reason, kept in the record."
    )


class AmendIn(Body):
    """A new recipe for the rounds that have not started."""

    model_config = example(
        recipe={**RECIPE, "rounds": {"maximum": 3, "patience": 1}},
        based_on=1,
        reason="one round more",
    )

    recipe: dict[str, Any] = Field(description="The complete new recipe.")
    based_on: int = Field(
        ge=1,
        le=2**31 - 1,
        description="Number of the recipe that was edited; 409 if it is no longer in force.",
    )
    reason: str = Field("", max_length=1000)


class BranchIn(Body):
    """A new run that shares another's rounds up to one of them."""

    model_config = example(round="round 1", name="second try")

    round: str = Field(description="Last round that both runs share, such as `round 1`.")
    recipe: dict[str, Any] | None = Field(
        None, description="Recipe of the following rounds; default: the original run's."
    )
    name: str = Field("", max_length=100)


class Origin(Model):
    """The run and round from which a branch or a shared round originates."""

    run: str
    round: str


class RecipeOfRun(Model):
    """A recipe of a run, and who set it when (`at`: seconds since 1970)."""

    model_config = example(number=1, recipe=RECIPE, recipe_hash="b1946ac92492d234", at=AT)

    number: int
    recipe: dict[str, Any]
    recipe_hash: str
    by: str = ""
    reason: str = ""
    at: float


class Difference(Model):
    """The difference between two runs' rounds of the same name.

    `difference` is the paired difference of the macro scores, theirs minus ours, with its interval
    from `low` to `high`. All three are null if the rounds were evaluated on different questions.
    """

    round: str
    ours: float | None = None
    theirs: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    same_model: bool = False


class Comparison(Model):
    """A comparison of two runs."""

    model_config = example(
        ours=RUN,
        theirs="run-1b9d6bcd",
        recipe={"rounds.maximum": [2, 3]},
        rounds=[
            {
                "round": "round 1",
                "ours": 0.52,
                "theirs": 0.55,
                "difference": 0.03,
                "low": 0.01,
                "high": 0.05,
            }
        ],
    )

    ours: str
    theirs: str
    recipe: dict[str, list[Any]] = Field(
        description="Recipe values that differ: dotted name -> [ours, theirs]."
    )
    rounds: list[Difference]


class RoundSeed(Model):
    """One seed of a round with several seeds: its model and that model's evaluation."""

    seed: int
    model: str
    evaluation: str = ""


class Round(Model):
    """A round of a run: its model, training data, progress and results."""

    name: str
    kind: RoundKind
    index: int
    state: str
    model: str = ""
    layer: str = ""
    jobs: list[str] = []
    seeds: list[RoundSeed] = Field(
        [],
        description="Set once a round with several seeds is trained; `model` is the first seed's.",
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

    model_config = example(
        id=RUN,
        name="first try",
        team="local",
        recipe_name="web-photos-small",
        recipe_hash="b1946ac92492d234",
        state="running",
        phase="baseline: training",
        rounds=[
            {
                "name": "baseline",
                "kind": "baseline",
                "index": 1,
                "state": "training",
                "jobs": [JOB],
                "progress": TRAINING,
            }
        ],
        created_at=AT,
        progress={"done": 77, "total": 1000, "unit": "permille"},
    )

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
    trouble: str = Field(
        "", description="Current failure, which is being retried; empty if there is none."
    )
    created_at: float
    finished_at: float = 0.0
    progress: Progress


class Event(Model):
    """An event in a run; `at` is in seconds since 1970."""

    model_config = example(
        sequence=3, at=AT, kind="round.training", round="baseline", message="training"
    )

    sequence: int
    at: float
    kind: str
    round: str
    message: str
    by: str = ""


class ShippedRecipe(Model):
    """A recipe that ships with the platform."""

    model_config = example(
        name="web-photos-small",
        description="Two rounds on a small corpus.",
        recipe_hash="b1946ac92492d234",
        yaml="name: web-photos-small\n",
        content=RECIPE,
    )

    name: str
    description: str
    recipe_hash: str
    yaml: str = Field(description="The recipe file, including comments and citations.")
    content: dict[str, Any] = Field(
        description="The recipe in the form that `recipe` of a run or an estimate takes."
    )
