"""Captions in tables and beside images: quotes, encodings, and names in two Unicode forms."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.datasets.samples import image, tar_of
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.readers.csv_rows import parse_csv
from vila2.data.sample import RawSample

NFC, NFD = "Fußgänger.png", unicodedata.normalize("NFD", "Fußgänger.png")


def fill(root: Path, *names: str, table: str | bytes = "") -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(seed))
    if table:
        data = table if isinstance(table, bytes) else table.encode()
        (root / "captions.csv").write_bytes(data)
    return root


def read(root: Path, format: str = "folder", **options: str) -> list[RawSample]:
    return list(open_reader(format, root, ReadOptions(**options)).read())


def admitted(root: Path, format: str = "folder", **options: str) -> tuple[dict, dict]:
    """Captions by source, and the reasons of the rest with their counts."""
    admission = Admission()
    made = {s.source: s.caption for s in admission.through(read(root, format, **options))}
    return made, dict(admission.rejected)


def test_a_quote_that_is_never_closed_costs_its_own_row(tmp_path: Path) -> None:
    """Python's reader would give it all rows that follow as its caption."""
    table = 'image,caption\na.png,"a note that begins\nb.png,a ball\nc.png,a hat\n'
    fill(tmp_path, "a.png", "b.png", "c.png", table=table)
    captions, rejected = admitted(tmp_path)
    assert captions == {"b.png": "a ball", "c.png": "a hat"}
    assert rejected == {"row-malformed": 1, "caption-missing": 1}


def test_a_quote_that_a_later_row_closes_costs_its_own_row(tmp_path: Path) -> None:
    """The row between them is no text of the first, since it names an image."""
    table = 'image,caption\na.png,"a note\nb.png,a ball\nc.png,a hat"\n'
    fill(tmp_path, "a.png", "b.png", "c.png", table=table)
    captions, rejected = admitted(tmp_path)
    assert captions == {"b.png": "a ball", "c.png": 'a hat"'}
    assert rejected == {"row-malformed": 1, "caption-missing": 1}


@pytest.mark.parametrize("cell", ['"a sign that says "STOP" in white"', '"a 15" screen"'])
def test_quotes_that_are_not_doubled_make_the_row_malformed(tmp_path: Path, cell: str) -> None:
    """Instead of a caption that lost some of them."""
    fill(tmp_path, "a.png", "b.png", table=f"image,caption\na.png,{cell}\nb.png,x\n")
    captions, rejected = admitted(tmp_path)
    assert (captions, rejected) == ({"b.png": "x"}, {"row-malformed": 1, "caption-missing": 1})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_cell_of_several_lines_stays_whole(tmp_path: Path, end: str) -> None:
    table = end.join(["image,caption", 'a.png,"one', 'two"', 'b.png,a 15" screen\x0b', ""])
    fill(tmp_path, "a.png", "b.png", table=table)
    assert [raw.caption for raw in read(tmp_path)] == [f"one{end}two", 'a 15" screen\x0b']


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1))
def test_what_csv_writes_comes_back(rows: list[tuple[str, str, str]]) -> None:
    """Cells of any text."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    lines = io.StringIO(out.getvalue(), newline="")
    assert [row.cells for row in parse_csv(lines)] == rows


_LINES = st.text(st.sampled_from('ab,"\n'), max_size=60)


@given(_LINES, _LINES)
def test_a_malformed_row_takes_no_line_from_the_next(before: str, after: str) -> None:
    """Lines that are well formed alone are rows, whatever stands above them."""
    good = [f"x{n},y{n}\n" for n in range(3)]
    lines = io.StringIO(f"{before}\n{''.join(good)}{after}", newline="")

    def begins_row(cells: list[str]) -> bool:
        return cells in [["x0", "y0"], ["x1", "y1"], ["x2", "y2"]]

    held = [row.cells for row in parse_csv(lines, begins_row=begins_row)]
    assert all((f"x{n}", f"y{n}") in held for n in range(3))


HEADER = b"image,caption\n"
WRITERS: dict[str, Callable[[Path, bytes], object]] = {
    "folder": lambda path, text: (path / "a.txt").write_bytes(text),
    "table": lambda path, text: (path / "captions.csv").write_bytes(
        b"image,caption\na.png," + text
    ),
    "json": lambda path, text: (path / "a.json").write_bytes(b'{"caption": "' + text + b'"}'),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_text_in_another_encoding_is_refused_or_read_in_the_one_that_is_named(
    tmp_path: Path, kind: str
) -> None:
    """No letter is guessed, and none is lost in silence."""
    fill(tmp_path, "a.png")
    WRITERS[kind](tmp_path, "café".encode("latin-1"))
    assert admitted(tmp_path) == ({}, {"text-not-decoded": 1})
    assert admitted(tmp_path, encoding="latin-1") == ({"a.png": "café"}, {})


@pytest.mark.parametrize("format", ["webdataset", "llava"])
def test_every_format_takes_an_encoding(tmp_path: Path, format: str) -> None:
    talk = [{"image": "a.png", "conversations": [
        {"from": "human", "value": "?"}, {"from": "gpt", "value": "café"}]}]  # fmt: skip
    if format == "llava":
        fill(tmp_path, "a.png")
        data = json.dumps(talk, ensure_ascii=False).encode("latin-1")
        (tmp_path / "conversations.json").write_bytes(data)
    else:
        tar_of(("a.png", image()), ("a.txt", b"caf\xe9"), path=tmp_path / "0.tar")
    assert admitted(tmp_path, format)[1] == {"text-not-decoded": 1}
    assert admitted(tmp_path, format, encoding="latin-1")[1] == {}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_text_that_begins_with_a_mark_is_decoded_by_it(tmp_path: Path, encoding: str) -> None:
    """Windows' editors and spreadsheets write such marks."""
    fill(tmp_path, "a.png", table="image,caption\na.png,café\n".encode(encoding))
    assert admitted(tmp_path) == ({"a.png": "café"}, {})
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "a.txt").write_bytes("café".encode(encoding))
    assert admitted(tmp_path) == ({"a.png": "café"}, {})


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown encoding 'latin-eins'") as caught:
        read(fill(tmp_path, "a.png"), encoding="latin-eins")
    assert caught.value.field == "encoding"


