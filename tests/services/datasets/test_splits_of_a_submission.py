"""One folder as three datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.datasets.samples import image
from vila2.client import Client
from vila2.client.joined import joined
from vila2.client.submission.splits import submit_splits
from vila2.data.errors import DataError
from vila2.data.splitting.plan import parse_splits
from vila2.schemas.rest.datasets import Version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve captioned images, each there twice, and one that is none."""
    root = tmp_path / "photos"
    root.mkdir()
    for n in range(12):
        for name in ("a", "copy"):
            (root / f"{name}{n}.png").write_bytes(image(n))
            (root / f"{name}{n}.txt").write_text(f"{name} {n}")
    (root / "bad.png").write_bytes(b"x")
    (root / "bad.txt").write_text("x")
    return root


def submitted(client: Client, folder: Path, text: str = "sft=4,test=3") -> list[Version]:
    return submit_splits(
        client, folder, parse_splits(text), name="photos", format="folder", poll_seconds=0.02
    )


def digests(client: Client, version: Version) -> set[str]:
    return {s.sha256 for s, _ in joined(client, version.dataset, [], version=version.version)}


def test_each_split_is_a_dataset_of_its_kind(client: Client, folder: Path) -> None:
    """What is not admitted is counted once, and no image is in two of them."""
    versions = submitted(client, folder)
    assert [(v.dataset, v.kind, v.samples) for v in versions] == [
        ("photos", "pairs", 5), ("photos-sft", "conversations", 4), ("photos-test", "benchmark", 3),
    ]  # fmt: skip
    assert sum(sum(v.rejected.values()) for v in versions) == 13
    assert sum(v.rejected["duplicate-image"] for v in versions) == 12
    assert len(set[str]().union(*(digests(client, v) for v in versions))) == 12


def test_the_same_command_finds_the_same_versions(client: Client, folder: Path) -> None:
    """Also under other names of the files; another size or seed makes others."""
    first = submitted(client, folder)
    assert submitted(client, folder) == first
    (folder / "a0.png").rename(folder / "zebra.png")
    (folder / "a0.txt").rename(folder / "zebra.txt")
    renamed = submitted(client, folder)
    assert [digests(client, v) for v in renamed] == [digests(client, v) for v in first]
    assert [v.samples for v in submitted(client, folder, "sft=5,test=3")] == [4, 5, 3]


def test_questions_and_turns_are_made_of_the_captions(client: Client, folder: Path) -> None:
    _, sft, test = submitted(client, folder)
    for sample, _ in joined(client, sft.dataset, [], version=1):
        assert [turn.question for turn in sample.turns] == ["Describe the image."]
    for sample, _ in joined(client, test.dataset, [], version=1):
        (item,) = sample.items
        assert (item["benchmark"], item["metric"]) == ("photos-test", "cider")


def test_a_split_of_another_name_stays_as_it_is(client: Client, folder: Path) -> None:
    assert [v.kind for v in submitted(client, folder, "later=2")] == ["pairs", "pairs"]


def test_asking_for_too_many_stores_nothing(client: Client, folder: Path) -> None:
    with pytest.raises(DataError, match=r"there are 12 images .* 6 for sft \+ 6 for test"):
        submitted(client, folder, "sft=6,test=6")
    assert client.datasets.all() == []


def test_what_the_store_reads_is_not_divided(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text("{}")
    with pytest.raises(DataError, match="read by the store"):
        submit_splits(client, path, parse_splits("a=1"), name="x", format="urls")
