"""Overwrite, keep and append: what is asked where a layer starts from another. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vila2.data.layers import CAPTIONED, CaptionRow
from vila2.data.sample import Sample
from vila2.schemas.rest.caption import Mode

Base = Sequence[CaptionRow] | None


def to_caption(samples: Sequence[Sample], base: Base, mode: Mode) -> list[Sample]:
    """The samples that need a new caption: with `keep`, those that the base layer lacks."""
    if mode != "keep" or base is None:
        return list(samples)
    there = {row.key for row in base if row.status == CAPTIONED}
    return [sample for sample in samples if sample.key not in there]


def combined(
    samples: Sequence[Sample], base: Base, made: Sequence[CaptionRow], mode: Mode
) -> list[CaptionRow]:
    """A row for every sample, in order.

    Appending leaves the base's caption alone where the new one was quarantined, and takes the new
    one where the base had none; how the new one was made is what the row tells.
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
