"""A level-triggered loop: look at the state, act on it, wait, look again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Loop:
    """Calls `tick` every `seconds` in a thread, or at once after `nudge`.

    A tick that raises is logged and tried again: the state it looks at is unchanged.
    """

    def __init__(self, name: str, tick: Callable[[], None], *, seconds: float) -> None:
        self._name, self._tick, self._seconds = name, tick, seconds
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def nudge(self) -> None:
        """Tick soon: something has changed."""
        self._wake.set()

    def stop(self) -> None:
        """End after the tick in hand."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        structlog.contextvars.bind_contextvars(loop=self._name)
        while not self._ending.is_set():
            try:
                self._tick()
            except Exception:
                _log.exception("loop tick failed")
            self._wake.wait(self._seconds)
            self._wake.clear()
