"""`vila2 recipes`: the shipped recipes, to read and to copy."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from vila2.recipe import load_recipe, recipe_text, shipped_recipes

app = typer.Typer(no_args_is_help=True, help="Recipes: everything that a run decides.")
console = Console(soft_wrap=True)


@app.command("list")
def list_recipes() -> None:
    """The recipes that ship with the package."""
    for name in shipped_recipes():
        console.print(f"[bold]{name}[/]  {load_recipe(name).description}")


@app.command("show")
def show(recipe: Annotated[str, typer.Argument(help="A shipped name or a file.")]) -> None:
    """Print a recipe's YAML."""
    typer.echo(recipe_text(recipe), nl=False)


@app.command("check")
def check(recipe: Annotated[str, typer.Argument(help="A shipped name or a file.")]) -> None:
    """Validate a recipe and print its hash; every wrong field is named with its fix."""
    checked = load_recipe(recipe)
    console.print(f"{checked.name}: valid, hash {checked.digest()}")
