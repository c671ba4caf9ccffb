"""Hints through Celery and a Redis-compatible broker.

Messages are acknowledged on receipt. If the worker dies, its hint is lost and the relay publishes
another once the unit's lease expires; durable state is in SQL. The broker's own redelivery is not
needed, and a unit can run longer than any broker timeout.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport.redis import Transport

from services.chassis.work.queue import Handler, Queue, decode, encode
from vila2.system.tracing import within

_log = structlog.get_logger()
# Hints not taken by then expire; the relay publishes new ones.
_EXPIRES_SECONDS = 120.0


class PromptTransport(Transport):  # type: ignore[misc]  # kombu has no types
    """Kombu's Redis transport, polling often enough to notice a free thread within 50 ms.

    When every thread has a hint, the consumer stops prefetching and sleeps for as long as its
    caller allows. Celery's plain loop allows two seconds, which leaves threads idle when units are
    short.
    """

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver pending messages; raises `socket.timeout` if there were none."""
        super().drain_events(connection, timeout=min(timeout or 0.05, 0.05))


class CeleryQueue(Queue):
    """Publishes to, and with `workers` consumes from, the broker's list `vila2.NAME`.

    This process does not repeat a unit's hint within `repeat_seconds`. At most about `size` hints
    wait at the broker, so its memory does not grow with the backlog. `publish` returns False while
    that limit is reached or the broker is unavailable.
    """

    def __init__(
        self,
        broker: str,
        *,
        name: str,
        workers: int = 1,
        repeat_seconds: float = 10.0,
        size: int = 1000,
    ) -> None:
        self._name, self._workers, self._repeat = name, workers, repeat_seconds
        self._size, self._room = size, 0  # room: hints that may be sent before asking the broker
        self._published: dict[str, float] = {}  # oldest first
        self._lock = threading.Lock()
        self._worker: Any = None
        self._thread: threading.Thread | None = None
        self._app = Celery(f"vila2.{name}", broker=broker, set_as_current=False)
        self._app.conf.update(
            accept_content=["json"],
            broker_connection_max_retries=None,
            broker_connection_retry_on_startup=True,
            broker_transport=f"{__name__}:{PromptTransport.__name__}",
            broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 10},
            task_default_queue=f"vila2.{name}",
            task_ignore_result=True,
            task_serializer="json",
            worker_cancel_long_running_tasks_on_connection_loss=False,
            worker_enable_remote_control=False,
            worker_hijack_root_logger=False,
            worker_prefetch_multiplier=1,
        )

    def register(self, task: str, handler: Handler) -> None:
        """Register the handler for a task's hints."""

        def take(message: str) -> None:
            envelope = decode(message.encode())
            with within(envelope.traceparent):
                try:
                    handler(envelope.unit_id)
                except Exception:
                    # The unit is retried once its lease expires; Celery is not involved.
                    _log.exception("task failed", task=envelope.task, unit=envelope.unit_id)

        # Not shared: another queue in this process has its own handlers.
        self._app.task(take, name=task, shared=False)

    def publish(self, task: str, unit_id: str) -> bool:
        """Send a hint unless one is pending; False if the queue is full or the broker is down."""
        now = time.monotonic()
        with self._lock:
            self._forget(now - self._repeat)
            if unit_id in self._published:
                return True
        try:
            if self._room <= 0:
                self._room = self._size - self._waiting()
            if self._room <= 0:
                return False
            self._app.send_task(
                task, [encode(task, unit_id).decode()], expires=_EXPIRES_SECONDS, retry=False
            )
        except (OperationalError, OSError) as error:
            _log.warning("broker unreachable", queue=self._name, error=str(error)[:200])
            return False
        with self._lock:
            self._room -= 1
            self._published[unit_id] = now
        return True

    def _forget(self, before: float) -> None:
        """Forget hints published before `before`; amortized O(1) per hint."""
        while self._published:
            unit_id = next(iter(self._published))
            if self._published[unit_id] > before:
                return
            del self._published[unit_id]

    def _waiting(self) -> int:
        """Number of hints waiting at the broker."""
        with self._app.connection_for_write() as connection:
            try:
                with connection.channel() as channel:
                    found = channel.queue_declare(self._app.conf.task_default_queue, passive=True)
                    return int(found.message_count)
            except connection.channel_errors:
                return 0  # Redis has no empty lists
            except connection.connection_errors as error:
                raise OperationalError(str(error)) from error

    def start(self) -> None:
        """Consume in threads of this process if `workers` is set.

        Only one queue per process can consume, because Celery's threads use the default app.
        """
        if not self._workers:
            return
        self._app.set_default()
        self._worker = self._app.WorkController(
            pool="threads",
            concurrency=self._workers,
            hostname=f"{self._name}@{threading.get_ident()}",
            loglevel="WARNING",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            # If the broker fails again during a reconnect, Celery's event loop stops polling for
            # good. The plain loop does not.
            use_eventloop=False,
        )
        self._thread = threading.Thread(
            target=self._worker.start, name=f"celery-{self._name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop consuming and wait for running handlers."""
        if self._worker is not None:
            self._worker.stop()
        if self._thread is not None:
            self._thread.join(timeout=30)
        self._app.close()