@pytest.mark.parametrize(("named", "held"), [(NFC, NFD), (NFD, NFC)])
def test_a_name_is_found_in_another_unicode_form(tmp_path: Path, named: str, held: str) -> None:
    """By a table, by conversations and beside the image."""
    folder = fill(tmp_path / "t", f"ü/{held}", table=f"image,caption\nü/{named},x\n")
    assert admitted(folder)[1] == {}
    beside = fill(tmp_path / "b", held)
    (beside / Path(named).with_suffix(".txt")).write_text("x")
    assert admitted(beside)[1] == {}
    talk = [{"image": named, "conversations": [
        {"from": "human", "value": "?"}, {"from": "gpt", "value": "x"}]}]  # fmt: skip
    (fill(tmp_path / "l", f"images/{held}") / "conversations.json").write_text(json.dumps(talk))
    assert admitted(tmp_path / "l", "llava")[1] == {}


def test_the_exact_name_goes_before_one_in_another_form(tmp_path: Path) -> None:
    fill(tmp_path, NFC, NFD, table=f"image,caption\n{NFC},composed\n{NFD},apart\n")
    assert [(raw.source, raw.caption, raw.image) for raw in read(tmp_path)] == [
        (NFC, "composed", image(0)), (NFD, "apart", image(1)),
    ]  # fmt: skip


def test_a_name_that_may_be_either_of_two_is_told_in_escapes(tmp_path: Path) -> None:
    """Printed plainly, they would look alike."""
    marks = ["a\u0323\u0307.png", "a\u0307\u0323.png"]
    fill(tmp_path, *marks, table="image,caption\n\u1ea1\u0307.png,x\n")
    first = read(tmp_path)[0]
    assert str(first.problem).startswith("image-ambiguous: ")
    assert "a\\u0307\\u0323.png" in str(first.problem)


_MARKED = st.text(st.sampled_from("aüé\u0301\u0308ß"), min_size=1, max_size=6)


@given(st.lists(_MARKED, min_size=1, max_size=4, unique=True), st.sampled_from(["NFC", "NFD"]))
def test_no_image_gets_the_caption_of_another(names: list[str], form: str) -> None:
    """Each is admitted with its own, or counted."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        fill(root, *(f"{name}.png" for name in names))
        with (root / "captions.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(["image", "caption"])
            writer.writerows((unicodedata.normalize(form, f"{n}.png"), n) for n in names)
        expected = {image(seed): name for seed, name in enumerate(names)}
        found = read(root)
        for raw in found:
            if raw.problem is None:
                composed = unicodedata.normalize("NFC", expected[raw.image or b""])
                assert unicodedata.normalize("NFC", raw.caption or "") == composed
        assert len(found) >= len(names)
