"""An OpenAI-compatible endpoint that answers after a fixed time: what is left is the client's.

python bench/engines_server.py SECONDS      # prints its address
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

import uvicorn

REPLY = json.dumps(
    {
        "model": "fixed",
        "choices": [{"message": {"content": "a brown dog on the grass"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 6},
    }
).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the request, wait, answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await asyncio.sleep(float(sys.argv[1]))
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": REPLY})


def main() -> None:
    """Serve on a free port until ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
