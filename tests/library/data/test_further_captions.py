"""Several captions of one image: all are kept, and an assembly says which it uses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.support.datasets.samples import image, sample
from vila2.data.admission import Admission, admit
from vila2.data.assembly import assemble
from vila2.data.index import index_row, sample_of
from vila2.data.readers import open_reader
from vila2.data.sample import RawSample, Rejected, Sample
from vila2.data.shards import read_raw_shard, read_shard, write_raw_shard, write_shard
from vila2.data.writers import Captioned, export
from vila2.schemas.assembly import Assembly

RAW = RawSample("a", "a.png", image(), " one ", more_captions=("two", "", "one", "three "))


def admitted(raw: RawSample) -> Sample:
    made = admit(raw)
    assert isinstance(made, Sample)
    return made


def test_they_are_cleaned_and_repetitions_left_out() -> None:
    made = admitted(RAW)
    assert (made.caption, made.more_captions) == ("one", ("two", "three"))
    first = admitted(RawSample("a", "a.png", image(), "", more_captions=("two",)))
    assert (first.caption, first.more_captions) == ("two", ())


def test_they_are_no_quarantined_samples_but_a_note() -> None:
    admission = Admission()
    admission.admit(RAW)
    assert (admission.accepted, dict(admission.rejected)) == (1, {})
    assert admission.notes == {"further-captions": 1}


def test_a_further_caption_that_is_too_long_is_told() -> None:
    made = admit(RawSample("a", "a.png", image(), "x", more_captions=("y" * 9_000,)))
    assert isinstance(made, Rejected)
    assert made.reason == "caption-too-long"


def test_uploads_shards_and_indexes_keep_them() -> None:
    out = io.BytesIO()
    write_raw_shard([RAW], out)
    assert list(read_raw_shard(out.getvalue())) == [RAW]
    made, out = admitted(RAW), io.BytesIO()
    write_shard([made], out)
    assert list(read_shard(out.getvalue())) == [made]
    assert sample_of(index_row(made, 0), made.image) == made


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_exports_that_hold_all_of_a_sample_give_them_back(tmp_path: Path, format: str) -> None:
    made = admitted(RAW)
    export(format, [Captioned(made, "new", {})], tmp_path / "out", card="")
    (found,) = open_reader(format, tmp_path / "out").read()
    assert (found.caption, found.more_captions) == ("new", ("two", "three"))


@pytest.mark.parametrize("policy", ["original", "concat"])
def test_an_assembly_may_draw_any_of_them(policy: str) -> None:
    """One a visit, the same each time it is asked; by default the first."""
    made = sample("a", caption="one", more_captions=("two", "three"))
    given = {"policy": policy, "caption_layer": "self" if policy == "concat" else ""}

    def texts(**more: object) -> list[str]:
        assembly = Assembly.model_validate({**given, **more})
        return [
            assemble(made, {"self": "new"}, assembly, seed=1, visit=visit).plain.split(".")[0]
            for visit in range(30)
        ]

    assert set(texts()) == {"one"}
    assert set(texts(originals="any")) == {"one", "two", "three"}
    assert texts(originals="any") == texts(originals="any")


def test_drawing_leaves_the_other_draws_as_they_are() -> None:
    """A recipe that changes nothing else mixes the same samples."""
    made = sample("a", caption="one", more_captions=("two",))

    def captioned(originals: str) -> list[bool]:
        assembly = Assembly.model_validate(
            {"policy": "mix", "caption_layer": "self", "p": 0.5, "originals": originals}
        )
        return [
            assemble(made, {"self": "new"}, assembly, seed=1, visit=visit).plain == "new"
            for visit in range(50)
        ]

    assert captioned("first") == captioned("any")
