"""Request bodies with a limit that holds while they arrive."""

from __future__ import annotations

from fastapi import Request

from services.chassis.errors import TooLarge


async def body_of(request: Request, limit: int) -> bytes:
    """The whole body, or `TooLarge` as soon as it has more than `limit` bytes."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"a body here has at most {limit:,} bytes", fix="send smaller pieces")
        chunks.append(chunk)
    return b"".join(chunks)
