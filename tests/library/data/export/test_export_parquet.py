"""The Parquet export is read by Hugging Face's own library, without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.library.data.export.test_card import GIVEN
from tests.library.data.export.test_export import record_of
from tests.support.datasets.samples import caption_row, image, sample
from vila2.data.sample import Turn
from vila2.data.writers import Captioned, dataset_card, export
from vila2.data.writers import parquet as writer

LOADS = """
import hashlib, json, socket, sys

def refuse(*_):
    raise OSError("there is no network here")

socket.socket.connect = refuse
import datasets
import pyarrow.parquet as pq

found = datasets.load_dataset(sys.argv[1], split="train")
sizes = [row["image"].size for row in found]
rows = list(found.cast_column("image", datasets.Image(decode=False)))
for row in rows:
    row["image"]["bytes"] = hashlib.sha256(row["image"]["bytes"]).hexdigest()
told = {
    "image": type(found.features["image"]).__name__,
    "as_in_the_files": found.features == datasets.Features.from_arrow_schema(
        pq.read_schema(sys.argv[2])
    ),
}
print(json.dumps({"sizes": sizes, "rows": rows, **told}))
"""
CARD = dataset_card(**{**GIVEN, "format": "parquet"})


def made(number: int) -> Captioned:
    key = f"k{number}"
    held = sample(
        key,
        image=image(number, size=(20 + number, 12)),
        caption=f"original {number}",
        width=20 + number,
        source=f"https://e.org/{number}.png",
        turns=(Turn("Who?", f"Fox {number}."), Turn("Where?", "Here.")) if number else (),
    )
    row = caption_row(key, sha256=held.sha256, caption=f"a fox, {number}", seed=2**62,
                      consistency=number / 4)  # fmt: skip
    refused = caption_row(key, sha256=held.sha256, status="quarantined", reason="empty")
    layers = {"round1": row, "ocr": refused, "other": "text alone"}
    return Captioned(held, f"caption Ü {number}", layers)


def loaded(out: Path, cache: Path) -> dict:
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(cache)}
    schema = sorted((out / "data").iterdir())[0]
    command = [sys.executable, "-c", LOADS, str(out), str(schema)]
    done = subprocess.run(
        command, env={**os.environ, **offline}, cwd=cache, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["card", "no card"])
def told(request, tmp_path_factory) -> dict:
    """What `load_dataset` makes of an export whose card has the YAML block, and has not."""
    folder = tmp_path_factory.mktemp("parquet")
    card = CARD if request.param == "card" else "# Card\n"
    export("parquet", map(made, range(5)), folder / "out", shard_size=2, card=card)
    return loaded(folder / "out", folder)


def test_images_are_decoded_and_kept_byte_for_byte(told):
    """`image` is an `Image` column that names each file."""
    assert (told["image"], told["as_in_the_files"]) == ("Image", True)
    assert told["sizes"] == [[20 + number, 12] for number in range(5)]
    assert [row["image"] for row in told["rows"]] == [
        {"bytes": made(number).sample.sha256, "path": f"k{number}.png"} for number in range(5)
    ]


def test_every_row_says_what_the_sample_and_its_layers_say(told):
    """In the words of the other formats' records; a layer of texts alone has nulls."""
    for number, row in enumerate(told["rows"]):
        wanted = json.loads(made(number).record())
        texts = wanted["captions"].pop("other")
        found = record_of(row)
        other = found["captions"].pop("other")
        assert {name: value for name, value in other.items() if value is not None} == texts
        assert {**found, "image": found["image"]["path"]} == wanted


def test_plain_pyarrow_reads_the_same(tmp_path):
    """Images and provenance, every field of each layer's row but what the row says itself."""
    export("parquet", map(made, range(3)), tmp_path / "out", shard_size=2, card="")
    rows = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [made(n).sample.image for n in range(3)]
    assert [row["sha256"] for row in rows] == [
        hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in rows
    ]
    row = asdict(made(2).captions["round1"])
    told = {name: value for name, value in row.items() if name not in ("key", "sha256")}
    assert rows[2]["captions"][0] == {"layer": "round1", **told}


def test_files_are_named_with_their_number_which_is_known_at_the_end(tmp_path):
    """As the hub names them."""
    export("parquet", map(made, range(5)), tmp_path / "out", shard_size=2, card="")
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        f"train-0000{number}-of-00003.parquet" for number in range(3)
    ]


@pytest.mark.parametrize(("rows", "bytes", "sizes"), [(2, 10**9, [2, 2, 1]), (9, 1, [1] * 5)])
def test_a_row_group_is_bounded_in_rows_and_in_bytes(tmp_path, monkeypatch, rows, bytes, sizes):
    """So that neither writer nor reader holds a file; one image may be larger."""
    monkeypatch.setattr(writer, "GROUP_ROWS", rows)
    monkeypatch.setattr(writer, "GROUP_BYTES", bytes)
    export("parquet", map(made, range(5)), tmp_path / "out", card="")
    (path,) = (tmp_path / "out" / "data").iterdir()
    about = pq.read_metadata(path)
    assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == sizes


def test_memory_does_not_grow_with_the_export(tmp_path, monkeypatch):
    """A hundred times the bound goes through less than ten times of it."""
    monkeypatch.setattr(writer, "GROUP_BYTES", 1 << 20)
    before, tables = pa.total_allocated_bytes(), []

    def fetched():
        for number in range(200):
            tables.append(pa.total_allocated_bytes() - before)
            yield Captioned(sample(f"k{number}", image=os.urandom(1 << 19)), "x", {})

    tracemalloc.start()
    try:
        export("parquet", fetched(), tmp_path / "out", card="")
        _, rows = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(tables) + rows < 10 << 20


def test_equal_samples_give_equal_bytes(tmp_path):
    """So that an export can be compared by its digests."""
    for name in ("one", "other"):
        export("parquet", map(made, range(3)), tmp_path / name, card="")
    one, other = (next((tmp_path / n / "data").iterdir()).read_bytes() for n in ("one", "other"))
    assert one == other
