"""Which captions of a layer are trained on: a share of them, the best first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.datasets.samples import caption_row
from vila2.data.errors import DataError
from vila2.data.layers import QUARANTINED, CaptionRow, captions_of, encode_layer_shard
from vila2.schemas.assembly import Assembly
from vila2.schemas.train_spec import Source
from vila2.training.batches.caption_filter import Kept

# The surest captions are those that owe the image least.
SURE = [caption_row(f"k{n}", logprob=-0.1 * n, consistency=0.2 * n) for n in range(6)]
REFUSED = caption_row("q", status=QUARANTINED, reason="inconsistent", consistency=9.0, logprob=0.0)


def kept(folder: Path, rows: list[CaptionRow], **how: object) -> set[str]:
    """Keys whose caption is kept, of a layer in two shards."""
    paths = []
    for number, part in enumerate((rows[:3], rows[3:])):
        path = folder / f"{number}.parquet"
        path.write_bytes(encode_layer_shard(part)[0])
        paths.append(str(path))
    assembly = Assembly(policy="recaption", caption_layer="self")
    source = Source.model_validate(
        {"name": "s", "shards": paths, "layers": {"self": paths}, "assembly": assembly, **how}
    )
    choice = Kept(source, "self")
    return {row.key for row in rows if choice.caption(row)}


def test_the_most_confident_half_is_kept_unless_said_otherwise(tmp_path: Path) -> None:
    half = {"keep_fraction": {"self": 0.5}}
    assert kept(tmp_path, [*SURE, REFUSED], **half) == {"k0", "k1", "k2"}
    scored = {**half, "keep_by": {"self": "consistency"}}
    assert kept(tmp_path, [*SURE, REFUSED], **scored) == {"k3", "k4", "k5"}


def test_all_are_kept_whatever_they_would_be_kept_by(tmp_path: Path) -> None:
    """Also without a score."""
    rows = [caption_row("a"), *SURE]
    assert kept(tmp_path, rows, keep_by={"self": "consistency"}) == set(captions_of(rows))


def test_a_layer_that_was_not_scored_cannot_be_kept_by_its_scores(tmp_path: Path) -> None:
    """Instead of keeping by something else, or nothing."""
    how = {"keep_fraction": {"self": 0.5}, "keep_by": {"self": "consistency"}}
    with pytest.raises(DataError, match=r"layer 'self' .* in 1.parquet .*score: true"):
        kept(tmp_path, [*SURE, caption_row("a")], **how)
