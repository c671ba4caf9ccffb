"""Validation errors of a recipe as readable text, with line and fix per field. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list, as in [a, b]",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
}


def explain(
    error: ValidationError,
    *,
    schema: Mapping[str, Any] | None = None,
    lines: Mapping[str, int] | None = None,
) -> str:
    """One line per invalid field: its path, what is wrong, and the fix.

    With the recipe's JSON schema, a misspelt key gets a suggestion; with `lines` (path -> line of
    the file), each field gets its line number.
    """
    known = _property_names(schema) if schema else []
    told = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        line = _line(where, lines or {})
        place = f"line {line}, " if line else ""
        told.append(f"  {place}{where or '(whole recipe)'}: {_fix(problem, known)}")
    return "\n".join(told)


def line_numbers(text: str) -> dict[str, int]:
    """Map the dotted path of every key and item of a valid YAML text to its line, from 1."""
    found: dict[str, int] = {}

    def walk(node: yaml.Node | None, path: str) -> None:
        entries: list[tuple[str, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            entries = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            entries = [(str(number), item, item) for number, item in enumerate(node.value)]
        for name, place, below in entries:
            inner = f"{path}.{name}" if path else name
            found[inner] = place.start_mark.line + 1
            walk(below, inner)

    walk(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return found


def repeated_keys(text: str) -> list[str]:
    """Duplicate keys in the mappings of a YAML text; a loader would silently keep the last."""
    told: list[str] = []
    seen: set[int] = set()  # an alias is the same node as its anchor: visit it once

    def walk(node: yaml.Node | None) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                walk(item)
        if not isinstance(node, yaml.MappingNode):
            return
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                told.append(f"`{name}` stands in line {lines[name]} and again in line {line}")
            lines[name] = line
            walk(value)

    walk(yaml.compose(text, Loader=yaml.SafeLoader))
    return told


def located(problems: Mapping[str, str], lines: Mapping[str, int]) -> str:
    """One line per field of a valid recipe (path -> what is wrong), with its line number."""
    told = []
    for where, reason in problems.items():
        line = _line(where, lines)
        told.append(f"  {f'line {line}, ' if line else ''}{where}: {reason}")
    return "\n".join(told)


def _line(where: str, lines: Mapping[str, int]) -> int | None:
    """The field's line, or that of its nearest enclosing field."""
    while where:
        if where in lines:
            return lines[where]
        where = where.rpartition(".")[0]
    return None


def _fix(problem: Any, known: list[str]) -> str:
    kind = str(problem["type"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    given, limits = problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        return f"unknown key; remove it or correct its spelling{hint}"
    if kind == "missing":
        return "is required; add it"
    if kind in _BOUNDS:
        name, word = _BOUNDS[kind]
        return f"is {given!r}; set it to {word} {limits[name]:g}"
    if kind == "literal_error":
        return f"is {given!r}; use one of {limits['expected']}"
    if kind == "string_pattern_mismatch":
        return f"is {given!r}; use small letters, digits and dashes, and begin with no dash"
    if kind == "too_short":
        return "is empty; give at least one"
    wanted = _TYPES.get(kind.partition("_")[0])
    if wanted and kind != "value_error":
        return f"is {given!r}; give {wanted}"
    return message


def _property_names(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _property_names(item)]
    if not isinstance(schema, Mapping):
        return []
    own = (
        list(schema.get("properties", {})) if isinstance(schema.get("properties"), Mapping) else []
    )
    return own + [name for value in schema.values() for name in _property_names(value)]
