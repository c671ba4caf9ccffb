"""Captions as `.txt` beside the user's own images, in the folder that was submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.datasets.samples import image, sample
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.sample import Sample
from vila2.data.writers import Captioned
from vila2.data.writers.sidecars import SidecarSummary, write_sidecars

NAMES = [
    "a/b/IMG 1.jpg", "a/b/img 1.jpg", "a/two  blanks.png", "v1.2.final.png", "Ünï/e\u0301.PNG",
    "日本/猫.webp", "-dash.png", "quote'\".png", "images/x.png",
]  # fmt: skip


def folder_of(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(number))
    return root


def submitted(root: Path) -> list[Sample]:
    """The samples of a folder without captions, as the reader and the store make them."""
    admission = Admission(captionless=True)
    reader = open_reader("folder", root, ReadOptions(captionless=True))
    return list(admission.through(reader.read()))


def exported(root: Path, samples: list[Sample], **options: bool) -> SidecarSummary:
    made = (Captioned(each, f"a {each.source}", {}) for each in samples)
    return write_sidecars(made, root, **options)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_each_caption_is_written_beside_its_image_under_its_name(tmp_path: Path) -> None:
    """Blanks, dots, case and Unicode are those of the user; no image is touched."""
    root = folder_of(tmp_path / "in", *NAMES)
    before = contents(root)
    summary = exported(root, submitted(root))
    assert (summary.written, summary.missing.count, summary.extra.count) == (len(NAMES), 0, 0)
    after = contents(root)
    texts = {name: text for name, text in after.items() if name not in before}
    assert {name: after[name] for name in before} == before
    assert texts == {name.rpartition(".")[0] + ".txt": f"a {name}".encode() for name in NAMES}


def test_what_is_written_is_read_again_as_the_captions(tmp_path: Path) -> None:
    """By the reader of folders; a second export changes nothing."""
    root = folder_of(tmp_path / "in", *NAMES)
    exported(root, submitted(root))
    admission = Admission()
    again = list(admission.through(open_reader("folder", root).read()))
    assert not admission.rejected
    assert {made.source for made in again} == set(NAMES)
    before = contents(root)
    assert exported(root, submitted(root)).unchanged == len(NAMES)
    assert contents(root) == before


def test_a_text_with_other_words_is_kept_and_named(tmp_path: Path) -> None:
    """Somebody wrote it; a line end at its end makes no other words."""
    root = folder_of(tmp_path / "in", "a.png", "b.png")
    samples = submitted(root)
    (root / "a.txt").write_text("by hand")
    (root / "b.txt").write_text("a b.png\r\n")
    summary = exported(root, samples)
    assert (summary.kept.examples, summary.unchanged) == (["a.txt"], 1)
    assert (root / "a.txt").read_text() == "by hand"


def test_a_text_that_is_replaced_is_kept_under_another_name(tmp_path: Path) -> None:
    """Each time; the reader passes over what is kept."""
    root = folder_of(tmp_path / "in", "a.png")
    samples = submitted(root)
    for text in ("first", "second"):
        (root / "a.txt").write_text(text)
        assert exported(root, samples, overwrite=True).replaced == 1
    assert (root / "a.txt").read_text() == "a a.png"
    assert (root / "a.txt.bak").read_text() == "first"
    assert (root / "a.txt.bak2").read_text() == "second"
    problems = [raw for raw in open_reader("folder", root).read() if raw.problem]
    assert problems == []


def test_a_link_or_a_folder_in_place_of_a_text_is_not_followed(tmp_path: Path) -> None:
    """What a link leads to may lie outside the folder."""
    root = folder_of(tmp_path / "in", "a.png", "b.png")
    samples = submitted(root)
    outside = tmp_path / "outside.txt"
    outside.write_text("not yours")
    (root / "a.txt").symlink_to(outside)
    (root / "b.txt").mkdir()
    assert exported(root, samples).kept.count == 2
    summary = exported(root, samples, overwrite=True)
    assert (summary.replaced, summary.kept.examples) == (1, ["b.txt"])
    assert outside.read_text() == "not yours"
    assert (root / "a.txt.bak").is_symlink()
    assert (root / "a.txt").read_text() == "a a.png"


def test_a_key_without_a_file_and_an_image_without_a_caption_are_named(tmp_path: Path) -> None:
    """Images that were removed or added since."""
    root = folder_of(tmp_path / "in", "a.png", "b.png")
    samples = submitted(root)
    (root / "b.png").rename(root / "c.png")
    summary = exported(root, samples)
    assert (summary.written, summary.missing.examples) == (1, ["b.png"])
    assert summary.extra.examples == ["c.png"]


def test_an_image_that_was_replaced_since_gets_no_caption_of_the_old_one(tmp_path: Path) -> None:
    """Its caption describes what is there no more."""
    root = folder_of(tmp_path / "in", "a.png", "b.png")
    samples = submitted(root)
    (root / "b.png").write_bytes(image(99))
    summary = exported(root, samples)
    assert (summary.written, summary.changed.examples) == (1, ["b.png"])
    assert not (root / "b.txt").exists()


def test_images_of_one_stem_share_a_text_only_if_they_share_the_caption(tmp_path: Path) -> None:
    """Else one would get the other's; an image that has none counts too."""
    root = folder_of(tmp_path / "in", "a.png", "a.jpg", "b.png", "b.jpg", "c.png", "c.jpg")
    samples = [made for made in submitted(root) if made.source != "c.jpg"]
    texts = {"a.png": "same", "a.jpg": "same", "b.png": "one", "b.jpg": "other", "c.png": "c"}
    made = [Captioned(each, texts[each.source], {}) for each in samples]
    summary = write_sidecars(made, root)
    assert (root / "a.txt").read_text() == "same"
    assert sorted(summary.shared.examples) == ["b.jpg", "b.png", "c.png"]
    assert summary.extra.examples == ["c.jpg"]
    assert [path.name for path in root.glob("*.txt")] == ["a.txt"]


