"""All figures that a run's report shows, and nothing else.

The report is data first: it is written as JSON next to the run, and the terminal's and the HTML
page's renderings are pure functions of it.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vila2.evaluation.metrics.captions import CaptionMetrics
from vila2.evaluation.metrics.claims import ClaimMetrics
from vila2.evaluation.report.facts import Count, DataSource, Lineage, Seconds, Strict
from vila2.evaluation.verdict import VerdictKind
from vila2.evaluation.warnings import CaptionWarning
from vila2.schemas.rest.estimates import Costs

RoundKind = Literal["baseline", "self", "specialist", "control"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
_PNG = b"\x89PNG\r\n\x1a\n"


class Run(Strict):
    """Which run this is, and how long it took."""

    id: str
    name: str
    recipe: str
    recipe_hash: str
    dataset: str
    state: str
    started: datetime | None = None
    finished: datetime | None = None
    seconds: Seconds = 0.0


class Benchmark(Strict):
    """A benchmark by name; the description is shown under the table of scores."""

    name: str
    description: str = ""


class MacroScore(Strict):
    """A mean over benchmarks with its interval; 1.0 is full marks."""

    score: Finite
    low: Finite
    high: Finite


class Score(MacroScore):
    """A benchmark's score over `n` items."""

    n: Count


class SeedScore(Strict):
    """One training of a round with several seeds: its model and its macro score."""

    seed: int
    model: str
    macro: Finite


class Difference(Strict):
    """A paired difference of macro scores with its interval; 0.01 is one point."""

    difference: Finite
    low: Finite
    high: Finite


class RoundVerdict(Difference):
    """A round's verdict; `difference`, `low` and `high` are against the best round before it."""

    kind: VerdictKind
    evidence: str


class Comparison(Difference):
    """The paired difference of macro scores: the round named `round` minus a control."""

    round: str


class Layer(Strict):
    """Counts of a caption layer's samples: captioned, or quarantined by reason."""

    captioned: Count
    quarantined: dict[str, Count] = {}


class Stage(Strict):
    """One training stage; `losses` holds (step, training loss)."""

    name: str
    steps: Count
    seconds: Seconds
    losses: list[tuple[Count, Finite]] = []


class Trained(Strict):
    """A model that the run trained, what it was trained on, and what it scored."""

    name: str
    model: str
    scores: dict[str, Score] = {}
    caption_metrics: CaptionMetrics | None = None
    layer: Layer | None = None
    stages: list[Stage] = []
    seconds: Seconds = 0.0


class Specialist(Trained):
    """A specialist: trained for one skill, it captions the data for the generalist."""


class Round(Trained):
    """A generalist: the baseline, a self-augmented round, a specialist round, or a control.

    Of a round that was trained with several seeds, `scores`, `macro` and all differences are over
    all of them; `model`, `stages` and what its captions are like are the first seed's.
    """

    index: Count
    kind: RoundKind
    macro: MacroScore | None = None
    seeds: list[SeedScore] = Field([], description="Where there are several.")
    verdict: RoundVerdict | None = None
    since_baseline: Difference | None = None
    claims: ClaimMetrics | None = Field(None, description="Within equal words for every round.")
    claims_whole: ClaimMetrics | None = Field(None, description="Of the answers in full.")
    warnings: list[CaptionWarning] = []
    says: str = Field("", description="Of a control: what it shows.")
    best_above: Comparison | None = Field(
        None, description="Of a control: how far the best round is above it."
    )


class Example(Strict):
    """One image with its original text and its captions, round name -> caption."""

    key: str
    image_png_base64: str
    original: str
    captions: dict[str, str] = {}

    @field_validator("image_png_base64")
    @classmethod
    def _is_a_png(cls, value: str) -> str:
        try:
            data = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not base64: {error}") from error
        if not data.startswith(_PNG) or len(data) < 24:
            raise ValueError("not a PNG image")
        return value

    @property
    def size(self) -> tuple[int, int]:
        """The image's width and height in pixels, from the PNG's header."""
        header = base64.b64decode(self.image_png_base64[:32])
        return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


class Dataset(Strict):
    """What was submitted, and what was refused for which reason."""

    samples: Count
    shards: Count
    rejected: dict[str, Count] = {}


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class RunReport(Strict):
    """Everything that a run's report shows."""

    run: Run
    dataset: Dataset
    benchmarks: list[Annotated[Benchmark, BeforeValidator(_named)]]
    rounds: list[Round]
    specialists: list[Specialist] = []
    examples: list[Example] = Field([], description="Images drawn at random.")
    worst: list[Example] = Field(
        [], description="Images of the newest captions that their captioner was least sure of."
    )
    recipe_yaml: str = Field("", description="What the recipe sets, as YAML.")
    sources: list[DataSource] = []
    notes: list[str] = []
    costs: Costs | None = None
    lineage: list[Lineage] = []
    seed_sd: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Standard deviation of the macro score between seeds, pooled over all rounds, "
        "beyond what chance answers explain; null where no round has two seeds.",
    )

    @model_validator(mode="after")
    def _scores_are_of_known_benchmarks(self) -> RunReport:
        known = {benchmark.name for benchmark in self.benchmarks}
        for trained in (*self.rounds, *self.specialists):
            if unknown := sorted(set(trained.scores) - known):
                raise ValueError(
                    f"{trained.name}: scores of {unknown}, which are not among the report's"
                    f" benchmarks {sorted(known)}"
                )
        names = [round_.name for round_ in self.rounds]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"round names {twice} appear twice; captions refer to them by name")
        return self

    @property
    def warnings(self) -> list[tuple[str, CaptionWarning]]:
        """Every warning with the round that it is about."""
        return [(r.name, warning) for r in self.main_rounds for warning in r.warnings]

    @property
    def main_rounds(self) -> list[Round]:
        """The rounds of the method itself, by index."""
        return sorted((r for r in self.rounds if r.kind != "control"), key=lambda r: r.index)

    @property
    def controls(self) -> list[Round]:
        """The control rounds, by index."""
        return sorted((r for r in self.rounds if r.kind == "control"), key=lambda r: r.index)
