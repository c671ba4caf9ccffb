"""Bodies that are not JSON: how the OpenAPI document describes them, and how they are received."""

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
    """Options of a route that answers with a file."""
    content = {media_type: _TEXT if media_type.startswith("text/") else _BYTES}
    return {"response_class": Response, "responses": {200: {"content": content}}}


def takes(media_type: str) -> dict[str, Any]:
    """Options of a route that reads the body itself, since it is large."""
    body = {"required": True, "content": {media_type: _BYTES}}
    return {"openapi_extra": {"requestBody": body}}


@dataclass(frozen=True, slots=True)
class Received:
    """A body as a file."""

    path: Path
    bytes: int
    sha256: str


@asynccontextmanager
async def received(request: Request, folder: Path) -> AsyncIterator[Received]:
    """The body in a temporary file below `folder`, which is removed in the end."""
    digest, size = hashlib.sha256(), 0
    with NamedTemporaryFile(dir=folder, prefix="body-") as file:
        async for chunk in request.stream():
            digest.update(chunk)
            size += len(chunk)
            await run_in_threadpool(file.write, chunk)
        await run_in_threadpool(file.flush)
        yield Received(Path(file.name), size, digest.hexdigest())


def declared_bytes(request: Request) -> int:
    """How large the body will be, as far as the request says so; 0 if it does not."""
    declared = request.headers.get("content-length", "")
    return int(declared) if LENGTH.fullmatch(declared) else 0
