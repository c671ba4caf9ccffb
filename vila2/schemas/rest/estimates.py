"""REST models of estimates and costs of runs."""

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
    """A quantity with a range; the estimate's `ranges` defines `low` and `high`."""

    low: float = Field(ge=0)
    mid: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low <= self.mid <= self.high:
            raise ValueError(
                f"{self.low}, {self.mid}, {self.high}: must satisfy low <= mid <= high"
            )
        return self


class Device(Model):
    """A compute device: a GPU, or a process on a CPU core."""

    name: str
    unit: Literal["gpu", "process"]
    peak_tflops: float = Field(gt=0, description="TFLOP/s at the training precision.")
    training: Range = Field(description="Share of the peak reached in training (MFU).")
    captioning: Range = Field(description="Share of the peak reached in captioning.")


class EstimateIn(Body):
    """A recipe to estimate; no run is started."""

    model_config = example(recipe=RECIPE, sample=0, device="cpu", price_per_hour=0.08)

    recipe: dict[str, Any] = Field(description="The recipe.")
    captioner: str = Field(
        "",
        description="Model that captions the sample; empty: the newest of the recipe's preset.",
    )
    sample: int = Field(
        200, ge=0, le=2000, description="Images to caption for measurement; 0 for none."
    )
    device: DeviceName | None = Field(
        None,
        description="Device to assume if no job of the preset has run; null: reject the request.",
    )
    peak_tflops: float | None = Field(
        None, ge=1e-3, le=1e6, description="Peak TFLOP/s; null: the device's own."
    )
    mfu: float | None = Field(None, ge=1e-4, le=1, description="MFU; null: the device's `mid`.")
    history: bool = Field(
        True,
        description="Use speeds measured in earlier jobs and the sample, not the device's.",
    )
    price_per_hour: float | None = Field(
        None,
        ge=0,
        le=1e9,
        description="Price of one device in any currency; null: no cost is estimated.",
    )
    captioners: int = Field(1, ge=1, le=1_000_000, description="Devices that caption concurrently.")


class Sampled(Model):
    """Measurements from captioning a sample of the recipe's dataset."""

    captioner: str
    images: int
    captioned: int
    quarantined: dict[str, int] = {}
    tokens: Range = Field(description="Tokens per caption: 95 % interval of the mean.")
    tokens_per_word: float
    attempts: float = Field(description="Mean number of attempts per image.")
    seconds: Range = Field(description="Seconds per image: fastest call, mean, slowest call.")


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
    """One piece of a run's work and its estimate."""

    round: str
    work: Work
    what: str = Field("", description="The specialist whose work it is; else empty.")
    certain: bool = Field(description="Whether it is needed even if the loop saturates early.")
    images: Range = Field(
        description="Images captioned, images visited in training, or questions evaluated."
    )
    tokens: Range | None = Field(None, description="Text tokens generated or trained on.")
    hours: Range = Field(description="Device-hours.")
    wall_hours: Range
    money: Range | None = None
    basis: Basis
    says: str = Field(description="What the figures are based on.")


class Total(Model):
    """Totals over all lines."""

    captioned: Range
    tokens: Range = Field(description="Tokens of captions.")
    hours: Range
    wall_hours: Range
    money: Range | None = None


class Estimate(Model):
    """An estimate of a run of a recipe; `created_at` is in seconds since 1970."""

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
    device: Device | None = Field(
        description="The assumed device; null if all speeds are measured."
    )
    price_per_hour: float | None = None
    sampled: Sampled | None
    lines: list[Line]
    total: Total
    ranges: str = Field(description="Meaning of `low` and `high`.")
    notes: list[str] = []


class CostLine(Model):
    """Usage of one piece of a run's work so far, with its estimate."""

    round: str
    work: Work
    what: str = ""
    state: str
    images: int
    tokens: int | None = Field(None, description="Tokens of captions; null for other work.")
    seconds: float = Field(
        description="Wall-clock seconds: summed over seeds for jobs, over workers for captioning."
    )
    hours: float = Field(description="Device-hours.")
    expected: Line | None = None


class Costs(Model):
    """A run's usage by round and kind of work, with its estimate if there is one."""

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
    estimate: str = Field(description="Newest estimate of the same recipe; empty if there is none.")
    lines: list[CostLine]
    images: int = Field(description="Images captioned, or quarantined after all attempts.")
    tokens: int
    captioning_hours: float
    gpu_hours: float = Field(
        description="GPU-hours of the run's jobs according to the training service."
    )
    process_hours: float
    jobs: int = 0
    attempts: int = Field(0, description="Attempts at these jobs, including failed ones.")
    money: float | None = Field(
        None, description="Cost at the estimate's price; null if it has none."
    )
