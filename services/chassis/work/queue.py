"""The queue port: hints to workers. Messages may be lost or duplicated; SQL is authoritative."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable

from google.protobuf import json_format

from vila2.system import tracing
from vila2.wire.queue_pb2 import TaskEnvelope

Handler = Callable[[str], object]  # takes the unit's id


class Queue(ABC):
    """Publishes hints and calls the task's handler somewhere, in the trace of the publisher."""

    @abstractmethod
    def register(self, task: str, handler: Handler) -> None:
        """Register the handler for a task's hints."""

    @abstractmethod
    def publish(self, task: str, unit_id: str) -> bool:
        """Send a hint; False if the queue is full, in which case the relay retries."""

    @abstractmethod
    def start(self) -> None:
        """Start delivering hints."""

    @abstractmethod
    def stop(self) -> None:
        """Stop delivering and wait for running handlers."""


def encode(task: str, unit_id: str) -> bytes:
    """A hint as it crosses the wire: the envelope of `proto/vila2/v1/queue.proto` as JSON."""
    envelope = TaskEnvelope(
        message_id=uuid.uuid4().hex,
        task=task,
        unit_id=unit_id,
        published_at=time.time(),
        traceparent=tracing.current(),
    )
    return json_format.MessageToJson(envelope, indent=None).encode()


def decode(data: bytes) -> TaskEnvelope:
    """Read a hint back; raises `json_format.ParseError` for anything else."""
    try:
        envelope = json_format.Parse(data.decode(), TaskEnvelope())
    except (UnicodeDecodeError, RecursionError) as error:
        raise json_format.ParseError(f"not a task envelope: {error}") from error
    if not envelope.task or not envelope.unit_id:
        raise json_format.ParseError("a task envelope names its task and its unit_id")
    return envelope
