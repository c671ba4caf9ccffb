"""The embedded platform over HTTP, as `vila2 up` serves it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.web.limit_settings import ConnectionSettings
from services.chassis.web.server import create_server
from services.platform.embedded import EmbeddedPlatform
from services.platform.mount import front
from tests.support.servers.ports import free_port
from tests.support.waiting import until


@contextmanager
def served(platform: EmbeddedPlatform, limits: ConnectionSettings | None = None) -> Iterator[str]:
    """The address of a platform that is running already."""
    port = free_port()
    server = create_server(front(platform.apps), port=port, lifespan=False, limits=limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
