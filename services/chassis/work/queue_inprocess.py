"""A bounded in-process queue with worker threads; messages are still encoded and decoded."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress

import structlog

from services.chassis.work.queue import Handler, Queue, decode, encode
from vila2.system.tracing import within
from vila2.wire.queue_pb2 import TaskEnvelope

_log = structlog.get_logger()


class InProcessQueue(Queue):
    """Delivers each hint to one of `workers` threads; duplicates of waiting hints are dropped."""

    def __init__(self, *, workers: int = 1, size: int = 1000, name: str = "worker") -> None:
        self._messages: queue.Queue[bytes | None] = queue.Queue(size)
        self._handlers: dict[str, Handler] = {}
        self._pending: set[str] = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(workers)
        ]

    def register(self, task: str, handler: Handler) -> None:
        """Register the handler for a task's hints."""
        self._handlers[task] = handler

    def publish(self, task: str, unit_id: str) -> bool:
        """Queue a hint unless the same unit waits or runs here."""
        with self._lock:
            if unit_id in self._pending:
                return True
            try:
                self._messages.put_nowait(encode(task, unit_id))
            except queue.Full:
                return False
            self._pending.add(unit_id)
            return True

    def start(self) -> None:
        """Start the worker threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads after their current unit; waiting hints are dropped."""
        self._ending.set()
        for _ in self._threads:
            with suppress(queue.Full):  # a thread that finds a message looks at the event as well
                self._messages.put_nowait(None)
        for thread in self._threads:
            thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            data = self._messages.get()
            if data is None or self._ending.is_set():
                return
            envelope = decode(data)
            with within(envelope.traceparent):
                self._handle(envelope)

    def _handle(self, envelope: TaskEnvelope) -> None:
        try:
            self._handlers[envelope.task](envelope.unit_id)
        except Exception:
            # The unit is retried once its lease expires; the thread must survive.
            _log.exception("task failed", task=envelope.task, unit=envelope.unit_id)
        finally:
            with self._lock:
                self._pending.discard(envelope.unit_id)
