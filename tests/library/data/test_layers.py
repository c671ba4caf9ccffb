"""Caption layers: every sample has a row, and every row comes back."""

from __future__ import annotations

import dataclasses
import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import caption_row
from vila2.data.layers import CaptionRow, captions_of, decode_layer_shard, encode_layer_shard

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
number = st.floats(-1e6, 1e6)
rows = st.lists(
    st.builds(
        CaptionRow,
        key=text,
        sha256=text,
        caption=text,
        status=st.sampled_from(["captioned", "quarantined"]),
        reason=text.filter(bool),
        prompt_id=text,
        prompt=text,
        model=text,
        seed=st.integers(-(2**63), 2**63 - 1),
        attempt=st.integers(0, 9),
        temperature=number,
        tokens=st.integers(0, 9999),
        logprob=number,
        finish_reason=text,
        consistency=st.none() | number,
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(made=rows)
def test_a_layer_shard_gives_back_its_rows_in_order(made):
    """Also none at all, and any valid text."""
    data, summary = encode_layer_shard(made)
    assert decode_layer_shard(data) == made
    assert summary.captioned + sum(summary.quarantined.values()) == len(made)


def test_equal_rows_give_equal_bytes_and_the_summary_their_digest():
    """A shard that is captioned again after a crash is the same object."""
    first, summary = encode_layer_shard([caption_row("a")])
    again, _ = encode_layer_shard([caption_row("a")])
    assert first == again
    assert summary.sha256 == hashlib.sha256(first).hexdigest()


def test_the_summary_counts_quarantines_by_reason():
    """The controller's limits look at these counts."""
    made = [
        caption_row("a"),
        caption_row("b", status="quarantined", reason="empty"),
        caption_row("c", status="quarantined", reason="empty"),
        caption_row("d", status="quarantined", reason="cut"),
    ]
    _, summary = encode_layer_shard(made)
    assert (summary.captioned, summary.quarantined) == (1, {"empty": 2, "cut": 1})


@pytest.mark.parametrize(("status", "reason"), [("", ""), ("quarantined", ""), ("lost", "why")])
def test_a_row_whose_fate_is_unknown_is_refused(status, reason):
    """A layer never holds a sample that is neither captioned nor quarantined with a reason."""
    with pytest.raises(ValueError, match="sample b: status"):
        encode_layer_shard([caption_row("a"), caption_row("b", status=status, reason=reason)])


def test_a_quarantined_text_is_kept_but_not_used():
    """One may look at what the gate refused; nobody trains on it."""
    made = [caption_row("a", caption="a fox"), caption_row("b", status="quarantined", reason="x")]
    data, _ = encode_layer_shard(made)
    assert decode_layer_shard(data)[1].caption == "a red fox"
    assert captions_of(made) == {"a": "a fox", "b": None}


def test_a_layer_shard_is_read_from_a_path_too(tmp_path):
    """As the caption worker finds it on disk."""
    path = tmp_path / "0.parquet"
    path.write_bytes(encode_layer_shard([caption_row("a")])[0])
    assert decode_layer_shard(path) == [caption_row("a")]


def test_a_parquet_file_with_other_columns_is_refused(tmp_path):
    """Instead of being read as captions without text."""
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"key": ["a"], "caption": ["a fox"]}), path)
    with pytest.raises((ValueError, TypeError, KeyError)):
        decode_layer_shard(path)


def test_a_layer_without_scores_is_the_file_that_it_was_before_there_were_any():
    """Byte by byte, so that digests hold; and files of then are read."""
    old = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}
    row = caption_row("a")
    columns = [f.name for f in dataclasses.fields(CaptionRow) if f.name != "consistency"]
    kinds = [old[str(pa.scalar(getattr(row, name)).type)] for name in columns]
    held = {name: getattr(row, name) for name in columns}
    table = pa.Table.from_pylist([held], schema=pa.schema(list(zip(columns, kinds, strict=True))))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    written = sink.getvalue().to_pybytes()
    assert encode_layer_shard([row])[0] == written
    assert decode_layer_shard(written) == [row]
    assert decode_layer_shard(written)[0].consistency is None


def test_a_score_is_null_where_a_caption_has_none():
    """As where the text itself was refused."""
    made = [caption_row("a", consistency=0.0), caption_row("b")]
    data, _ = encode_layer_shard(made)
    assert pq.read_table(pa.BufferReader(data))["consistency"].to_pylist() == [0.0, None]
    assert decode_layer_shard(data) == made


def test_every_field_of_a_row_has_its_column():
    """A field added to the row and not to the file would lose provenance."""
    data, _ = encode_layer_shard([caption_row("a", consistency=0.5)])
    columns = pq.read_table(pa.BufferReader(data)).column_names
    assert columns == [field.name for field in dataclasses.fields(CaptionRow)]
