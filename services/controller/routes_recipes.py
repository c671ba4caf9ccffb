"""The routes of recipes: the shipped recipes and the schema."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from services.chassis.web.paging import Paged
from services.controller.access import Reader
from vila2.recipes.fields import schema
from vila2.recipes.recipe import load_recipe, recipe_text, shipped_recipes
from vila2.schemas.rest.controller import ShippedRecipe

router = APIRouter(prefix="/v1")


@router.get("/recipes", summary="List shipped recipes")
def list_recipes(_: Reader, page: Paged) -> list[ShippedRecipe]:
    """The shipped recipes, sorted by name, each as YAML text and as JSON."""
    made = []
    for name in shipped_recipes():
        recipe = load_recipe(name)
        made.append(
            ShippedRecipe(
                name=name,
                description=recipe.description,
                recipe_hash=recipe.digest(),
                yaml=recipe_text(name),
                content=recipe.model_dump(mode="json"),
            )
        )
    return page.items(made, lambda recipe: (recipe.name,))


@router.get("/recipes/schema", summary="Get the recipe schema")
def get_recipe_schema(_: Reader) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of recipes, for completion and validation in editors."""
    return schema()
