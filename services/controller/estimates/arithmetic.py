"""Ranges and speeds: from measurements or assumptions to device-seconds. Pure.

Sums and products combine every low end with every low end and every high end with every high end.
The result is wider than an interval of the total, because how the parts depend on each other is
unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from vila2.schemas.rest.estimates import Basis, Device, Range

RANGES = (
    "low and high are not a confidence interval. low: the loop saturates as early as its patience "
    "allows, and every speed and length lies at the favourable end of what was seen or assumed; "
    "high: every round of the recipe is needed, and all lie at the other end. mid: every round, at "
    "middle speeds and lengths."
)
# Of the standard normal: the mean's interval holds in 95 % of samples, if these are not tiny.
_Z = 1.96
_WORD_TOKENS = 4 / 3


def exactly(value: float) -> Range:
    """A quantity that is known."""
    return Range(low=value, mid=value, high=value)


def plus(parts: Iterable[Range]) -> Range:
    """Sum of both quantities."""
    held = list(parts)
    return Range(
        low=math.fsum(p.low for p in held),
        mid=math.fsum(p.mid for p in held),
        high=math.fsum(p.high for p in held),
    )


def times(left: Range, right: Range | float) -> Range:
    """The product with another quantity that is not negative, or with a number."""
    other = right if isinstance(right, Range) else exactly(right)
    return Range(low=left.low * other.low, mid=left.mid * other.mid, high=left.high * other.high)


def at_most(value: Range, limit: float) -> Range:
    """No end above a limit."""
    return Range(low=min(value.low, limit), mid=min(value.mid, limit), high=min(value.high, limit))


def perhaps(value: Range) -> Range:
    """The same quantity with its low end at zero, for work that may not be needed."""
    return Range(low=0.0, mid=value.mid, high=value.high)


def mean_of(values: Sequence[float]) -> Range:
    """The mean of a sample, with its 95 % interval (normal approximation).

    The range of a single value is that value. Raises `ValueError` if there are no values.
    """
    if not values:
        raise ValueError("there is nothing to take the mean of")
    mean = fmean(values)
    half = _Z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Range(low=max(0.0, mean - half), mid=mean, high=mean + half)


def spread_of(values: Sequence[float], *, middle: float | None = None) -> Range:
    """The smallest and largest value, around their mean or another middle."""
    if not values:
        raise ValueError("there is nothing to take the spread of")
    mid = fmean(values) if middle is None else middle
    return Range(low=min(*values, mid), mid=mid, high=max(*values, mid))


_GPU = {
    "unit": "gpu",
    "training": Range(low=0.3, mid=0.4, high=0.5),
    "captioning": Range(low=0.037, mid=0.074, high=0.148),
}
DEVICES: Mapping[str, Device] = {
    "h100": Device(name="h100", peak_tflops=989.0, **_GPU),
    "a100": Device(name="a100", peak_tflops=312.0, **_GPU),
    "cpu": Device(
        name="cpu", unit="process", peak_tflops=0.1,
        training=Range(low=0.1, mid=0.4, high=0.8),
        captioning=Range(low=0.05, mid=0.1, high=0.4),
    ),
}  # fmt: skip
ASSUMED_DEVICE = {
    "h100": "dense bf16 989 TFLOP/s, MFU 0.3 to 0.5; captioning at half to twice the paper's 10.6 "
    "images a second (section 3.6), which is 7.4 % of the peak for its 8B",
    "a100": "dense bf16 312 TFLOP/s, shares of the peak as for h100",
    "cpu": "one core of 0.1 TFLOP/s in fp32 (AVX2), MFU 0.1 to 0.8",
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Device-seconds of one unit of work, and the source of the number."""

    seconds: Range
    basis: Basis
    says: str


@dataclass(frozen=True, slots=True)
class Observed:
    """One stage of an earlier job: process-seconds and sample visits."""

    stage: str
    trainable: frozenset[str]
    process_seconds: float
    visits: int


@dataclass(frozen=True, slots=True)
class History:
    """Durations of earlier jobs of a preset."""

    stages: Sequence[Observed] = ()
    overheads: Sequence[float] = ()  # process-seconds of a training beside its stages
    evaluations: Sequence[float] = ()  # seconds of one question, the model's loading included
    unit: str = "process"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words of one visit by dataset, and the tokens of captions."""

    words: Mapping[str, float] = field(default_factory=dict)
    tokens_per_word: float = _WORD_TOKENS
    caption: Range = field(default_factory=lambda: exactly(0))


def adjusted(device: Device, *, peak_tflops: float | None, mfu: float | None) -> Device:
    """The device as the caller knows it; a stated MFU ranges from 3/4 to 5/4 of itself."""
    peak = peak_tflops or device.peak_tflops
    training = device.training
    if mfu is not None:
        training = Range(low=0.75 * mfu, mid=mfu, high=min(1.0, 1.25 * mfu))
    return device.model_copy(update={"peak_tflops": peak, "training": training})


def measured_stage(history: History, stage: str, trainable: Sequence[str]) -> Speed | None:
    """Seconds of a visit in earlier jobs: of the same stage, else of one with the same parts."""
    same = [o for o in history.stages if o.stage == stage]
    source = f"stage {stage} of"
    if not same:
        same = [o for o in history.stages if o.trainable == frozenset(trainable)]
        source = "stages that train the same parts, of"
    same = [o for o in same if o.visits]
    if not same:
        return None
    each = [o.process_seconds / o.visits for o in same]
    middle = sum(o.process_seconds for o in same) / sum(o.visits for o in same)
    says = f"{source} {len(same)} earlier job(s), least to most"
    return Speed(spread_of(each, middle=middle), "measured", says)


def for_length(seconds: Range, sampled: Range, tokens: Range) -> Range:
    """Seconds of a caption of another length than the sampled ones, in proportion to its tokens.

    The high end of a shorter one is not lowered: its image takes as long to read.
    """
    if not sampled.mid:
        return seconds
    ratio = tokens.mid / sampled.mid
    return Range(
        low=seconds.low * min(1.0, ratio),
        mid=seconds.mid * ratio,
        high=seconds.high * max(1.0, ratio, tokens.high / sampled.high),
    )


def by_flops(flops: float, device: Device, share: Range) -> Range:
    """Seconds for a number of operations at the device's share of its peak."""
    peak = device.peak_tflops * 1e12
    low, mid, high = (flops / (peak * end) for end in (share.high, share.mid, share.low))
    return Range(low=low, mid=mid, high=high)


def assumed_caption(max_new_tokens: int) -> Range:
    """Tokens of a caption without a sample: the rounds of the paper's Table 1."""
    most = float(max_new_tokens)
    low, mid = min(most, 101 * _WORD_TOKENS), min(most, 127 * _WORD_TOKENS)
    return Range(low=min(low, most / 2), mid=mid, high=most)
