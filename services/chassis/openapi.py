"""What each service's OpenAPI document says of access: the refusals that any route may answer with.

Which scope a route needs is in its `security`, put there by `auth.require`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from vila2.api.problem import Problem

_REFUSALS = {
    "401": ("Unauthenticated", "No key, or one that is unknown, expired or revoked."),
    "403": ("Forbidden", "The key is known but lacks the route's scope."),
    "429": ("TooManyRequests", "The team has used what it may for now: see `Retry-After`."),
}
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}


def describe_refusals(app: FastAPI) -> None:
    """Add the problem replies 401, 403 and 429 to every operation of an app's document."""
    generate = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _add(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _add(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).setdefault("Problem", Problem.model_json_schema())
    replies = components.setdefault("responses", {})
    for status, (name, description) in _REFUSALS.items():
        schema = {"$ref": "#/components/schemas/Problem"}
        reply: dict[str, Any] = {
            "description": description,
            "content": {"application/problem+json": {"schema": schema}},
        }
        if status == "429":
            reply["headers"] = {"Retry-After": _RETRY_AFTER}
        replies[name] = reply
    for methods in document.get("paths", {}).values():
        for operation in methods.values():
            for status, (name, _) in _REFUSALS.items():
                reference = {"$ref": f"#/components/responses/{name}"}
                operation["responses"].setdefault(status, reference)
