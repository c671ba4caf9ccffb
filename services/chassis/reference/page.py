"""A service's operations as one HTML page, made of its OpenAPI document. Pure.

The page has no script and loads nothing, so it works without the internet, and no other site can
put a program where keys are at hand. To send requests, import `openapi.json` into any tool for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

from services.chassis.web.openapi import operations

# Nothing is loaded, run, framed or sent from the page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
}
_PAGES = Environment(
    loader=PackageLoader("services.chassis.reference", "."), autoescape=True, trim_blocks=True
)


def reference_page(document: Mapping[str, Any]) -> str:
    """The page for a completed OpenAPI document."""
    schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in operations(dict(document)):
        told = _operation(path, method, operation)
        groups.setdefault(operation.get("tags", [""])[0], []).append(told)
    return _PAGES.get_template("page.html").render(
        title=document["info"]["title"],
        groups=sorted(groups.items()),
        schemas=[(name, _fields(schemas[name])) for name in sorted(schemas)],
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    scopes = [scope for each in operation.get("security", []) for held in each.values()
              for scope in held]  # fmt: skip
    return {
        "id": f"{method}{path}",
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "scopes": scopes,
        "parameters": [
            (each["name"], each["in"], _type(each.get("schema", {})), each.get("description", ""))
            for each in operation.get("parameters", [])
        ],
        "bodies": [
            (kind, _type(held.get("schema", {})), _example(held)) for kind, held in content.items()
        ],
        "replies": [
            (status, reply.get("description", ""), _reply_type(reply))
            for status, reply in operation.get("responses", {}).items()
        ],
    }


def _fields(schema: Mapping[str, Any]) -> list[tuple[str, ...]]:
    needed = schema.get("required", [])
    return [
        (name, _type(held), "required" if name in needed else "", held.get("description", ""))
        for name, held in schema.get("properties", {}).items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    """A short name of a schema's type, such as `list of string`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[key]))
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _example(held: Mapping[str, Any]) -> str:
    examples = [each.get("value") for each in held.get("examples", {}).values()]
    example = held.get("example", examples[0] if examples else None)
    return "" if example is None else json.dumps(example, indent=2, ensure_ascii=False)


def _reply_type(reply: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{kind}: {_type(held.get('schema', {}))}"
        for kind, held in reply.get("content", {}).items()
    )
