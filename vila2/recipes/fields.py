"""A recipe as a list of its fields, with description, value and citation. Pure.

`vila2 recipes show` prints them. The JSON schema is for editors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from vila2.recipes.recipe import Recipe

REQUIRED = "(required)"
# The `$id` of the schema, independent of its location.
SCHEMA_ID = "urn:vila2:recipe"


@dataclass(frozen=True, slots=True)
class FieldView:
    """One value: `path` is dotted; `default` is `REQUIRED` if there is none.

    `citation` is that of the field or its nearest enclosing field, or empty.
    """

    path: str
    value: Any
    default: Any
    description: str
    citation: str

    @property
    def changed(self) -> bool:
        """Whether the value differs from the default."""
        return bool(self.value != self.default)


def fields_of(recipe: Recipe) -> list[FieldView]:
    """Every value of a recipe, in the order of its definition, except `cites`."""
    return list(_fields(recipe, "", recipe.cites))


def differences(first: Recipe, second: Recipe) -> list[tuple[str, Any, Any]]:
    """(path, value in `first`, value in `second`) for each difference; `None` if missing."""
    left = {view.path: view.value for view in fields_of(first)}
    right = {view.path: view.value for view in fields_of(second)}
    paths = [*left, *(path for path in right if path not in left)]
    return [
        (path, left.get(path), right.get(path))
        for path in paths
        if left.get(path) != right.get(path) or (path in left) != (path in right)
    ]


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe (draft 2020-12), with every field's description."""
    made = Recipe.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **made,
        "title": "VILA² run recipe",
    }


def citation_of(path: str, cites: Mapping[str, str]) -> str:
    """The citation of a field: its own, or that of its nearest enclosing field."""
    while path:
        if path in cites:
            return cites[path]
        path = path.rpartition(".")[0]
    return ""


def _fields(model: BaseModel, prefix: str, cites: Mapping[str, str]) -> Iterator[FieldView]:
    for name, about in type(model).model_fields.items():
        path, value = f"{prefix}{name}", getattr(model, name)
        if path == "cites":
            continue
        below = _below(value)
        if below:
            for inner, held in below.items():
                yield from _fields(held, f"{path}.{inner}." if inner else f"{path}.", cites)
            continue
        default = about.get_default(call_default_factory=True)
        yield FieldView(
            path=path,
            value=value,
            default=REQUIRED if default is PydanticUndefined else default,
            description=about.description or "",
            citation=citation_of(path, cites),
        )


def _below(value: Any) -> dict[str, BaseModel]:
    """The named parts of a value; empty for a scalar."""
    if isinstance(value, BaseModel):
        return {"": value}
    if isinstance(value, dict):
        return {key: held for key, held in value.items() if isinstance(held, BaseModel)}
    if isinstance(value, list):
        return {str(vars(held)["name"]): held for held in value if isinstance(held, BaseModel)}
    return {}
