"""REST models of estimates and costs: what a run will take, and what it took."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vila2.schemas.rest.base import Body, Model
from vila2.schemas.rest.controller import RECIPE
from vila2.schemas.rest.examples import AT, RUN, example

Work = Literal["captioning", "training", "evaluation"]
Basis = Literal["measured", "assumed"]
DeviceName = Literal["h100", "a100", "cpu"]


class Range(Model):
    """A quantity and its ends; what `low` and `high` mean, the estimate's `ranges` says."""

    low: float = Field(ge=0)
    mid: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"{self.low}, {self.mid}, {self.high}: low <= mid <= high is needed")
        return self


class Device(Model):
    """What does the work: a GPU, or a process on a CPU core."""

    name: str
    unit: Literal["gpu", "process"]
    peak_tflops: float = Field(gt=0, description="TFLOP/s at the precision that is trained in.")
    training: Range = Field(description="Share of the peak that training reaches (MFU).")
    captioning: Range = Field(description="Share of the peak that captioning reaches.")


class EstimateIn(Body):
    """A recipe to estimate; no run is started."""

    model_config = example(recipe=RECIPE, sample=0, device="cpu", price_per_hour=0.08)

    recipe: dict[str, Any] = Field(description="A recipe's content.")
    captioner: str = Field(
        "", description="Model that captions the sample; empty: the newest of the recipe's preset."
    )
    sample: int = Field(
        200, ge=0, le=2000, description="Images captioned to measure; 0 measures nothing."
    )
    device: DeviceName | None = Field(
        None, description="What is assumed where no job of the preset has run; null: refuse then."
    )
    peak_tflops: float | None = Field(
        None, ge=1e-3, le=1e6, description="In place of the device's own."
    )
    mfu: float | None = Field(
        None, ge=1e-4, le=1, description="In place of the device's middle one."
    )
    history: bool = Field(
        True, description="Use the speed of earlier jobs and of the sample; else the device's."
    )
    price_per_hour: float | None = Field(
        None, ge=0, le=1e9, description="Of one device, in any currency; null: no money is told."
    )
    captioners: int = Field(1, ge=1, le=1_000_000, description="Devices that caption at once.")


class Sampled(Model):
    """What captioning a sample of the recipe's own dataset showed."""

    captioner: str
    images: int
    captioned: int
    quarantined: dict[str, int] = {}
    tokens: Range = Field(description="Tokens of one caption: 95 % interval of the mean.")
    tokens_per_word: float
    attempts: float = Field(description="Tries of one image, on average.")
    seconds: Range = Field(description="Seconds of one image: fastest call, all, slowest call.")


_SPAN = {"low": 0.8, "mid": 1.0, "high": 1.4}
_LINE: dict[str, Any] = {
    "round": "round 1",
    "work": "captioning",
    "certain": True,
    "images": {"low": 4000, "mid": 4000, "high": 4000},
    "hours": _SPAN,
    "wall_hours": _SPAN,
    "basis": "measured",
    "says": "speed of 200 sampled images",
}


class Line(Model):
    """One piece of a run's work."""

    round: str
    work: Work
    what: str = Field("", description="The specialist, where it is one's.")
    certain: bool = Field(description="It comes however early the loop saturates.")
    images: Range = Field(description="Images captioned, visited in training, or questions.")
    tokens: Range | None = Field(None, description="Text tokens written or trained on.")
    hours: Range = Field(description="Device-hours.")
    wall_hours: Range
    money: Range | None = None
    basis: Basis
    says: str = Field(description="What is measured and what is assumed.")


class Total(Model):
    """All lines together."""

    captioned: Range
    tokens: Range = Field(description="Tokens of captions.")
    hours: Range
    wall_hours: Range
    money: Range | None = None


class Estimate(Model):
    """What a run of a recipe will take."""

    model_config = example(
        id="estimate-c4ca4238a0b9",
        created_at=AT,
        recipe_name="web-photos-small",
        recipe_hash="b1946ac92492d234",
        unit="process",
        device=None,
        price_per_hour=0.08,
        sampled=None,
        lines=[_LINE],
        total={
            "captioned": {"low": 4000, "mid": 4000, "high": 8000},
            "tokens": {"low": 90_000, "mid": 92_000, "high": 190_000},
            "hours": _SPAN,
            "wall_hours": _SPAN,
        },
        ranges="the slowest and the fastest job of the same preset",
    )

    id: str = ""
    created_at: float = 0.0
    recipe_name: str
    recipe_hash: str
    unit: Literal["gpu", "process"]
    device: Device | None = Field(description="What was assumed; null: all speeds are measured.")
    price_per_hour: float | None = None
    sampled: Sampled | None
    lines: list[Line]
    total: Total
    ranges: str = Field(description="What `low` and `high` mean.")
    notes: list[str] = []


class CostLine(Model):
    """What one piece of a run's work has taken so far, beside what was expected."""

    round: str
    work: Work
    what: str = ""
    state: str
    images: int
    tokens: int | None = Field(None, description="Tokens of captions; null for other work.")
    seconds: float = Field(
        description="By the clock for jobs, summed over seeds; summed over workers for captions."
    )
    hours: float = Field(description="Device-hours.")
    expected: Line | None = None


class Costs(Model):
    """What a run has used, by round and work, beside its estimate if there was one."""

    model_config = example(
        run=RUN,
        estimate="estimate-c4ca4238a0b9",
        lines=[
            {
                "round": "round 1",
                "work": "captioning",
                "state": "done",
                "images": 4000,
                "tokens": 91_724,
                "seconds": 412.5,
                "hours": 0.11,
                "expected": _LINE,
            }
        ],
        images=4000,
        tokens=91_724,
        captioning_hours=0.11,
        gpu_hours=0.0,
        process_hours=0.62,
    )

    run: str
    estimate: str = Field(description="The newest estimate of the same recipe; empty: none.")
    lines: list[CostLine]
    images: int = Field(description="Images captioned, or quarantined after all attempts.")
    tokens: int
    captioning_hours: float
    gpu_hours: float = Field(description="Of its jobs, by the training service's accounts.")
    process_hours: float
    jobs: int = 0
    attempts: int = Field(0, description="Starts of these jobs; more than jobs where some failed.")
    money: float | None = Field(None, description="At the estimate's price; null: it had none.")
