"""A web server on the loopback that serves images, redirects, opt-outs and rules for robots."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ImagesWeb:
    """The server's address, its pages by path, and how often each was asked for."""

    url: str
    pages: dict[str, Page]
    asked: Counter[str] = field(default_factory=Counter)


@contextmanager
def images_web(pages: Mapping[str, Page]) -> Iterator[ImagesWeb]:
    """Serve `pages` until the block ends; any other path is a 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked[self.path] += 1
            page = web.pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            headers = {"content-type": "image/png", "content-length": str(len(page.body))}
            for name, value in {**headers, **page.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = ImagesWeb(f"http://127.0.0.1:{server.server_port}", dict(pages))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
