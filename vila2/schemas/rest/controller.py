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

    recipe: dict[str, Any] = Field(description="A recipe's content.")
    name: str = Field("", max_length=100)


class OverruleIn(Body):
    """A person's verdict in place of the computed one; the record keeps both."""

    model_config = example(kind="worse", reason="captions repeat the prompt")

    kind: VerdictKind
    reason: str = Field(min_length=1, max_length=1000, description="Why; it is kept.")


class AmendIn(Body):
    """Another recipe for the rounds that have not begun."""

    model_config = example(
        recipe={**RECIPE, "rounds": {"maximum": 3, "patience": 1}},
        based_on=1,
        reason="one round more",
    )

    recipe: dict[str, Any] = Field(description="The whole recipe, changed.")
    based_on: int = Field(
        ge=1,
        le=2**31 - 1,
        description="Number of the recipe that was changed; 409 if another is in force by now.",
    )
    reason: str = Field("", max_length=1000)


class BranchIn(Body):
    """A new run that shares another's rounds up to one of them."""

    model_config = example(round="round 1", name="second try")

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

    model_config = example(number=1, recipe=RECIPE, recipe_hash="b1946ac92492d234", at=AT)

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
    trouble: str = Field("", description="Why nothing could be done just now; it is tried again.")
    created_at: float
    finished_at: float = 0.0
    progress: Progress


class Event(Model):
    """One thing that happened to a run."""

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
    """A recipe that ships with the platform: to read, copy and start."""

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
    yaml: str = Field(description="Its file, comments and citations included.")
    content: dict[str, Any] = Field(description="What `recipe` of a run or an estimate takes.")
