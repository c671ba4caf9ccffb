"""How fast, and where that is known from: what turns pieces of work into hours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.controller.estimates.ranges import spread_of
from vila2.api.estimates import Basis, Device, Range

DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device(
            name="h100", unit="gpu", peak_tflops=989.0,
            training=Range(low=0.3, mid=0.4, high=0.5),
            captioning=Range(low=0.037, mid=0.074, high=0.148),
        ),
        Device(
            name="a100", unit="gpu", peak_tflops=312.0,
            training=Range(low=0.3, mid=0.4, high=0.5),
            captioning=Range(low=0.037, mid=0.074, high=0.148),
        ),
        Device(
            name="cpu", unit="process", peak_tflops=0.1,
            training=Range(low=0.1, mid=0.4, high=0.8),
            captioning=Range(low=0.05, mid=0.1, high=0.4),
        ),
    )
}  # fmt: skip
ASSUMED_DEVICE = {
    "h100": "dense bf16 989 TFLOP/s, MFU 0.3 to 0.5; captioning at half to twice the paper's 10.6 "
    "pictures a second (section 3.6), which is 7.4 % of the peak for its 8B",
    "a100": "dense bf16 312 TFLOP/s, shares of the peak as for h100",
    "cpu": "one core of 0.1 TFLOP/s in fp32 (AVX2), MFU 0.1 to 0.8",
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Device-seconds of one thing, and where they are known from."""

    seconds: Range
    basis: Basis
    says: str


@dataclass(frozen=True, slots=True)
class Observed:
    """One stage of an earlier job: seconds of all its processes, and visits."""

    stage: str
    trainable: frozenset[str]
    process_seconds: float
    visits: int


@dataclass(frozen=True, slots=True)
class History:
    """What earlier jobs of a preset took."""

    stages: Sequence[Observed] = ()
    overheads: Sequence[float] = ()  # process-seconds of a training beside its stages
    evaluations: Sequence[float] = ()  # seconds of one question, the model's loading included
    unit: str = "process"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words of one visit: dataset -> words; and the tokens of captions."""

    words: Mapping[str, float] = field(default_factory=dict)
    tokens_per_word: float = 4 / 3
    caption: Range = field(default_factory=lambda: Range(low=0, mid=0, high=0))


def adjusted(device: Device, *, peak_tflops: float | None, mfu: float | None) -> Device:
    """The device as the caller knows it; a stated MFU lies between 3/4 and 5/4 of itself."""
    peak = peak_tflops or device.peak_tflops
    training = device.training
    if mfu is not None:
        training = Range(low=0.75 * mfu, mid=mfu, high=min(1.0, 1.25 * mfu))
    return device.model_copy(update={"peak_tflops": peak, "training": training})


def measured_stage(history: History, stage: str, trainable: Sequence[str]) -> Speed | None:
    """Seconds of a visit in earlier jobs: of the same stage, else of one with the same parts."""
    same = [o for o in history.stages if o.stage == stage]
    told = f"stage {stage} of"
    if not same:
        same = [o for o in history.stages if o.trainable == frozenset(trainable)]
        told = "stages that train the same parts, of"
    same = [o for o in same if o.visits]
    if not same:
        return None
    each = [o.process_seconds / o.visits for o in same]
    middle = sum(o.process_seconds for o in same) / sum(o.visits for o in same)
    return Speed(
        spread_of(each, middle=middle),
        "measured",
        f"{told} {len(same)} earlier job(s), least to most",
    )


def for_length(seconds: Range, sampled: Range, tokens: Range) -> Range:
    """Seconds of a caption of another length than the sampled ones, in proportion to its tokens.

    The high end of a shorter one is not lowered: its picture takes as long to read.
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
    """Seconds for so many operations at the device's share of its peak: the least at the most."""
    peak = device.peak_tflops * 1e12
    return Range(
        low=flops / (peak * share.high), mid=flops / (peak * share.mid),
        high=flops / (peak * share.low),
    )  # fmt: skip


def assumed_caption(max_new_tokens: int) -> Range:
    """Tokens of a caption that nobody sampled: Table 1's rounds at 4/3 tokens a word."""
    most = float(max_new_tokens)
    low, mid = min(most, 101 * 4 / 3), min(most, 127 * 4 / 3)
    return Range(low=min(low, most / 2), mid=min(mid, most), high=most)
