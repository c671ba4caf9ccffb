"""Caption quality and accuracy per round, computed over the first shards.

One shard of the dataset (up to 50,000 images, the same ones for every round) and one of each
benchmark: enough for every figure, and as little to read at 10^9 images as at 10^3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from vila2.client import Client
from vila2.data.layers import CAPTIONED, CaptionRow, decode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.evaluation.metrics.captions import CaptionMetrics, compute
from vila2.evaluation.metrics.claims import (
    WHOLE,
    ClaimMetrics,
    Truth,
    check,
    matched_budget,
    truths_of,
)
from vila2.evaluation.outcomes import Outcome
from vila2.evaluation.warnings import CaptionWarning, caption_warnings
from vila2.schemas.refs import DatasetRef

ItemKey = tuple[str, str]  # benchmark, item


def first_samples(platform: Client, dataset: DatasetRef) -> list[Sample]:
    """The samples of a dataset's first shard."""
    return list(read_shard(platform.datasets.shard_content(dataset.name, dataset.version, 0)))


def first_captions(platform: Client, layer: str) -> list[CaptionRow]:
    """The captions of a layer's first shard."""
    return decode_layer_shard(platform.datasets.layer_content(layer, 0))


def layer_metrics(
    rows: Sequence[CaptionRow],
    samples: Sequence[Sample],
    *,
    also_in: Sequence[CaptionRow] = (),
    budget: int = 64,
) -> CaptionMetrics | None:
    """Metrics of the captions that passed the gate, `None` if none did.

    With `also_in`, of the images alone that have a caption there as well.
    """
    others = {row.key for row in also_in if row.status == CAPTIONED}
    originals = {sample.key: sample.caption for sample in samples}
    kept = [
        row
        for row in rows
        if row.status == CAPTIONED and row.key in originals and (not also_in or row.key in others)
    ]
    if not kept:
        return None
    return compute(
        [row.caption for row in kept],
        [originals[row.key] for row in kept],
        consistency=[row.consistency for row in kept],
        budget=budget,
    )


def benchmark_truths(platform: Client, benchmarks: Sequence[DatasetRef]) -> dict[ItemKey, Truth]:
    """What the images of the benchmarks' captioning items show, by benchmark and item."""
    items: list[Mapping[str, Any]] = [
        item
        for dataset in benchmarks
        for sample in first_samples(platform, dataset)
        for item in sample.items
    ]
    found: dict[ItemKey, Truth] = {}
    items.sort(key=lambda item: str(item["benchmark"]))
    for benchmark, group in groupby(items, key=lambda item: str(item["benchmark"])):
        truths = truths_of({str(item["id"]): item for item in group})
        found |= {(benchmark, item): truth for item, truth in truths.items()}
    return found


def checked(
    rounds: Mapping[str, Sequence[Outcome]],
    truths: Mapping[ItemKey, Truth],
    *,
    whole: bool = False,
) -> dict[str, ClaimMetrics]:
    """How true each round's answers to the captioning items are, all cut to one word budget.

    With `whole`, every answer in full: what it recalls, and what its length costs in precision.
    """
    captions = {
        name: {(o.benchmark, o.item): o.answer for o in outcomes if (o.benchmark, o.item) in truths}
        for name, outcomes in rounds.items()
    }
    captions = {name: held for name, held in captions.items() if held}
    texts = [list(held.values()) for held in captions.values()]
    budget = WHOLE if whole else matched_budget(texts)
    return {
        name: check(list(held.values()), [truths[key] for key in held], budget=budget)
        for name, held in captions.items()
    }


def warnings_between(
    before: Sequence[CaptionRow],
    after: Sequence[CaptionRow],
    samples: Sequence[Sample],
    *,
    claims_before: ClaimMetrics | None,
    claims_after: ClaimMetrics | None,
) -> list[CaptionWarning]:
    """Warnings about a layer against the one of the round before, over the images of both."""
    first = layer_metrics(before, samples, also_in=after)
    second = layer_metrics(after, samples, also_in=before)
    if first is None or second is None:
        return []
    return caption_warnings(first, second, claims_before=claims_before, claims_after=claims_after)
