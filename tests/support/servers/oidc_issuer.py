"""An OpenID Connect issuer on loopback: discovery, keys, and tokens made for the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey


class Issuer:
    """What it publishes may be changed while it runs; `asked` counts the requests by path."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys: dict[str, Any] = {}
        self.asked: dict[str, int] = {}
        self.down = False
        self.add_key("first")

    def add_key(self, kid: str, *, kind: str = "RSA") -> None:
        make: Any = RSAKey if kind == "RSA" else ECKey
        size: Any = 2048 if kind == "RSA" else "P-256"
        self.keys[kid] = make.generate_key(size, {"kid": kid})

    def document(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            return dict(KeySet([*self.keys.values()]).as_dict(private=False))
        return None

    def token(
        self, *, kid: str = "first", key: Any = None, algorithm: str = "RS256", **claims: Any
    ) -> str:
        """A good token of ada's in team red, but for what is given; `None` leaves a claim out."""
        told = {
            "iss": self.url, "aud": "vila2", "sub": "1", "email": "ada@example.org",
            "team": "red", "role": "member", "exp": int(time.time()) + 300, **claims,
        }  # fmt: skip
        held = {name: value for name, value in told.items() if value is not None}
        header = {"alg": algorithm, "kid": kid}
        return jwt.encode(header, held, key or self.keys[kid], algorithms=[algorithm])


@contextmanager
def issuer() -> Iterator[Issuer]:
    """A server until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked[self.path] = made.asked.get(self.path, 0) + 1
            document = None if made.down else made.document(self.path)
            body = json.dumps(document).encode()
            self.send_response(503 if document is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Issuer(server.server_address[1])
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
