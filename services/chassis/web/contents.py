"""Bodies that are not JSON: their description in OpenAPI, and receiving them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from services.chassis.web.middleware import LENGTH

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"schema": {"type": "string"}}


def answers(media_type: str) -> dict[str, Any]:
    """Route options for a response of this media type."""
    content = {media_type: _TEXT if media_type.startswith("text/") else _BYTES}
    return {"response_class": Response, "responses": {200: {"content": content}}}


def takes(media_type: str) -> dict[str, Any]:
    """Route options for a large body that the route reads as a stream."""
    body = {"required": True, "content": {media_type: _BYTES}}
    return {"openapi_extra": {"requestBody": body}}


@dataclass(frozen=True, slots=True)
class Received:
    """A body stored in a file, with its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    bytes: int
    sha256: str


@asynccontextmanager
async def received(request: Request, folder: Path) -> AsyncIterator[Received]:
    """Stream the body to a temporary file in `folder`; it is deleted on exit."""
    digest, size = hashlib.sha256(), 0
    with NamedTemporaryFile(dir=folder, prefix="body-") as file:
        async for chunk in request.stream():
            digest.update(chunk)
            size += len(chunk)
            await run_in_threadpool(file.write, chunk)
        await run_in_threadpool(file.flush)
        yield Received(Path(file.name), size, digest.hexdigest())


def declared_bytes(request: Request) -> int:
    """The body's size in bytes according to Content-Length; 0 if there is none."""
    declared = request.headers.get("content-length", "")
    return int(declared) if LENGTH.fullmatch(declared) else 0
