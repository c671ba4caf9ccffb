"""Published files become benchmark folders, and bad ones say what is wrong with them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.datasets import published_benchmarks as published
from vila2.benchmarks.catalogue import CATALOGUE, source_named
from vila2.benchmarks.refcoco import box_text
from vila2.benchmarks.source import Where
from vila2.data.admission import Admission
from vila2.data.answers import parse_boxes
from vila2.data.errors import DataError
from vila2.data.readers import open_reader
from vila2.data.sample import Sample

MAKERS: dict[str, Callable[[Path], Path]] = {
    "pope": published.pope,
    "sugarcrepe": published.sugarcrepe,
    "sugarcrepe-likelihood": published.sugarcrepe,
    "coco-captions": published.coco_captions,
    "docvqa": published.docvqa,
    "refcoco": published.refcoco,
    "easy-vqa": published.easy_vqa,
}


def admitted(name: str, folder: Path, **where: Any) -> tuple[list[Sample], Admission]:
    """What the store admits of a benchmark."""
    folder.mkdir(parents=True)
    source_named(name).prepare(folder, Where(**where))
    admission = Admission()
    return list(admission.through(open_reader("benchmark", folder).read())), admission


def items_of(samples: list[Sample]) -> list[dict[str, Any]]:
    return [dict(item) for sample in samples for item in sample.items]


def images_of(name: str, folder: Path) -> Path | None:
    return folder / "val2014" if name == "pope" else None


@pytest.mark.parametrize("name", MAKERS)
def test_a_source_gives_questions_that_the_store_admits(tmp_path: Path, name: str):
    """Every one, with its image."""
    path = MAKERS[name](tmp_path / "published")
    images = images_of(name, tmp_path / "published")
    samples, admission = admitted(name, tmp_path / "out", path=path, images=images)
    assert samples
    assert not admission.rejected, admission.examples


def test_every_source_with_files_of_its_makers_is_tested():
    """Scenes are drawn, and need none."""
    assert set(CATALOGUE) == {*MAKERS, "scenes"}


def test_popes_splits_become_kinds(tmp_path: Path):
    """Questions of both splits about one image stand in one sample."""
    path = published.pope(tmp_path / "p")
    samples, _ = admitted("pope", tmp_path / "out", path=path, images=path / "val2014")
    assert len(samples) == 2
    found = {(i["kind"], i["question"], i["answers"][0]) for i in items_of(samples)}
    assert ("adversarial", "Is there a cat?", "yes") in found
    assert ("random", "Is there a cat?", "no") in found


def test_sugarcrepe_is_asked_in_both_orders(tmp_path: Path):
    """Each pair twice under one group, the right option first and second."""
    samples, _ = admitted("sugarcrepe", tmp_path / "out", path=published.sugarcrepe(tmp_path / "p"))
    groups: dict[str, list[int]] = {}
    for item in items_of(samples):
        groups.setdefault(item["group"], []).append(item["options"].index(item["answers"][0]))
    assert len(groups) == 3
    assert all(sorted(places) == [0, 1] for places in groups.values())


def test_coco_captions_come_with_all_references(tmp_path: Path):
    """An image without a caption is not asked about."""
    path = published.coco_captions(tmp_path / "p")
    samples, _ = admitted("coco-captions", tmp_path / "out", path=path)
    assert [item["answers"] for item in items_of(samples)] == [["a dog", "one dog"],
                                                               ["a boat", "boats"]]  # fmt: skip


def test_karpathys_split_takes_its_test_part(tmp_path: Path):
    """The other layout of the same captions."""
    path = published.karpathy(tmp_path / "p")
    (sample,), _ = admitted("coco-captions", tmp_path / "out", path=path)
    assert sample.items[0]["answers"] == ["a dog", "one dog"]


def test_a_box_in_pixels_becomes_thousandths(tmp_path: Path):
    """Of width and height, each by its own."""
    samples, _ = admitted("refcoco", tmp_path / "out", path=published.refcoco(tmp_path / "p"))
    assert items_of(samples)[0]["answers"] == ["[100,100,600,999]"]


@given(
    st.lists(st.floats(-50, 2000), min_size=4, max_size=4),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_every_box_of_numbers_becomes_one_that_can_be_scored(box, size):
    """Boxes at the rim, outside and without area too."""
    assert len(parse_boxes(box_text(box, size, where="here"))) == 1


def test_easy_vqa_reads_the_package_that_is_installed(tmp_path: Path):
    """1,000 images and 9,673 questions of the test split; a few are read here."""
    pytest.importorskip("easy_vqa")
    samples, admission = admitted("easy-vqa", tmp_path / "out", limit=60)
    assert len(items_of(samples)) == 60
    assert not admission.rejected
    assert {item["kind"] for item in items_of(samples)} == {"yes/no", "colour", "shape"}


def test_scenes_are_the_demos_test_split(tmp_path: Path):
    """With a limit, the first questions of it."""
    samples, admission = admitted("scenes", tmp_path / "out", limit=12)
    assert len(items_of(samples)) == 12
    assert set(admission.rejected) <= {"caption-empty"}


def test_an_image_under_two_names_is_asked_the_questions_of_both(tmp_path: Path):
    """The store keeps an image once, and would refuse the second name's questions."""
    path = published.pope(tmp_path / "p")
    (path / "val2014" / "b.jpg").write_bytes((path / "val2014" / "a.jpg").read_bytes())
    (sample,), admission = admitted("pope", tmp_path / "out", path=path, images=path / "val2014")
    assert len(sample.items) == 4
    assert not admission.rejected


