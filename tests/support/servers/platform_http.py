"""The embedded platform over HTTP, as `vila2 up` serves it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from services.platform.embedded import EmbeddedPlatform
from services.platform.mount import front
from tests.support.servers.process import free_port
from tests.support.waiting import until


@contextmanager
def served(platform: EmbeddedPlatform) -> Iterator[str]:
    """The address of a platform that is running already."""
    port = free_port()
    config = uvicorn.Config(front(platform.apps), port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
