"""What an upload may become: bounded by the size that was uploaded."""

from __future__ import annotations

import gzip
import io
import tarfile
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.datasets.samples import image
from vila2.data.errors import ShardError
from vila2.data.readers import ReadOptions
from vila2.data.readers.allowance import Allowance, Bounds, Meter, OverAllowance, size_of
from vila2.data.sample import RawSample, Turn
from vila2.data.sandboxed_reader import read_apart
from vila2.data.tar.reading import members_of

TIGHT = Bounds(free_rows=100, row_bytes=1000, free_bytes=100_000, expansion=2)


def test_the_allowance_grows_with_what_was_uploaded() -> None:
    assert TIGHT.of(0) == Allowance(rows=100, bytes=100_000, cpu_seconds=600)
    assert TIGHT.of(50_000) == Allowance(rows=150, bytes=200_000, cpu_seconds=600)
    assert Bounds().of(10**13).cpu_seconds == 24 * 3600


def test_rows_and_bytes_are_counted_up_to_the_bound() -> None:
    """A sample of several rows counts as many."""
    meter = Meter(Allowance(rows=4, bytes=1000, cpu_seconds=1), "x")
    for _ in range(2):
        meter.add(RawSample("k", "s", b"123"))
    meter.add(RawSample("k", "s", None, items=({"id": "1"}, {"id": "2"})))
    with pytest.raises(OverAllowance, match="more than 4 rows"):
        meter.add(RawSample("k", "s", None))
    with pytest.raises(OverAllowance, match="more than 1,000 bytes"):
        Meter(Allowance(rows=4, bytes=1000, cpu_seconds=1), "x").add(RawSample("", "", b"1" * 1001))


def test_a_sample_is_as_large_as_its_image_and_texts() -> None:
    made = RawSample(
        "key", "from", b"1234", "caption", turns=(Turn("q", "aa"),), items=({"id": "123"},)
    )
    assert size_of(made) == 3 + 4 + 4 + 7 + 3 + 3


def table(path: Path, rows: int, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=True)
    assert path.stat().st_size < 100_000
    return path


@pytest.mark.parametrize("case", ["rows", "bytes"])
def test_a_small_file_that_claims_much_is_refused(tmp_path: Path, case: str) -> None:
    """Rows without images, or one caption again and again; reading ends at the bound."""
    rows, caption = (50_000, "x") if case == "rows" else (90, "x" * 10_000)
    path = table(
        tmp_path / "t.parquet",
        rows,
        image=pa.array([None] * rows, pa.binary()),
        caption=pa.array([caption] * rows),
    )
    samples = read_apart("parquet", path, ReadOptions(), TIGHT)
    assert len(list(islice(samples, 5))) == 5
    with pytest.raises(OverAllowance, match=case):
        list(samples)


def test_an_honest_file_stays_far_below_the_default_bounds(tmp_path: Path) -> None:
    images = [image(n) for n in range(50)]
    path = tmp_path / "t.parquet"
    captions = [f"image number {n}" for n in range(50)]
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), "caption": captions}), path)
    few = Bounds(free_rows=1, free_bytes=1)
    assert len(list(read_apart("parquet", path, ReadOptions(), few))) == 50


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_a_compressed_tar_of_empty_members_is_refused(
    kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their headers alone are what it expands to."""
    monkeypatch.setattr("vila2.data.tar.reading._MAX_HEADER_BYTES", 1000)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for _ in range(3000):
            member = tarfile.TarInfo("empty")
            member.type = kind
            tar.addfile(member)
    packed = gzip.compress(out.getvalue())
    with pytest.raises(ShardError, match="expands to more than"):
        for _ in members_of(packed, compressed=True):
            pass
