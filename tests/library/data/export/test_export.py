"""Exports: what is written can be read again."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import caption_row, image, sample
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.readers import open_reader
from vila2.data.sample import Sample, Turn
from vila2.data.text import clean_text
from vila2.data.writers import FORMATS, Captioned, export


def captioned(key: str, text: str, **fields) -> Captioned:
    made = sample(key, **fields)
    row = caption_row(key, sha256=made.sha256, caption=text)
    refused = caption_row(key, sha256=made.sha256, status="quarantined", reason="empty")
    return Captioned(made, text, {"round1": row, "ocr": refused})


def written(format: str, directory: Path, *made: Captioned, **options) -> Path:
    export(format, made, directory, card="# Card\n", **options)
    return directory


READERS = {"vila": "webdataset", "txt": "folder"}


def read_back(format: str, directory: Path) -> list[Sample]:
    admission = Admission()
    reader = open_reader(READERS.get(format, format), directory)
    found = list(admission.through(reader.read()))
    assert not admission.rejected
    return found


def text_of(made: Sample) -> str:
    return made.turns[0].answer if made.turns else made.caption


# What a reader gives back is what admission makes of the text: trimmed, valid Unicode.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30).map(clean_text).filter(bool)


@settings(max_examples=25, deadline=None)
@given(told=st.lists(texts | st.sampled_from(["=1+1", "'=x", "-a", "@b", "a,b"]), min_size=1))
@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_read_back_by_the_reader_of_its_format(tmp_path_factory, format, told):
    """Keys, images and texts, in order; an image in a folder has the folder in its key."""
    made = [captioned(f"-{n:03d}", text, image=image(n)) for n, text in enumerate(told)]
    found = read_back(format, written(format, tmp_path_factory.mktemp("e") / "out", *made))
    assert [(f.image, text_of(f)) for f in found] == [(m.sample.image, m.text) for m in made]
    if format != "txt":
        assert [f.key for f in found] == [m.sample.key for m in made]


def record_of(row: dict) -> dict:
    """A row of the Parquet export in the words of the other formats."""
    layers = {held.pop("layer"): held for held in row["captions"]}
    turns = [[turn["question"], turn["answer"]] for turn in row["turns"]]
    return {**row, "captions": layers, "turns": turns, "items": json.loads(row["items"])}


def records(format: str, out: Path) -> list[dict]:
    """What the export says of each sample beside its image."""
    if format == "parquet":
        return [record_of(row) for row in pq.read_table(out / "data").to_pylist()]
    if format != "webdataset":
        return [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]
    found = []
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            named = [m for m in tar.getmembers() if m.name.endswith(".json")]
            found += [json.loads(tar.extractfile(m).read()) for m in named]
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_every_sample_says_where_its_text_comes_from(tmp_path, format):
    """The original text, and each layer's caption with how it was made, quarantines included."""
    turns, items = (Turn("Who?", "A fox."),), ({"id": "q1"},)
    made = captioned(
        "a", "a red fox", caption="fox.jpg", source="web/fox.jpg", turns=turns, items=items
    )
    (record,) = records(format, written(format, tmp_path / "out", made))
    assert (record["caption"], record["original"]) == ("a red fox", "fox.jpg")
    assert (record["source"], record["sha256"]) == ("web/fox.jpg", made.sample.sha256)
    assert (record["turns"], record["items"]) == ([["Who?", "A fox."]], [{"id": "q1"}])
    assert record["captions"]["round1"] == {
        "caption": "a red fox",
        "status": "captioned",
        "reason": "",
        "prompt_id": "short-1",
        "prompt": "Describe the image.",
        "model": "self-1",
        "seed": 7,
        "attempt": 1,
        "temperature": 0.5,
        "tokens": 3,
        "logprob": -0.25,
        "finish_reason": "stop",
        "consistency": None,
    }
    assert record["captions"]["ocr"]["reason"] == "empty"


def test_a_layer_of_texts_alone_and_numbers_that_json_lacks_are_written(tmp_path):
    """NaN would make the line unreadable for other tools."""
    made = sample("a")
    row = caption_row("a", sha256=made.sha256, logprob=float("nan"), consistency=0.5)
    out = written("folder", tmp_path / "out", Captioned(made, "x", {"own": row, "other": "a fox"}))
    (record,) = records("folder", out)
    assert record["captions"]["own"]["logprob"] is None
    assert record["captions"]["own"]["consistency"] == 0.5
    assert record["captions"]["other"] == {"caption": "a fox"}


@pytest.mark.parametrize("format", FORMATS)
def test_a_caption_of_another_image_is_not_exported(tmp_path, format):
    """As where a layer is joined with a newer version of its dataset."""
    made = Captioned(sample("a"), "x", {"round1": caption_row("a", sha256="00" * 32)})
    with pytest.raises(DataError, match=r"sample a: layer 'round1' describes another image"):
        written(format, tmp_path / "out", made)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_samples_stream_through_and_progress_is_told(tmp_path, format):
    """A sample is written before the next is fetched, so that memory holds one."""
    seen: list[tuple[str, int]] = []

    def fetched():
        for number in range(3):
            seen.append(("fetched", number + 1))
            yield captioned(f"k{number}", "x", image=image(number))

    def told(number: int) -> None:
        seen.append(("told", number))

    export(format, fetched(), tmp_path / "out", shard_size=2, card="", progress=told)
    assert seen == [(what, number) for number in (1, 2, 3) for what in ("fetched", "told")]


