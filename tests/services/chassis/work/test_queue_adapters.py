"""What every adapter of the queue must do, over threads and over Celery with a real broker."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from services.chassis.work.queue import Queue
from services.chassis.work.queue_celery import CeleryQueue
from services.chassis.work.queue_inprocess import InProcessQueue
from tests.support.servers.ports import free_port
from tests.support.servers.valkey import Broker, valkey
from tests.support.waiting import until

REPEAT = 0.5


@dataclass
class Side:
    """Where hints are published and where they are consumed: one object, or one in each process."""

    publisher: Queue
    consumer: Queue
    taken: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, unit: str) -> None:
        with self.lock:
            self.taken[unit] += 1

    def has(self, *units: str) -> bool:
        return set(units) <= set(self.taken)


def celery(broker: Broker, name: str, *, workers: int) -> CeleryQueue:
    return CeleryQueue(broker.url, name=name, workers=workers, repeat_seconds=REPEAT)


@pytest.fixture(params=["threads", pytest.param("celery", marks=pytest.mark.server)])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    if request.param == "threads":
        queue = InProcessQueue(workers=2)
        made = Side(queue, queue)
    else:
        server, name = request.getfixturevalue("broker"), f"q-{uuid4().hex[:8]}"
        made = Side(celery(server, name, workers=0), celery(server, name, workers=2))
    for queue in {id(q): q for q in (made.publisher, made.consumer)}.values():
        queue.register("t", made.take)
    yield made
    made.consumer.stop()


def test_every_hint_reaches_a_handler(side: Side) -> None:
    """Those that were published before anybody listened as well."""
    units = [f"u{n}" for n in range(60)]
    assert all(side.publisher.publish("t", unit) for unit in units[:30])
    side.consumer.start()
    assert all(side.publisher.publish("t", unit) for unit in units[30:])
    until(lambda: side.has(*units), seconds=30)


def test_units_with_odd_names_arrive_as_they_are(side: Side) -> None:
    """Blanks, quotes and letters of any script."""
    side.consumer.start()
    names = ['a "b" c', "layer/1\u2028x", "größe-Ω", "{}"]
    for name in names:
        side.publisher.publish("t", name)
    until(lambda: side.has(*names), seconds=30)


def test_a_handler_that_raises_ends_nothing(side: Side) -> None:
    """The next hint is taken."""

    def stumble(unit: str) -> None:
        side.take(unit)
        raise RuntimeError("bad unit")

    side.consumer.register("bad", stumble)
    side.consumer.start()
    side.publisher.publish("bad", "u1")
    until(lambda: side.has("u1"), seconds=30)
    side.publisher.publish("t", "u2")
    until(lambda: side.has("u2"), seconds=30)


def test_publishing_over_and_over_does_not_multiply_the_work(side: Side) -> None:
    """The relay publishes for every unit that waits, every half second."""
    for _ in range(200):
        assert side.publisher.publish("t", "u1")
    side.consumer.start()
    until(lambda: side.has("u1"), seconds=30)
    assert side.taken["u1"] <= 3


def test_a_unit_can_be_hinted_again(side: Side) -> None:
    """A second attempt needs a second hint."""
    side.consumer.start()
    side.publisher.publish("t", "u1")
    until(lambda: side.has("u1"), seconds=30)
    time.sleep(REPEAT)

    def again() -> bool:
        side.publisher.publish("t", "u1")
        return side.taken["u1"] >= 2

    until(again, seconds=30)


@pytest.mark.server
def test_without_a_broker_a_hint_is_refused_and_goes_through_when_it_is_back(
    tmp_path: Path,
) -> None:
    """Killed in the middle; the publisher is told, and the consumer goes on by itself."""
    port, name = free_port(), f"q-{uuid4().hex[:8]}"
    taken: list[str] = []
    with valkey(tmp_path / "first", port=port) as server:
        publisher = celery(server, name, workers=0)
        consumer = celery(server, name, workers=1)
        consumer.register("t", taken.append)
        consumer.start()
        publisher.publish("t", "before")
        until(lambda: "before" in taken, seconds=30)
    assert not publisher.publish("t", "meanwhile")
    with valkey(tmp_path / "second", port=port):

        def back() -> bool:
            publisher.publish("t", "after")
            return "after" in taken

        until(back, seconds=40)
        consumer.stop()


def test_a_hint_that_nobody_can_read_harms_nothing(broker: Broker) -> None:
    """A message of a task that is not registered is dropped, and the next is taken."""
    name, taken = f"q-{uuid4().hex[:8]}", []
    publisher, consumer = celery(broker, name, workers=0), celery(broker, name, workers=1)
    consumer.register("t", taken.append)
    consumer.start()
    publisher.publish("of-another-version", "u1")
    publisher.publish("t", "u2")
    until(lambda: taken == ["u2"], seconds=30)
    consumer.stop()
