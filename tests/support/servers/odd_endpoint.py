"""An HTTP server that says what a test wants: endpoints that are broken, slow or hostile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """A reply; `after` runs once its head and body are sent, and may send more."""

    body: bytes | Mapping[str, Any] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    after: Callable[[BaseHTTPRequestHandler], None] | None = None


def completion(text: str = "a fox", **fields: Any) -> dict[str, Any]:
    """An ordinary chat completion, with any field replaced."""
    return {
        "model": "odd",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
        **fields,
    }


class _Server(ThreadingHTTPServer):
    """Takes as many connections at once as clients open: five waiting ones are its default."""

    daemon_threads = True
    request_queue_size = 128


@contextmanager
def odd_endpoint(
    answer: Callable[[int, dict[str, Any]], Reply | None],
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address with /v1, and the requests that it got.

    `answer` gets the number of the request and its JSON; `None` closes the connection unanswered.
    """
    asked: list[dict[str, Any]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            given = json.loads(self.rfile.read(length))
            given["authorization"] = self.headers.get("authorization", "")
            with lock:
                asked.append(given)
                number = len(asked)
            reply = answer(number, given)
            if reply is None:
                self.close_connection = True
                self.connection.close()
                return
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            if reply.after is None:
                self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            if reply.after is not None:
                reply.after(self)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
