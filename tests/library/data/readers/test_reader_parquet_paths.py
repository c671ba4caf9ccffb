"""Parquet tables that name image files beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.library.data.readers.test_reader_parquet import read, row, written
from tests.support.datasets.samples import image


def pictured(root: Path, *names: str) -> None:
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(n))


@pytest.mark.parametrize("column", ["image", "image_path", "file_name"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_image_is_a_path_relative_to_its_table(tmp_path, column, whole):
    """Its name is the sample's source, so that captions can be written beside it."""
    pictured(tmp_path, "pics/a.png", "b.png")
    rows = [{column: name, "caption": name} for name in ("pics/a.png", "b.png", "gone.png")]
    path = written(tmp_path / "t.parquet", rows)
    first, second, gone = read(tmp_path if whole else path)
    assert [(r.image, r.source, r.problem) for r in (first, second)] == [
        (image(0), "pics/a.png", None), (image(1), "b.png", None),
    ]  # fmt: skip
    assert second.key == "b"
    assert gone.problem.startswith("image-missing: there is no file 'gone.png'")


def test_a_table_in_a_folder_names_images_beside_itself(tmp_path):
    """And else from the top; never outside of what was submitted."""
    pictured(tmp_path, "in/data/a.png", "in/b.png", "secret.png")
    names = ["a.png", "b.png", "../../secret.png", "/etc/passwd", "https://e.org/a.png", None]
    written(tmp_path / "in/data/t.parquet", [{"image": n, "caption": "x"} for n in names])
    problems = [(raw.problem or "").partition(":")[0] for raw in read(tmp_path / "in")]
    assert problems == ["", "", "path-outside", "path-outside", "image-is-address", "image-missing"]


def test_hugging_faces_struct_without_bytes_is_a_path(tmp_path):
    pictured(tmp_path, "a.png")
    (made,) = read(written(tmp_path / "t.parquet", [row(image={"bytes": None, "path": "a.png"})]))
    assert (made.image, made.problem) == (image(0), None)


def test_bytes_are_preferred_to_paths(tmp_path):
    """A table of both has the name for people."""
    (made,) = read(written(tmp_path / "t.parquet", [{"file_name": "x.png", **row()}]))
    assert (made.image, made.source_ids) == (image(0), ("x.png",))
