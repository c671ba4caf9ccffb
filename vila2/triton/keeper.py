"""Start a Triton server anew when it ends by itself, where no container engine or init does."""

from __future__ import annotations

import threading
import time

import structlog

from vila2.triton.install import TritonMissing
from vila2.triton.server import TritonServer

_log = structlog.get_logger()
_LOOK_SECONDS = 0.5
# One that ends as often as it starts is not started in a storm.
_PAUSES = (0.5, 2.0, 5.0, 15.0, 30.0)
_STEADY_SECONDS = 60.0


class Keeper:
    """Starts a server and keeps it running until it is stopped; use it as a context manager.

    A server may end with one model's process: Triton's Python backend aborts where that process
    died while it held a lock in the memory that they share. Clients wait and go on by themselves;
    this brings back what they wait for. A server that was stopped or killed on purpose stays down.
    """

    def __init__(self, server: TritonServer) -> None:
        self.server, self.restarts = server, 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="triton-keeper", daemon=True)

    def start(self) -> None:
        """Start it and look after it from now on; raises as the server's `start` does."""
        self.server.start()
        self._thread.start()

    def __enter__(self) -> Keeper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Look after it no longer, and stop it."""
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
