"""The command teaches, and its errors say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vila2.cli.connection.workspace import CliError
from vila2.cli.main import app
from vila2.recipes.recipe import (
    RecipeError,
    load_recipe,
    parse_recipe,
    recipe_text,
    shipped_recipes,
)

RUN = CliRunner()
ROOT: Any = typer.main.get_command(app)
GROUPS = ROOT.commands
COMMANDS: list[tuple[str, ...]] = [
    *((name,) for name, command in GROUPS.items() if not hasattr(command, "commands")),
    *((name, each) for name in GROUPS for each in getattr(GROUPS[name], "commands", {})),
]


def test_help_shows_the_first_steps() -> None:
    told = RUN.invoke(app, ["--help"]).stdout
    for word in ("vila2 demo", "datasets submit", "runs start", "export"):
        assert word in told


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    told = RUN.invoke(app, [*command, "--help"])
    assert told.exit_code == 0
    assert len(told.stdout.split()) > 10


@pytest.mark.parametrize("command", [(), *((name,) for name in GROUPS), *COMMANDS], ids=" ".join)
def test_an_example_in_the_help_can_be_copied_from_a_narrow_terminal(
    command: tuple[str, ...],
) -> None:
    """Each stands whole on a line of 80 columns."""
    held = ROOT
    for name in command:
        held = held.commands[name]
    told = RUN.invoke(app, [*command, "--help"], env={"COLUMNS": "80"}).stdout
    lines = [line.strip() for line in told.splitlines()]
    for example in re.findall(r"^ +(vila2 .*)$", held.help or "", re.MULTILINE):
        assert example in lines


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"vila2 \d+\.\d+\S*\n", RUN.invoke(app, ["--version"]).stdout)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_found_by_either_name(name: str) -> None:
    assert load_recipe(name).digest() == load_recipe(f"recipes/{name}.yaml").digest()


def test_an_unknown_key_is_named_with_its_fix() -> None:
    text = recipe_text("tiny") + "\nroundz: {maximum: 3}\n"
    with pytest.raises(RecipeError, match="roundz: unknown key; remove it or correct"):
        parse_recipe(text, source="mine.yaml")


def test_an_impossible_value_is_named() -> None:
    text = recipe_text("tiny").replace("maximum: 2", "maximum: 0")
    with pytest.raises(RecipeError, match=r"mine.yaml(.|\n)*rounds.maximum"):
        parse_recipe(text, source="mine.yaml")


def test_a_missing_field_is_named() -> None:
    text = recipe_text("tiny").replace("benchmarks: [scenes-test]", "")
    with pytest.raises(RecipeError, match="benchmarks: is required; add it"):
        parse_recipe(text, source="mine.yaml")


def test_a_recipe_that_does_not_exist_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="photos, tiny"):
        load_recipe("nothing.yaml")


def test_features_of_a_tower_that_learns_cannot_be_cached() -> None:
    text = recipe_text("tiny").replace("threads: 1}", "threads: 1, cache_features: true}")
    with pytest.raises(RecipeError, match="frozen tower"):
        parse_recipe(text, source="mine.yaml")


def test_a_recipes_hash_covers_every_value() -> None:
    tiny = load_recipe("tiny")
    changed = tiny.model_copy(update={"seed": tiny.seed + 1})
    assert changed.digest() != tiny.digest()


def test_a_missing_folder_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    told = RUN.invoke(app, ["datasets", "submit", str(tmp_path / "none"), "-w", str(tmp_path)])
    assert told.exit_code != 0
    assert "does not exist" in str(told.exception)


def test_a_workspace_of_another_version_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "db").mkdir()
    with sqlite3.connect(tmp_path / "db" / "datasets.sqlite") as old:
        old.execute("CREATE TABLE datasets (id INTEGER PRIMARY KEY, colour TEXT)")
    told = RUN.invoke(app, ["datasets", "list", "-w", str(tmp_path)])
    assert isinstance(told.exception, CliError)
    assert "move it away" in str(told.exception)
