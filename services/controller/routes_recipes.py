"""The routes of recipes: those that ship, and the schema of all."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from services.chassis.web.paging import Paged
from services.controller.access import Reader
from vila2.recipes.fields import schema
from vila2.recipes.recipe import load_recipe, recipe_text, shipped_recipes
from vila2.schemas.rest.controller import ShippedRecipe

router = APIRouter(prefix="/v1")


@router.get("/recipes", summary="Shipped recipes")
def list_recipes(_: Reader, page: Paged) -> list[ShippedRecipe]:
    """Every recipe that ships, by name, with its text and its content."""
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


@router.get("/recipes/schema", summary="JSON schema of recipes")
def get_recipe_schema(_: Reader) -> dict[str, Any]:
    """For editors that complete and check: draft 2020-12, with every field's description."""
    return schema()
