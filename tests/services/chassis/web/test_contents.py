"""Large replies: read in pieces, as the client takes them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from services.chassis.web.contents import _PIECE, streamed

SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET"}


async def receive() -> dict[str, str]:
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}


def test_a_file_is_sent_whole_with_its_length(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    (tmp_path / "file").write_bytes(data)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    reply = streamed((tmp_path / "file").open("rb"), media_type="application/x-tar")
    asyncio.run(reply(SCOPE, receive, send))  # type: ignore[arg-type]
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(data)).encode()
    assert b"".join(message["body"] for message in sent[1:]) == data


def test_a_client_that_stops_reading_holds_one_piece_and_then_nothing(tmp_path: Path) -> None:
    """Ten stalled readers of a large shard do not take its size ten times."""
    with (tmp_path / "file").open("wb") as out:
        out.truncate(100 * _PIECE)
    file = (tmp_path / "file").open("rb", buffering=0)
    bodies = 0

    async def send(message: Any) -> None:
        nonlocal bodies
        if message["type"] == "http.response.body":
            bodies += 1
            if bodies == 2:
                assert file.tell() <= 2 * _PIECE
                raise OSError("the client is gone")

    reply = streamed(file, media_type="application/x-tar")  # type: ignore[arg-type]
    with pytest.raises(ClientDisconnect):
        asyncio.run(reply(SCOPE, receive, send))  # type: ignore[arg-type]
    assert file.closed
