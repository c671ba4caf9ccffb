"""A folder of images with captions."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.datasets.samples import image
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.readers.keys import Keys, clean_key
from vila2.data.sample import RawSample
from vila2.data.writers.csv_cells import escape_cell, unescape_cell


def fill(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(seed))


def table(root: Path, *rows: tuple[str, ...], header: tuple[str, ...] = ("image", "caption")):
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    (root / "captions.csv").write_text(out.getvalue())


def read(root: Path) -> list[RawSample]:
    return list(open_reader("folder", root).read())


def problems(root: Path) -> list[tuple[str, str]]:
    return [(r.source, r.problem.partition(":")[0]) for r in read(root) if r.problem]


def test_a_table_gives_each_image_its_caption(tmp_path):
    """In the order of the table, with folders below and further columns."""
    fill(tmp_path, "b.png", "deep/er/a.png")
    table(
        tmp_path,
        ("deep/er/a.png", "me", "an a, quoted"),
        ("b.png", "you", "two\nlines"),
        header=("image", "author", "caption"),
    )
    assert [(r.source, r.caption, r.problem) for r in read(tmp_path)] == [
        ("deep/er/a.png", "an a, quoted", None),
        ("b.png", "two\nlines", None),
    ]


def test_columns_of_other_names_are_named(tmp_path):
    fill(tmp_path, "b.png")
    table(tmp_path, ("b.png", "two"), header=("file", "text"))
    options = ReadOptions(image_field="file", caption_field="text")
    assert [r.caption for r in open_reader("folder", tmp_path, options).read()] == ["two"]
    with pytest.raises(DataError, match="its first line is 'file,text'"):
        read(tmp_path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_that_no_comma_separates_are_told(tmp_path, mark):
    fill(tmp_path, "b.png")
    (tmp_path / "captions.csv").write_text(f"image{mark}caption\nb.png{mark}two\n")
    with pytest.raises(DataError, match="Separate the columns with commas"):
        read(tmp_path)


def test_an_option_without_a_meaning_is_refused(tmp_path):
    """Not ignored: the caller would believe that it was obeyed."""
    fill(tmp_path, "b.png")
    with pytest.raises(DataError, match="format folder has no url to choose"):
        open_reader("folder", tmp_path, ReadOptions(url_field="link"))


def test_images_may_lie_in_a_folder_named_images(tmp_path):
    """The table then names them without it, and they are not reported as left over."""
    fill(tmp_path, "images/a.png")
    table(tmp_path, ("a.png", "an a"))
    assert [(r.key, r.image, r.problem) for r in read(tmp_path)] == [("a", image(0), None)]


def test_a_text_beside_an_image_is_its_caption(tmp_path):
    """Also for two images of one name, whose keys differ."""
    fill(tmp_path, "a.jpg", "a.png")
    (tmp_path / "a.txt").write_bytes("\ufeffan a".encode())
    first, second = read(tmp_path)
    assert first.caption == second.caption == "an a"
    assert first.key != second.key


def test_nothing_in_the_folder_passes_unseen(tmp_path):
    """What cannot be paired is reported, file by file."""
    fill(tmp_path, "a.png", "lonely.png", ".hidden.png")
    (tmp_path / "notes.docx").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "README.md").write_text("x")
    table(tmp_path, ("a.png", "an a"), ("gone.png", "gone"), ("a.png", "again"))
    assert problems(tmp_path) == [
        ("gone.png", "image-missing"),
        ("b.txt", "image-missing"),
        ("lonely.png", "caption-missing"),
        ("notes.docx", "file-unknown"),
    ]


def test_an_image_without_a_text_is_reported(tmp_path):
    """Where there is no table, each image needs a text of its name."""
    fill(tmp_path, "a.png")
    assert problems(tmp_path) == [("a.png", "caption-missing")]


def test_an_unquoted_comma_does_not_cut_the_caption(tmp_path):
    """A row with more cells than the header is reported, with its line."""
    fill(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,a cat, on a mat\na.png\n")
    assert problems(tmp_path)[:2] == [
        ("captions.csv line 2", "row-malformed"),
        ("captions.csv line 3", "row-malformed"),
    ]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "link.png"])
def test_a_table_fetches_nothing_from_outside(tmp_path, name):
    """Neither by a path that climbs nor through a link."""
    root = tmp_path / "given"
    fill(tmp_path, "secret.png")
    fill(root, "a.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    table(root, (name, "x"), ("a.png", "an a"))
    first = read(root)[0]
    assert first.image is None
    assert first.problem.startswith("path-outside: ")


def test_links_that_lead_nowhere_or_to_folders_are_reported(tmp_path):
    """A folder is not followed, since it could lead anywhere or back."""
    fill(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    table(tmp_path, ("a.png", "an a"))
    assert problems(tmp_path) == [("gone.png", "caption-missing"), ("loop", "link-to-folder")]


def test_a_name_that_no_file_can_have_is_reported(tmp_path):
    """It does not stop the rows after it."""
    fill(tmp_path, "a.png")
    table(tmp_path, ("nul\0.png", "x"), ("x" * 5000 + ".png", "x"), ("a.png", "an a"))
    assert [slug for _, slug in problems(tmp_path)] == ["image-unreadable", "image-unreadable"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("photo,caption\n", "no column image"),
        ("", "no column image, caption"),
        ('image,"caption\na.png,b\n', "line 1 is not CSV"),
        ("image,caption,caption\na.png,b,c\n", "has the column 'caption' twice"),
    ],
)
def test_a_table_that_is_none_stops_with_the_line_to_fix(tmp_path, content, message):
    """The error names the file."""
    fill(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert caught.value.file.endswith("captions.csv")
    assert caught.value.fix


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), max_size=20))
def test_keys_are_plain_unique_and_the_same_each_time(names):
    """Two sources never share a key, and reading again gives the same keys."""

    def made() -> list[str]:
        keys = Keys()
        return [keys.of_file(name) for name in names]

    keys = made()
    assert keys == made()
    assert len(set(keys)) == len(set(names))
    assert all(clean_key(key) == key for key in keys)


def test_a_plain_name_is_its_own_key():
    """So that people find their images again."""
    keys = Keys()
    assert keys.of_file("000123.jpg") == "000123"
    assert keys.of_file("000123.png").startswith("000123-")
    assert keys.of_file("a b/c.png").startswith("a_b_c-")


@given(st.text())
def test_an_escaped_cell_is_harmless_and_comes_back(text):
    """A spreadsheet runs what begins with = + - or @."""
    escaped = escape_cell(text)
    assert not escaped.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unescape_cell(escaped) == text


WRITTEN = st.text("aäßéが각_ ", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(WRITTEN, st.sampled_from(["NFC", "NFD"]), st.sampled_from(["", "ü/"]))
def test_a_name_in_another_unicode_form_means_the_same_file(name, form, folder):
    """An archive from a Mac holds NFD, where tables hold NFC."""
    other = "NFD" if form == "NFC" else "NFC"
    with TemporaryDirectory() as root:
        fill(Path(root), unicodedata.normalize(form, f"{folder}{name}.png"))
        table(Path(root), (unicodedata.normalize(other, f"{folder}{name}.png"), "mine"))
        assert [(r.caption, r.problem) for r in read(Path(root))] == [("mine", None)]
        (Path(root) / "captions.csv").unlink()
        beside = unicodedata.normalize(other, f"{name}.txt")
        (Path(root) / unicodedata.normalize(form, folder) / beside).write_text("beside")
        assert [(r.caption, r.problem) for r in read(Path(root))] == [("beside", None)]


def test_of_two_files_that_differ_in_form_each_is_found_by_its_own(tmp_path):
    names = [unicodedata.normalize(form, "ä.png") for form in ("NFC", "NFD")]
    fill(tmp_path, *names)
    table(tmp_path, *((name, str(n)) for n, name in enumerate(names)))
    assert [(r.image, r.caption) for r in read(tmp_path)] == [(image(0), "0"), (image(1), "1")]


def test_what_macos_adds_to_an_archive_is_left_out(tmp_path):
    fill(tmp_path, "a.png", "._a.png", "__MACOSX/a.png")
    table(tmp_path, ("a.png", "x"))
    assert [r.caption for r in read(tmp_path)] == ["x"]