def test_an_image_that_is_not_there_is_counted_and_named(tmp_path: Path):
    """The others are read."""
    path = published.pope(tmp_path / "p")
    (path / "val2014" / "b.jpg").unlink()
    samples, admission = admitted("pope", tmp_path / "out", path=path, images=path / "val2014")
    assert len(samples) == 1
    assert admission.rejected == {"image-missing": 1}
    assert "b.jpg" in admission.examples["image-missing"][0].detail


def test_an_image_outside_the_folder_is_not_read(tmp_path: Path):
    """Published files may come from anywhere."""
    (tmp_path / "secret.jpg").write_bytes(published.image(9))
    path = published.pope(tmp_path / "p")
    published.lines(
        path / "coco_pope_random.json",
        {"question_id": 1, "image": "../../secret.jpg", "text": "?", "label": "yes"},
    )
    _, admission = admitted("pope", tmp_path / "out", path=path, images=path / "val2014")
    assert admission.rejected == {"path-outside": 1}


@pytest.mark.parametrize(
    ("name", "file", "content", "told"),
    [
        ("pope", "x.json", '{"question_id": 1}', "x.json line 1 has no label of type str"),
        ("pope", "x.json", '{"label": "maybe"}', "label is 'maybe'"),
        ("pope", "x.json", "not json", "line 1: the line is not JSON"),
        ("sugarcrepe", "x.json", "[]", "is no JSON object of numbered pairs"),
        ("sugarcrepe", "x.json", '{"0": {"caption": "a"}}', "entry 0 has no negative_caption"),
        ("coco-captions", "x.json", '{"images": 3}', "has no images of type list"),
        ("docvqa", "x.json", '{"data": [{"question": "?"}]}', "entry 0 has no answers"),
        ("refcoco", "x.jsonl", '{"img_path": "a.jpg", "width": 1, "height": 1, "bbox": [1],'
         ' "expression": "x"}', "bbox is not four numbers"),
        ("easy-vqa", "test/questions.json", '[["?", "yes"]]', "question 0 is not"),
    ],
)  # fmt: skip
def test_a_file_of_another_layout_is_named_with_its_place(tmp_path, name, file, content, told):
    """File, row and field, so that a wrong download is seen at once."""
    path = tmp_path / "p" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    given = tmp_path / "p" if name == "easy-vqa" else path
    with pytest.raises(DataError, match=told):
        admitted(name, tmp_path / "out", path=given)


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "easy-vqa"])
def test_without_its_files_a_source_says_what_it_needs(tmp_path: Path, name: str):
    """Nothing is downloaded."""
    with pytest.raises(DataError, match="Give --from: "):
        admitted(name, tmp_path / "out")


def test_an_unknown_name_lists_the_known_ones():
    """And how a team's own goes in."""
    with pytest.raises(DataError, match=r"scenes, easy-vqa, pope(.|\n)*--format benchmark"):
        source_named("mmlu")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["label", "image", "text", "question_id", "images", "annotations", "data",
                         "caption", "filename", "sentences", "bbox", "0"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(held=_JSON, name=st.sampled_from(sorted(MAKERS)))
def test_no_json_breaks_a_source(tmp_path: Path, held: Any, name: str):
    """A file of any content gives questions or a `DataError`, nothing else."""
    scratch = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    path = scratch / ("test/questions.json" if name == "easy-vqa" else "x.jsonl")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(held))
    given = scratch if name == "easy-vqa" else path
    with contextlib.suppress(DataError):
        admitted(name, scratch / "out", path=given)
