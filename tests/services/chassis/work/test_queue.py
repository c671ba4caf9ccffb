from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.work.queue import decode, encode
from services.chassis.work.queue_inprocess import InProcessQueue


class Takings:
    """What a handler was given, and a gate that holds it up."""

    def __init__(self, *, expected: int = 1) -> None:
        self.units: list[str] = []
        self.gate, self.begun, self.all = threading.Event(), threading.Event(), threading.Event()
        self._expected = expected

    def take(self, unit_id: str) -> None:
        self.begun.set()
        assert self.gate.wait(10)
        self.units.append(unit_id)
        if len(self.units) == self._expected:
            self.all.set()


@pytest.fixture
def queue() -> Iterator[InProcessQueue]:
    made = InProcessQueue(size=3)
    made.start()
    yield made
    made.stop()


def test_an_envelope_comes_back_as_it_was_sent() -> None:
    """Task and unit survive the wire, and every message has a number of its own."""
    first, second = decode(encode("caption.shard", "u-1")), decode(encode("caption.shard", "u-1"))
    assert (first.task, first.unit_id) == ("caption.shard", "u-1")
    assert first.published_at > 0
    assert first.message_id != second.message_id


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_task_and_unit_can_be_sent(task: str, unit: str) -> None:
    """Whatever characters a unit's id has."""
    envelope = decode(encode(task, unit))
    assert (envelope.task, envelope.unit_id) == (task, unit)


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"\xff\xfe", b"[]", b"null", b"{}", b'"x"', b'{"task": "t"}',
     b'{"task": "t", "unit_id": 7}', b'{"task": "t", "unit_id": "u", "more": 1}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_not_an_envelope_is_refused(data: bytes) -> None:
    """A message from elsewhere never becomes work."""
    with pytest.raises(json_format.ParseError):
        decode(data)


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["task", "unitId", "messageId", "x"]), inner, max_size=4),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_bytes_are_an_envelope_or_a_parse_error(data: bytes) -> None:
    """Decoding has no third outcome."""
    try:
        envelope = decode(data)
    except json_format.ParseError:
        return
    assert envelope.task
    assert envelope.unit_id


def test_hints_are_delivered_in_order(queue: InProcessQueue) -> None:
    """First come, first served."""
    takings = Takings(expected=3)
    takings.gate.set()
    queue.register("t", takings.take)
    for unit in ("u1", "u2", "u3"):
        assert queue.publish("t", unit)
    assert takings.all.wait(10)
    assert takings.units == ["u1", "u2", "u3"]


def test_a_full_queue_says_so(queue: InProcessQueue) -> None:
    """The publisher is told at once, and may try later."""
    takings = Takings(expected=4)
    queue.register("t", takings.take)
    queue.publish("t", "running")
    assert takings.begun.wait(10)
    assert [queue.publish("t", f"u{n}") for n in range(4)] == [True, True, True, False]
    takings.gate.set()
    assert takings.all.wait(10)
    assert queue.publish("t", "u3")


def test_a_unit_that_waits_or_runs_is_not_queued_twice(queue: InProcessQueue) -> None:
    """The relay may publish as often as it likes."""
    takings = Takings(expected=2)
    queue.register("t", takings.take)
    queue.publish("t", "running")
    assert takings.begun.wait(10)
    for _ in range(5):
        assert queue.publish("t", "running")
        assert queue.publish("t", "waiting")
    takings.gate.set()
    assert takings.all.wait(10)
    queue.stop()
    assert takings.units == ["running", "waiting"]


def test_a_unit_can_be_queued_again_once_it_has_run(queue: InProcessQueue) -> None:
    """A second attempt needs a second hint."""
    ran = [threading.Event(), threading.Event()]
    left = iter(ran)
    queue.register("t", lambda _: next(left).set())
    for event in ran:
        assert queue.publish("t", "u1")
        # The first hint is forgotten just after its handler returns.
        while not event.wait(0.01):
            queue.publish("t", "u1")


def test_a_handler_that_raises_does_not_end_the_worker(queue: InProcessQueue) -> None:
    """The next unit is taken all the same, and so is one of a task that nobody registered."""
    takings = Takings()
    takings.gate.set()

    def stumble(_: str) -> None:
        raise RuntimeError("bad unit")

    queue.register("bad", stumble)
    queue.register("t", takings.take)
    queue.publish("bad", "u1")
    queue.publish("unknown", "u2")
    queue.publish("t", "u3")
    assert takings.all.wait(10)


def test_stopping_waits_for_the_present_unit_and_drops_the_rest() -> None:
    """An orderly end does not first work off everything that waits."""
    queue, takings = InProcessQueue(), Takings()
    queue.register("t", takings.take)
    queue.start()
    for unit in ("u1", "u2", "u3"):
        queue.publish("t", unit)
    assert takings.begun.wait(10)
    threading.Timer(0.1, takings.gate.set).start()
    queue.stop()
    assert takings.units == ["u1"]
