"""Bodies that are no JSON, as the OpenAPI document tells of them."""

from __future__ import annotations

from typing import Any

from fastapi import Response

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"schema": {"type": "string"}}


def answers(media_type: str) -> dict[str, Any]:
    """Options of a route that answers with a file."""
    content = {media_type: _TEXT if media_type.startswith("text/") else _BYTES}
    return {"response_class": Response, "responses": {200: {"content": content}}}


def takes(media_type: str) -> dict[str, Any]:
    """Options of a route that reads the body itself, since it is large."""
    body = {"required": True, "content": {media_type: _BYTES}}
    return {"openapi_extra": {"requestBody": body}}
