"""`vila2 recipes`: list, explain, compare and check recipes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.recipes.errors import line_numbers, located
from vila2.recipes.feasibility import missing_extras, refusals
from vila2.recipes.fields import REQUIRED, FieldView, differences, fields_of, schema
from vila2.recipes.recipe import RecipeError, load_recipe, recipe_text, shipped_recipes
from vila2.system.terminal import bold, plain, sentence, show_file, show_json, stack, table

app = Group("Recipes: everything that a run decides.")
Name = Annotated[str, typer.Argument(help="Name of a shipped recipe, or a file.")]


@app.command("list", works="alone")
def list_recipes(session: Session) -> None:
    """List the recipes that ship with the package."""
    found = {name: load_recipe(name) for name in shipped_recipes()}
    session.show(
        [{"name": name, "description": held.description} for name, held in found.items()],
        lambda: stack(
            *(sentence(bold(name), f"  {held.description}") for name, held in found.items())
        ),
    )


@app.command("show", works="alone")
def show(
    session: Session,
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a file.")] = "",
    part: Annotated[str, typer.Argument(help="Explain only this part, such as captioning.")] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain each value and give its source.")
    ] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Explain only values that differ from the default.")
    ] = False,
    against: Annotated[
        str, typer.Option(help="Show only values that differ from this recipe.")
    ] = "",
    schema_: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")
    ] = False,
) -> None:
    """Print a recipe's YAML, explain it, or show how it differs from another.

    An explained value is bold if it is not the default. Its citation is a section or table of the
    paper (arXiv 2407.17453v2), or a choice with its reason.

    For completion and checks in your editor, write the schema to a file and begin your recipe with
    `# yaml-language-server: $schema=recipe.schema.json`:

        vila2 recipes show --schema > recipe.schema.json
    """
    if schema_:
        show_json(schema())
        return
    if not recipe:
        raise CliError(f"name a recipe: a file, or one of {', '.join(shipped_recipes())}")
    if against:
        found = differences(load_recipe(recipe), load_recipe(against))
        session.show(found, lambda: _differences(recipe, against, found))
    elif explain or changed or part:
        views = _views(recipe, part, changed=changed)
        session.show([_as_json(view) for view in views], lambda: _explained(views))
    elif session.json:
        show_json(load_recipe(recipe))
    else:
        show_file(recipe_text(recipe))


@app.command("check", works="alone")
def check(session: Session, recipe: Name) -> None:
    """Validate a recipe and print its hash; every wrong field is named with its fix.

    Also checks what a job would refuse later: the preset, batches that cannot be divided among the
    processes, rows too short for a sample. Datasets are looked up when a run starts.
    """
    checked = load_recipe(recipe)
    if wrong := {refusal.field: refusal.reason for refusal in refusals(checked)}:
        told = located(wrong, line_numbers(recipe_text(recipe)))
        raise RecipeError(f"recipe {recipe}: jobs of it would fail:\n{told}")
    found = {"name": checked.name, "recipe_hash": checked.digest()}
    extras = missing_extras(checked)
    needs = f"; where its jobs run it needs vila2[{','.join(extras)}]" if extras else ""
    session.show(found, lambda: f"{checked.name}: valid, hash {checked.digest()}{needs}")


def _views(recipe: str, part: str, *, changed: bool) -> list[FieldView]:
    views = [
        view
        for view in fields_of(load_recipe(recipe))
        if f"{view.path}.".startswith(f"{part}." if part else "") and (view.changed or not changed)
    ]
    if part and not views:
        raise RecipeError(f"recipe {recipe} has no field {part!r} with a value to show")
    return views


def _differences(first: str, second: str, found: list[tuple[str, Any, Any]]) -> RenderableType:
    if not found:
        return f"{first} and {second} decide the same"
    rows = [(path, _shown(before), _shown(after)) for path, before, after in found]
    return table("field", first, second, rows=rows)


def _explained(views: list[FieldView]) -> RenderableType:
    """A table for each part of the recipe."""
    groups: dict[str, list[FieldView]] = {}
    for view in views:
        groups.setdefault(view.path.rpartition(".")[0], []).append(view)
    return stack(*(_part(title, group) for title, group in groups.items()))


def _part(title: str, views: list[FieldView]) -> RenderableType:
    made = table(
        "field", "value", "about", title=title, show_header=False, expand=True,
        title_style="bold cyan", padding=(0, 1, 1, 0),
        rows=[(view.path.removeprefix(f"{title}."), _value(view), _about(view)) for view in views],
    )  # fmt: skip
    for column, ratio in zip(made.columns, (3, 4, 7), strict=True):
        column.ratio, column.no_wrap = ratio, False
    return made


def _value(view: FieldView) -> Text:
    value = Text(plain(_shown(view.value)), style="bold" if view.changed else "dim")
    if view.default == REQUIRED:
        return value
    default = f"\ndefault: {_shown(view.default)}" if view.changed else "\ndefault"
    return sentence(value, Text(plain(default), style="dim"))


def _about(view: FieldView) -> Text:
    citation = f"\n{view.citation}" if view.citation else ""
    return sentence(view.description, Text(citation, style="italic green"))


def _shown(value: Any) -> str:
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
