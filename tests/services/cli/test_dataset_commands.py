"""What a person does with the store by command: look, compare, roll back, take down, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.embedded_platform import images
from vila2.cli.main import app
from vila2.data.writers import FORMATS

RUN = CliRunner(env={"COLUMNS": "200"})


def told(workspace: Path, *arguments: str) -> str:
    result = RUN.invoke(app, [*arguments, "-w", str(workspace)])
    assert result.exit_code == 0, result.output or result.exception
    return result.output


def error(workspace: Path, *arguments: str) -> str:
    result = RUN.invoke(app, [*arguments, "-w", str(workspace)])
    assert result.exit_code != 0
    return str(result.exception)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Four foxes with two sealed layers and an open one."""
    path = tmp_path / "workspace"
    with EmbeddedPlatform(path) as platform:
        objects = platform.apps["datasets"].state.context.objects
        dataset(platform.client, tmp_path / "foxes")
        layer(platform.client, objects, name="one")
        layer(platform.client, objects, name="two", text="a red {key}", quarantined=("p3",))
        layer(platform.client, objects, name="half", shards=1, seal=False)
    return path


def open_layer(workspace: Path) -> str:
    with EmbeddedPlatform(workspace) as platform:
        return next(held.id for held in platform.client.datasets.layers() if held.name == "half")


def test_layers_are_compared(workspace: Path) -> None:
    """Counts, lengths and examples."""
    shown = told(workspace, "captions", "diff", "one", "two")
    assert "3 changed" in shown
    assert "1 only before" in shown
    assert "a red p0" in shown


def test_a_layer_is_withdrawn_and_the_history_says_why(workspace: Path) -> None:
    """And restored by its id."""
    shown = told(workspace, "captions", "withdraw", "two", "--reason", "bad prompts")
    name = shown.split()[0]
    assert "bad prompts" in told(workspace, "datasets", "history")
    assert "in use again" in told(workspace, "captions", "withdraw", name, "--undo")


def test_the_lineage_of_a_sample_is_told(workspace: Path) -> None:
    """Image, source, captions, models."""
    shown = told(workspace, "datasets", "show", "foxes", "p3")
    for word in ("p3.png", "quarantined: repetition", "a p3", "models trained", "seed"):
        assert word in shown


def test_an_image_is_taken_down_by_command(workspace: Path) -> None:
    """With a reason and who asked for it, and not without."""
    base = ("datasets", "takedown", "foxes", "p1")
    assert "--requested-by" in error(workspace, *base, "--yes")
    shown = told(workspace, *base, "--yes", "--reason", "asked", "--requested-by", "legal")
    assert "1 sample out of foxes@1" in shown
    assert "3 captions out of" in shown or "2 captions out of" in shown
    assert "legal" in told(workspace, "datasets", "history", "--takedowns")


def test_a_layer_that_is_not_sealed_goes_out_only_with_a_waiver(
    workspace: Path, tmp_path: Path
) -> None:
    """Which stands in the card, with what is missing counted."""
    name = open_layer(workspace)
    base = ("export", "foxes", str(tmp_path / "out"), "--layer", name)
    assert "is not sealed" in error(workspace, *base)
    shown = told(workspace, *base, "--waive", "a first look for the review")
    assert "2 left out: not-captioned-yet" in shown
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Not sealed" in card
    assert "a first look for the review" in card


def test_an_audit_is_shown(workspace: Path) -> None:
    """Also where there is nothing to compare with."""
    shown = told(workspace, "datasets", "audit", "foxes")
    assert "0 of 4 images" in shown
    assert "no benchmark" in shown


def test_an_earlier_version_is_used_again(workspace: Path, tmp_path: Path) -> None:
    """Under the dataset's bare name."""
    folder = tmp_path / "foxes"
    (folder / "p0.txt").write_text("another fox")
    told(workspace, "datasets", "submit", str(folder), "--name", "foxes")
    told(workspace, "datasets", "use", "foxes@1", "--reason", "typo")
    assert "foxes@1" in told(workspace, "datasets", "show", "foxes")
    assert "give dataset@version" in error(workspace, "datasets", "use", "foxes")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_goes_out_with_its_card(workspace: Path, tmp_path: Path, format: str) -> None:
    """And how each caption was made beside it."""
    out = tmp_path / "out"
    told(workspace, "export", "foxes", str(out), "--layer", "two", "--format", format,
         "--quarantined", "original")  # fmt: skip
    card = (out / "README.md").read_text()
    assert "model-1" in card
    assert "Licence: not stated" in card
    if (out / "provenance.jsonl").exists():
        first = json.loads((out / "provenance.jsonl").read_text().splitlines()[0])
        assert first["captions"]["two"]["prompt_id"]


def test_other_data_under_a_name_says_which_version_was_in_use(
    workspace: Path, tmp_path: Path
) -> None:
    """And how to go back; the same data again says nothing."""
    images(tmp_path / "others", first=7)
    submit = ("datasets", "submit", str(tmp_path / "others"), "--name", "foxes")
    shown = told(workspace, *submit)
    assert "foxes now means version 2; it was 1" in shown
    assert "vila2 datasets use foxes@1" in shown
    assert "now means" not in told(workspace, *submit)
