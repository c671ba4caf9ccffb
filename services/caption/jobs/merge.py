"""Merge modes of a layer based on another: overwrite, keep and append. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vila2.data.layers import CAPTIONED, CaptionRow
from vila2.data.sample import Sample
from vila2.schemas.rest.caption import Mode

Base = Sequence[CaptionRow] | None


def to_caption(samples: Sequence[Sample], base: Base, mode: Mode) -> list[Sample]:
    """The samples to caption: with `keep`, only those without a caption in the base layer."""
    if mode != "keep" or base is None:
        return list(samples)
    there = {row.key for row in base if row.status == CAPTIONED}
    return [sample for sample in samples if sample.key not in there]


def combined(
    samples: Sequence[Sample], base: Base, made: Sequence[CaptionRow], mode: Mode
) -> list[CaptionRow]:
    """A row for every sample, in order.

    When appending, the base caption is kept alone if the new one was quarantined, and the new one
    is used alone if the base has none. The row's metadata describes the new caption.
    """
    new = {row.key: row for row in made}
    if base is None:
        return [new[sample.key] for sample in samples]
    old = {row.key: row for row in base}
    rows = []
    for sample in samples:
        before, after = old.get(sample.key), new.get(sample.key)
        if after is None or (before and before.status == CAPTIONED != after.status):
            assert before is not None
            rows.append(before)
        elif mode == "append" and before is not None and before.status == CAPTIONED:
            rows.append(replace(after, caption=f"{before.caption} {after.caption}"))
        else:
            rows.append(after)
    return rows
