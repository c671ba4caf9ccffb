"""What a person does to store less: delete, exclude, look at usage, collect garbage."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.services.cli.test_dataset_commands import RUN, error, told
from tests.support.datasets.captioned_datasets import dataset, layer
from vila2.cli.main import app


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Four foxes with a layer, and two owls."""
    path = tmp_path / "workspace"
    with EmbeddedPlatform(path) as platform:
        dataset(platform.client, tmp_path / "foxes")
        dataset(platform.client, tmp_path / "owls", name="owls", count=2)
        layer(platform.client, platform.apps["datasets"].state.context.objects)
    return path


def answered(workspace: Path, answer: str, *arguments: str) -> str:
    result = RUN.invoke(app, [*arguments, "-w", str(workspace)], input=answer)
    return result.output + str(result.exception or "")


def test_a_dataset_is_deleted_once_its_layers_are_named(workspace: Path) -> None:
    base = ("datasets", "delete", "foxes@1", "--yes")
    assert "(round-1)" in error(workspace, *base)
    shown = told(workspace, *base, "--with-layers", "--reason", "old")
    assert "foxes@1 deleted: 4 samples" in shown
    assert "freed" in shown
    assert "layers: layer-" in shown
    assert "version-deleted" in told(workspace, "datasets", "history")


def test_deleting_asks_first(workspace: Path) -> None:
    """What would be deleted is in the question; no answer is no."""
    base = ("datasets", "delete", "owls")
    assert "owls with 1 versions (2 samples)" in answered(workspace, "n\n", *base)
    assert "--yes answers the question" in answered(workspace, "", *base)
    assert "owls" in told(workspace, "datasets", "list")
    assert "owls@1 deleted" in answered(workspace, "y\n", *base)
    assert "owls" not in told(workspace, "datasets", "list")


def test_samples_are_excluded_by_key_and_by_file(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("p1\n\np2\n")
    base = ("datasets", "exclude", "foxes")
    shown = told(workspace, *base, "p0", "--keys", str(tmp_path / "keys.txt"))
    assert "foxes@2 ready: 1 sample" in shown
    assert "foxes now means version 2" in shown
    assert "has no sample 'p9'" in error(workspace, *base, "p9")
    assert "give the keys" in error(workspace, *base)


def test_usage_is_shown_by_version(workspace: Path) -> None:
    told(workspace, "datasets", "exclude", "foxes", "p0")
    shown = told(workspace, "datasets", "usage")
    for word in ("foxes@1", "foxes@2 *", "owls@1", "quota:", "no limit"):
        assert word in shown
    found = json.loads(told(workspace, "datasets", "usage", "--json"))
    assert [one["dataset"] for one in found["datasets"]] == ["foxes", "owls"]


def test_garbage_is_deleted_only_with_yes(workspace: Path) -> None:
    left = workspace / "objects" / "looks" / "1" / "000009-0123456789abcdef.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    assert "found 1 objects (4 B)" in told(workspace, "datasets", "gc")
    assert left.exists()
    assert "deleted 1 objects (4 B)" in told(workspace, "datasets", "gc", "--yes")
    assert not left.exists()
