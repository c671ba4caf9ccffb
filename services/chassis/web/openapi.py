"""What every operation's documentation has in common, added to the document that FastAPI makes.

Routes say what is theirs: summary, description, models with examples. From here come tags, the
refusals that any of them may answer with, headers, and the examples where tools look for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from vila2.schemas.rest.problem import Problem

_METHODS = ("get", "put", "post", "delete", "patch")
# Status -> what it means, an example's code, field and fix.
_REFUSALS: dict[int, tuple[str, str, str, str]] = {
    401: ("No key, or one that is unknown.", "unauthenticated", "Authorization", "check the key"),
    403: ("The key lacks the scope.", "forbidden", "", "ask for a key with it"),
    404: ("There is no such thing in the caller's team.", "not-found", "run", "`vila2 runs list`"),
    409: ("The thing is not in a state that allows this.", "conflict", "state", "wait for it"),
    413: ("The body is too large.", "too-large", "", "send smaller pieces"),
    422: ("A field is wrong, or missing.", "invalid", "name", "see the schema of name"),
    429: ("The team has used what it may for now.", "too-many-requests", "", "wait"),
    503: ("Another service, or a model, does not answer.", "unreachable", "", "try again later"),
}
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
_WRITES = ("post", "put", "patch", "delete")


def complete_document(app: FastAPI) -> None:
    """Let `app.openapi` tell all that is said here."""
    plain = app.openapi
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(completed(plain()))
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what all operations have in common; changes it in place."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    document["components"]["responses"] = {
        f"Problem{status}": _refusal(status) for status in _REFUSALS
    }
    for path, method, operation in operations(document):
        # `/v1/runs/{run}/events` is about runs.
        operation.setdefault("tags", [path.split("/")[2]])
        _refusals(operation, method)
        _headers(operation)
        for media in _media(operation):
            _example(media, schemas)
    tags = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    document["tags"] = [{"name": tag} for tag in sorted(tags)]
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of all that a document lists."""
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _refusals(operation: dict[str, Any], method: str) -> None:
    parameters = operation.get("parameters", [])
    wanted = [401, 403, 422, 429, 503]
    if method in _WRITES or any(parameter["in"] == "path" for parameter in parameters):
        wanted += [404, 409]
    if method in _WRITES:
        wanted.append(413)
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own form of it, which nothing here answers with
    for status in sorted(wanted):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}


def _refusal(status: int) -> dict[str, Any]:
    """A response component: the problem document with an example."""
    description, code, field, fix = _REFUSALS[status]
    told = Problem(
        type=f"urn:vila2:problem:{code}",
        title=code.replace("-", " ").title().replace(" ", ""),
        status=status,
        detail=description,
        field=field or None,
        fix=fix or None,
        request_id="8f14e45fceea467a9c1d0f2b6a7d3e55",
    )
    content = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": told.model_dump(exclude_none=True),
    }
    told_when = {"Retry-After": _RETRY_AFTER} if status == 429 else {}
    return {
        "description": description,
        "headers": told_when,
        "content": {"application/problem+json": content},
    }


def _headers(operation: dict[str, Any]) -> None:
    """Headers that the chassis sends, whatever the route."""
    paged = any(parameter["name"] == "cursor" for parameter in operation.get("parameters", []))
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            continue
        headers = response.setdefault("headers", {})
        headers["X-Request-Id"] = _header("By which the logs of all services know the request.")
        if paged:
            headers["Link"] = _header('The next page, `rel="next"`; missing on the last one.')
        if status == "202":
            headers["Location"] = _header("The resource that tells how far the work is.")


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _media(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """JSON contents of an operation's request and of what it answers with."""
    bodies = [operation.get("requestBody", {})]
    bodies += [told for status, told in operation["responses"].items() if status.startswith("2")]
    for body in bodies:
        if "application/json" in body.get("content", {}):
            yield body["content"]["application/json"]


def _example(media: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Show the model's own example, for a list one of its items'."""
    schema = media.get("schema", {})
    found = _example_of(schema, schemas)
    if found is not None and "example" not in media and "examples" not in media:
        media["example"] = found


def _example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[-1]]
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("type") == "array":
        item = _example_of(schema.get("items", {}), schemas)
        return None if item is None else [item]
    return None
