"""Restarts a crashed Triton server, for setups without a container engine or init system."""

from __future__ import annotations

import threading
import time

import structlog

from vila2.triton.install import TritonMissing
from vila2.triton.server import TritonServer

_log = structlog.get_logger()
_LOOK_SECONDS = 0.5
# Seconds before each further restart of a server that keeps crashing.
_PAUSES = (0.5, 2.0, 5.0, 15.0, 30.0)
_STEADY_SECONDS = 60.0


class Keeper:
    """Starts a server and keeps it running until it is stopped; use it as a context manager.

    A model's process can take the server down: Triton's Python backend aborts if that process dies
    while it holds a lock in shared memory. Clients wait and reconnect by themselves after the
    restart. A server that was stopped or killed on purpose is not restarted.
    """

    def __init__(self, server: TritonServer) -> None:
        self.server, self.restarts = server, 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="triton-keeper", daemon=True)

    def start(self) -> None:
        """Start the server and watch it; raises as the server's `start` does."""
        self.server.start()
        self._thread.start()

    def __enter__(self) -> Keeper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop watching, and stop the server."""
        self._ending.set()
        self._thread.join()
        self.server.stop()

    def _keep(self) -> None:
        tries, began, failed = 0, time.monotonic(), False
        while not self._ending.wait(_LOOK_SECONDS):
            status = self.server.ended()
            if status is None and not failed:
                continue
            if time.monotonic() - began > _STEADY_SECONDS:
                tries = 0
            if status is not None:
                _log.warning("Triton ended by itself", status=status, log=str(self.server.log))
            if self._ending.wait(_PAUSES[min(tries, len(_PAUSES) - 1)]):
                return
            tries, began = tries + 1, time.monotonic()
            try:
                self.server.restart()
            except TritonMissing as error:
                failed = True
                _log.error("Triton does not start again", reason=str(error)[-500:])
                continue
            failed = False
            self.restarts += 1
            _log.info("Triton was started anew", restarts=self.restarts)
