"""`vila2 recipes`: the shipped recipes, to read, to understand and to copy."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vila2.model.preset import PresetError, load_preset, named_preset
from vila2.recipe import RecipeError, load_recipe, recipe_text, shipped_recipes
from vila2.recipe_fields import REQUIRED, FieldView, differences, fields_of, schema

app = typer.Typer(no_args_is_help=True, help="Recipes: everything that a run decides.")
console = Console(soft_wrap=True)
Name = Annotated[str, typer.Argument(help="A shipped name or a file.")]


@app.command("list")
def list_recipes() -> None:
    """The recipes that ship with the package."""
    for name in shipped_recipes():
        console.print(f"[bold]{name}[/]  {load_recipe(name).description}")


@app.command("show")
def show(recipe: Name) -> None:
    """Print a recipe's YAML."""
    typer.echo(recipe_text(recipe), nl=False)


@app.command("check")
def check(recipe: Name) -> None:
    """Validate a recipe and print its hash; every wrong field is named with its fix.

    Also says whether the model's preset is there. Datasets are looked up when a run starts.
    """
    checked = load_recipe(recipe)
    try:
        load_preset(named_preset(checked.model.preset))
    except PresetError as error:
        raise RecipeError(f"recipe {recipe}:\n  model.preset: {error}") from error
    console.print(f"{checked.name}: valid, hash {checked.digest()}")


@app.command("explain")
def explain(
    recipe: Name,
    part: Annotated[str, typer.Argument(help="Only this part, such as captioning.")] = "",
    changed: Annotated[bool, typer.Option(help="Only what is not the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Fields for a program.")] = False,
) -> None:
    """What each value does, whether it is the default, and where it is from.

    A citation is a section or table of the paper (arXiv 2407.17453v2), or a choice with its reason.
    A bold value is not the default; a required one has none.
    """
    views = [
        view
        for view in fields_of(load_recipe(recipe))
        if f"{view.path}.".startswith(f"{part}." if part else "") and (view.changed or not changed)
    ]
    if part and not views:
        raise RecipeError(f"recipe {recipe} has no field {part!r} with a value to show")
    if as_json:
        typer.echo(json.dumps([_as_json(view) for view in views], indent=1))
        return
    width = Console()
    for title, group in _grouped(views).items():
        table = Table(
            box=box.SIMPLE_HEAD, show_header=False, title=title or None, expand=True,
            title_justify="left", title_style="bold cyan", padding=(0, 1, 1, 0),
        )  # fmt: skip
        for ratio in (3, 4, 7):
            table.add_column(ratio=ratio, overflow="fold")
        for view in group:
            table.add_row(view.path.removeprefix(f"{title}."), _value(view), _about(view))
        width.print(table)


@app.command("diff")
def diff(
    first: Annotated[str, typer.Argument(help="A shipped name or a file.")],
    second: Annotated[str, typer.Argument(help="A shipped name or a file.")],
) -> None:
    """Values in which two recipes differ."""
    left, right = load_recipe(first), load_recipe(second)
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("field", first, second):
        table.add_column(heading, overflow="fold")
    found = differences(left, right)
    for path, before, after in found:
        table.add_row(path, _told(before), _told(after))
    Console().print(table if found else f"{first} and {second} decide the same")


@app.command("schema")
def print_schema() -> None:
    """Print the JSON schema of recipes, for editors that complete and check as you type.

        vila2 recipes schema > recipe.schema.json

    and, as the first line of your recipe: `# yaml-language-server: $schema=recipe.schema.json`
    """
    typer.echo(json.dumps(schema(), indent=1))


def _grouped(views: list[FieldView]) -> dict[str, list[FieldView]]:
    """Fields below the thing that they belong to."""
    groups: dict[str, list[FieldView]] = {}
    for view in views:
        groups.setdefault(view.path.rpartition(".")[0], []).append(view)
    return groups


def _value(view: FieldView) -> Text:
    told = Text(_told(view.value), style="bold" if view.changed else "dim")
    if view.default != REQUIRED:
        told.append(f"\ndefault: {_told(view.default)}" if view.changed else "\ndefault", "dim")
    return told


def _about(view: FieldView) -> Text:
    told = Text(view.description)
    if view.citation:
        told.append(f"\n{view.citation}", "italic green")
    return told


def _told(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, list | tuple):
        return "\n".join(str(item) for item in value) or "none"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {held}" for key, held in value.items()) or "none"
    return str(value)


def _as_json(view: FieldView) -> dict[str, Any]:
    return {
        "path": view.path, "value": view.value, "default": view.default, "changed": view.changed,
        "description": view.description, "citation": view.citation,
    }  # fmt: skip
