"""Bodies that are not JSON: their description in OpenAPI, and receiving them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.chassis.web.key_then_body import LENGTH

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_PIECE = 1 << 18  # bytes of a file that are read at a time
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


def streamed(file: BinaryIO, *, media_type: str) -> StreamingResponse:
    """A reply with a file's content, read in pieces as the client takes them.

    A client that stops reading holds one piece in memory, not the file. The file is closed at the
    reply's end, also if the client goes away.
    """
    size = os.fstat(file.fileno()).st_size
    headers = {"content-length": str(size)}
    return _FileReply(file, media_type=media_type, headers=headers)


class _FileReply(StreamingResponse):
    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(iter(partial(file.read, _PIECE), b""), **options)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def declared_bytes(request: Request) -> int:
    """The body's size in bytes according to Content-Length; 0 if there is none."""
    declared = request.headers.get("content-length", "")
    return int(declared) if LENGTH.fullmatch(declared) else 0