@pytest.mark.parametrize("format", FORMATS)
def test_the_card_is_the_readme_and_the_summary_counts_all_files(tmp_path, format):
    """The reader passes over the card."""
    out = tmp_path / "new" / "out"
    summary = export(format, [captioned("a", "x")], out, card="# Über\n")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert (out / "README.md").read_text(encoding="utf-8") == "# Über\n"
    assert (summary.samples, summary.files) == (1, len(files))
    assert summary.bytes == sum(path.stat().st_size for path in files)


def test_tars_hold_at_most_shard_size_samples(tmp_path):
    """And none is empty."""
    made = [captioned(f"k{n}", "x", image=image(n)) for n in range(4)]
    out = written("webdataset", tmp_path / "out", *made, shard_size=2)
    assert sorted(p.name for p in out.glob("*.tar")) == ["00000.tar", "00001.tar"]
    assert len(read_back("webdataset", out)) == 4


def test_conversations_are_exported_with_the_caption_first(tmp_path):
    """The first question alone carries the image marker; a text may be absent there."""
    turns = (Turn("Who?", "Me."),)
    out = written(
        "llava",
        tmp_path / "out",
        captioned("a", "a fox", turns=turns, caption=""),
        captioned("b", "", turns=turns, caption=""),
    )
    rows = json.loads((out / "conversations.json").read_text())
    assert [[m["value"] for m in r["conversations"]] for r in rows] == [
        ["<image>\nDescribe the image in detail.", "a fox", "Who?", "Me."],
        ["<image>\nWho?", "Me."],
    ]


def test_a_spreadsheet_runs_nothing(tmp_path):
    """No cell of the table begins like a formula."""
    evil = captioned("-a", '=HYPERLINK("http://x")', caption="@SUM(A1)")
    out = written("folder", tmp_path / "out", evil)
    with (out / "captions.csv").open(newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([captioned("a", "x"), captioned("a", "y")], "twice"),
        ([captioned("a", "x"), captioned("b", " ")], "no text"),
        ([captioned("a", "x"), captioned("../b", "y", image=image())], "cannot name"),
        ([], "no sample"),
    ],
)
def test_an_export_that_cannot_be_whole_leaves_nothing(tmp_path, format, made, message):
    """No half-written folder is taken for a dataset."""
    with pytest.raises(DataError, match=message):
        export(format, made, tmp_path / "out", card="")
    assert list(tmp_path.iterdir()) == []


def test_an_export_does_not_mix_with_other_files(tmp_path):
    """An empty folder is fine, a used one is refused untouched."""
    (tmp_path / "empty").mkdir()
    written("folder", tmp_path / "empty", captioned("a", "x"))
    with pytest.raises(DataError, match="not an empty folder"):
        written("folder", tmp_path / "empty", captioned("a", "x"))


@pytest.mark.parametrize(("format", "size"), [("tfrecord", 1), ("folder", 0)])
def test_an_unknown_format_or_size_is_refused_at_once(tmp_path, format, size):
    """Before anything is read or written."""
    with pytest.raises(DataError, match=r"unknown format|shard_size"):
        export(format, iter([]), tmp_path / "out", shard_size=size, card="")


@pytest.mark.parametrize("marker", ["<image>", "<video>", "<im_end>"])
@pytest.mark.parametrize("format", ["llava", "vila"])
def test_a_caption_that_tells_of_a_marker_holds_none(tmp_path, format, marker):
    """A trainer would look for a second image; how many were changed is counted."""
    told = captioned("a", f"put the {marker} tag first", turns=(Turn(f"{marker}?", marker),))
    summary = export(
        format, [told, captioned("b", "plain", image=image(9))], tmp_path / "out", card=""
    )
    assert summary.markers == 1
    if format == "llava":
        rows = json.loads((tmp_path / "out/conversations.json").read_text())
        texts = [m["value"] for row in rows for m in row["conversations"]]
        assert sum(text.count("<image>") for text in texts) == 2
        assert texts[1] == f"put the < {marker[1:]} tag first"
        assert [s.turns[0].answer for s in read_back("llava", tmp_path / "out")][1] == "plain"
    else:
        table = json.loads((tmp_path / "out/000000.tar.json").read_text())
        assert table["a.png"] == {"output": f"put the < {marker[1:]} tag first"}


def test_a_row_with_two_markers_for_one_image_is_malformed(tmp_path):
    """Dropping one would move what is asked."""
    talk = [{"from": "human", "value": "<image> or <image>?"}, {"from": "gpt", "value": "x"}]
    (tmp_path / "a.png").write_bytes(image())
    rows = [{"image": "a.png", "conversations": talk}]
    (tmp_path / "conversations.json").write_text(json.dumps(rows))
    (found,) = open_reader("llava", tmp_path).read()
    assert str(found.problem).startswith("row-malformed: field conversations has 2 <image>")