@pytest.mark.parametrize("source", [
    "../secret.png", "/etc/passwd", "a/../../secret.png", "..", "", "a.png\0/../../secret.png",
    "x" * 5000,
])  # fmt: skip
def test_no_source_leads_out_of_the_folder(tmp_path: Path, source: str) -> None:
    """Sources come from strangers' archives as well."""
    root = folder_of(tmp_path / "in", "a.png")
    folder_of(tmp_path, "secret.png")
    evil = sample("evil", image=image(0),
                  source=source)  # fmt: skip
    summary = write_sidecars(
        [Captioned(each, "x", {}) for each in (evil, *submitted(root))], root
    )  # fmt: skip
    assert (summary.written, summary.missing.count) == (1, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "secret.png"]


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    """They are not read either."""
    elsewhere = folder_of(tmp_path / "elsewhere", "b.png")
    root = folder_of(tmp_path / "in", "a.png")
    samples = submitted(root)
    (root / "link").symlink_to(elsewhere)
    (held,) = submitted(elsewhere)
    linked = Captioned(sample("l", image=held.image, source="link/b.png"), "x", {})
    summary = write_sidecars([linked, *(Captioned(each, "x", {}) for each in samples)], root)
    assert summary.missing.examples == ["link/b.png"]
    assert not (elsewhere / "b.txt").exists()


def test_another_folder_is_refused_with_names_of_both(tmp_path: Path) -> None:
    """As where a folder above or below the one submitted is named."""
    root = folder_of(tmp_path / "in", "a/x.png")
    samples = submitted(root)
    with pytest.raises(DataError, match=r"'a/x.png'.*has 'in/a/x.png'.*was submitted"):
        exported(tmp_path, samples)
    with pytest.raises(DataError, match="is not a folder"):
        exported(tmp_path / "none", samples)


def test_a_version_stored_before_names_were_kept_whole_is_found_too(tmp_path: Path) -> None:
    """Its sources have single blanks and composed letters."""
    root = folder_of(tmp_path / "in", "two  blanks e\u0301.png")
    (made,) = submitted(root)
    old = sample("k", image=made.image, source="two blanks \u00e9.png")
    assert write_sidecars([Captioned(old, "x", {})], root).written == 1
