"""The folders that a world is written to, read by the platform's own readers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from vila2.data.readers import open_reader
from vila2.evaluation.metrics.scorers import parse_objects, score
from vila2.scenes import language as say
from vila2.scenes.datasets import SPLITS, WorldSizes, true_captions, write_world

SMALL = WorldSizes(corpus=40, sft=12, specialist=8, base=10, dev=12, test=12, sft_skills=4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world")
    write_world(directory, sizes=SMALL, seed=3)
    return directory


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_one_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    """A run can be repeated from the seed alone."""
    write_world(tmp_path, sizes=SMALL, seed=3)
    assert files(tmp_path) == files(world)


def test_a_split_does_not_change_with_the_size_of_another(world: Path, tmp_path: Path) -> None:
    """Benchmarks stay comparable between runs of different size."""
    write_world(tmp_path, sizes=WorldSizes(corpus=5, sft=3, specialist=2, base=2, dev=12), seed=3)
    ours = {name: data for name, data in files(tmp_path).items() if name.startswith("dev/")}
    assert ours == {name: data for name, data in files(world).items() if name.startswith("dev/")}


def test_no_image_appears_in_two_splits(world: Path) -> None:
    """Training images must not be in a benchmark, nor dev's in test."""
    images = [path.read_bytes() for path in world.rglob("*.png")]
    assert len(set(images)) == len(images)


def test_the_corpus_folder_holds_images_and_alt_text_alone(world: Path) -> None:
    """The truth is in no file, no name and no PNG text chunk of the corpus."""
    names = sorted(path.name for path in (world / "corpus").iterdir())
    assert names == sorted(["captions.csv", *(f"{i:06d}.png" for i in range(SMALL.corpus))])
    with (world / "corpus" / "captions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["image", "caption"]
    truth = true_captions(sizes=SMALL, seed=3)
    assert all(parse_objects(row["caption"]).total() <= 1 for row in rows)
    assert not any(row["caption"] == truth[row["image"]] for row in rows)
    assert not any(Image.open(path).info for path in (world / "corpus").glob("*.png"))


def test_stamps_do_not_tell_the_seed(world: Path) -> None:
    """Whoever has the folders cannot draw the corpus' truth again."""
    stamps = sorted(path.name for path in world.iterdir() if path.is_file())
    assert stamps == sorted(f".{split}.complete" for split in SPLITS)
    assert all(len((world / name).read_text()) == 64 for name in stamps)


@pytest.mark.parametrize("split", SPLITS)
def test_the_platforms_reader_accepts_every_sample(world: Path, split: str) -> None:
    """Each folder is in a format that teams submit."""
    form = {"corpus": "folder", "dev": "benchmark", "test": "benchmark"}.get(split, "llava")
    samples = list(open_reader(form, world / split).read())
    assert [sample.problem for sample in samples if sample.problem] == []
    assert len(samples) == SMALL.of(split)


def test_every_benchmark_answer_scores_one_against_itself(world: Path) -> None:
    """A perfect model can reach a perfect score."""
    lines = (world / "test" / "items.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    assert {item["benchmark"] for item in items} == {
        "vqa", "caption", "ocr", "spatial", "grounding",
    }  # fmt: skip
    assert all(score(i["metric"], i["answers"][0], i["answers"]) == 1.0 for i in items)


def test_benchmark_questions_are_asked_in_forms_that_sft_has_shown(world: Path) -> None:
    """A benchmark tests the skill, not whether its wording was ever seen."""
    rows = json.loads((world / "sft" / "conversations.json").read_text())
    asked = " ".join(m["value"] for row in rows for m in row["conversations"])
    assert say.CAPTION_PROMPTS[0] in asked
    for form in ("Where is the", "What number is in the image?", "Give the box of the"):
        assert form in asked


def test_only_the_first_sft_images_show_the_specialists_skills(world: Path) -> None:
    """The generalist gets a little of each skill's format, the same in every arm."""
    rows = json.loads((world / "sft" / "conversations.json").read_text())
    with_boxes = [
        index
        for index, row in enumerate(rows)
        if any("Give the box" in message["value"] for message in row["conversations"])
    ]
    assert with_boxes == list(range(SMALL.sft_skills))


def test_a_finished_split_is_left_alone_and_a_changed_one_is_drawn_anew(tmp_path: Path) -> None:
    """The same command goes on where it stopped, and never mixes two worlds."""
    write_world(tmp_path, sizes=SMALL, seed=3)
    mark = tmp_path / "dev" / "000000.png"
    mark.write_bytes(b"kept")
    write_world(tmp_path, sizes=SMALL, seed=3)
    assert mark.read_bytes() == b"kept"
    fewer = WorldSizes(corpus=5, sft=3, specialist=2, base=2, dev=4, test=2)
    write_world(tmp_path, sizes=fewer, seed=3)
    assert mark.read_bytes() != b"kept"
    assert len(list((tmp_path / "dev").glob("*.png"))) == 4
