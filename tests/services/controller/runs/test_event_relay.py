"""Events are published after they were committed, in order, and none is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.storage.database import Database
from services.chassis.web.idempotency import KeyedRequest
from services.controller.runs import events
from services.controller.runs.event_relay import STREAM, EventRelay, RedisSink
from services.controller.runs.runs import new_run
from services.controller.tables import Base
from tests.support.servers.valkey import Broker
from vila2.recipes.recipe import load_recipe


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.sqlite(tmp_path / "controller.sqlite", Base.metadata)
    with made.transaction() as session:
        asked, recipe = KeyedRequest(None, ""), load_recipe("tiny")
        run = new_run(team="t", asked=asked, name="n", recipe=recipe, recipe_hash="h")
        run.id = "run-1"
        session.add(run)
        session.flush()
        for number in range(5):
            events.record(session, "run-1", "run.tested", "", f"number {number}")
    yield made
    made.close()


class Sink:
    def __init__(self, *, breaks_at: int = 0) -> None:
        self.got: list[int] = []
        self._breaks_at = breaks_at

    def publish(self, run_id: str, sequence: int, body: str) -> None:
        if sequence == self._breaks_at:
            self._breaks_at = 0
            raise ConnectionError("the broker is away")
        self.got.append(sequence)


def test_events_are_published_once_in_order(database: Database) -> None:
    sink = Sink()
    relay = EventRelay(database, sink)
    assert (relay.tick(), relay.tick()) == (5, 0)
    assert sink.got == [1, 2, 3, 4, 5]


def test_what_the_sink_did_not_take_is_published_later(database: Database) -> None:
    sink = Sink(breaks_at=3)
    relay = EventRelay(database, sink)
    with pytest.raises(ConnectionError):
        relay.tick()
    relay.tick()
    assert set(sink.got) == {1, 2, 3, 4, 5}
    assert sink.got[-5:] == [1, 2, 3, 4, 5]


def test_a_stream_of_a_real_server_holds_them(database: Database, broker: Broker) -> None:
    import redis

    EventRelay(database, RedisSink(broker.url)).tick()
    held = redis.Redis.from_url(broker.url).xrange(STREAM)
    assert [int(fields[b"sequence"]) for _, fields in held] == [1, 2, 3, 4, 5]
    assert json.loads(held[0][1][b"event"])["message"] == "number 0"
