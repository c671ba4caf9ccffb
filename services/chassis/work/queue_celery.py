"""Hints through Celery and a Redis-compatible broker.

A message is acknowledged as soon as a worker has it. If that worker dies, the hint is gone, and the
relay publishes another once the unit's lease has run out: what must not be lost is in SQL. So none
of the broker's own ways to give a message to a second worker is needed, and a unit may take longer
than any of its time-outs.
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
# A hint that no worker took by then is dropped; the relay has published another meanwhile.
_EXPIRES_SECONDS = 120.0


class PromptTransport(Transport):  # type: ignore[misc]  # kombu has no types
    """Kombu's Redis transport, which notices within 50 ms that a thread is free again.

    While as many hints are on their way to threads as there are threads, the consumer asks for no
    more, and then sleeps for as long as its caller allows: Celery's plain loop allows two seconds,
    in which short units would leave every thread idle.
    """

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver what is there; `socket.timeout` where nothing was."""
        super().drain_events(connection, timeout=min(timeout or 0.05, 0.05))


class CeleryQueue(Queue):
    """Publishes to, and with `workers` consumes from, the broker's list `vila2.NAME`.

    A unit is not hinted again by this process for `repeat_seconds`, and no more than about `size`
    hints wait at the broker, so that its memory does not grow with the backlog; `publish` is False
    while they do, and while the broker cannot be reached.
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
        """Say which function takes a task's hints."""

        def take(message: str) -> None:
            envelope = decode(message.encode())
            with within(envelope.traceparent):
                try:
                    handler(envelope.unit_id)
                except Exception:
                    # The unit's lease runs out and it is tried again; Celery has no part in that.
                    _log.exception("task failed", task=envelope.task, unit=envelope.unit_id)

        # Not shared: another queue of this process has handlers of its own.
        self._app.task(take, name=task, shared=False)

    def publish(self, task: str, unit_id: str) -> bool:
        """Send a hint, unless one for this unit is on its way; False without room or broker."""
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
        """Drop what was published earlier; each entry is looked at about once."""
        while self._published:
            unit_id = next(iter(self._published))
            if self._published[unit_id] > before:
                return
            del self._published[unit_id]

    def _waiting(self) -> int:
        """How many hints the broker holds that no worker has taken."""
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
        """Consume in threads of this process; without workers, only publish.

        One queue of a process can consume: Celery's threads find their tasks by its default app.
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
            # Celery's own event loop goes deaf where a broker goes away again just as its
            # connection is made anew: it then polls nothing, for ever. The plain loop does not.
            use_eventloop=False,
        )
        self._thread = threading.Thread(
            target=self._worker.start, name=f"celery-{self._name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more, and wait for the handlers that run."""
        if self._worker is not None:
            self._worker.stop()
        if self._thread is not None:
            self._thread.join(timeout=30)
        self._app.close()
