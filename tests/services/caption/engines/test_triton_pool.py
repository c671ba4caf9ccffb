"""Several Triton servers as one: work is spread, and a server may come and go."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from services.caption.engines.engine import (
    Abilities,
    EngineInfo,
    EngineRefused,
    EngineUnavailable,
)
from services.caption.engines.triton import TritonEngines
from services.caption.engines.triton_connection import Connection
from services.caption.engines.triton_pool import Member, TritonPool
from services.caption.tables import Base
from services.caption.triton.repository import EngineOptions
from services.caption.triton.served import ServedModels
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from tests.support.caption_engines import PREFIX, embedded_engines, ignore, requests
from tests.support.servers.triton import triton_server
from tests.support.waiting import until
from vila2.engine.requests import Generation, ImageInput, Request, Scoring
from vila2.triton.server import TritonServer


class Server:
    """A scripted server: away, refusing, or answering with its name."""

    image_input = ImageInput(side=32)

    def __init__(self, name: str) -> None:
        self.name, self.away, self.refuses, self.asked = name, False, False, 0

    def get(self, prefix: str) -> Server:
        if self.away:
            raise EngineUnavailable(f"{self.name} is away")
        return self

    def info(self, prefix: str) -> EngineInfo:
        return EngineInfo(self.get(prefix).name, "1")

    def abilities(self, prefix: str) -> Abilities:
        return Abilities()

    def generate(
        self, asked: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        if self.refuses:
            raise EngineRefused("never")
        self.asked += 1
        return [Generation(self.name, 1, -1.0, "stop") for _ in asked]

    def stream(self, request: Request) -> Iterator[str | Generation]:
        yield self.name
        yield from self.generate([request], progress=ignore)

    def score(self, asked: Sequence[Scoring]) -> list[float]:
        return [0.0 for _ in asked]

    def release(self, prefix: str) -> bool:
        return not self.away

    def close(self) -> None:
        pass


@pytest.fixture
def servers() -> list[Server]:
    return [Server("a"), Server("b")]


@pytest.fixture
def pool(servers: list[Server]) -> TritonPool:
    return TritonPool([Member(server.name, server) for server in servers], pause=0.2)


def answered(pool: TritonPool) -> str:
    return pool.get("m").generate(requests(1), progress=ignore)[0].text


def test_a_server_that_is_away_is_left_alone_and_tried_again_later(
    pool: TritonPool, servers: list[Server]
) -> None:
    servers[0].away = True
    assert [answered(pool) for _ in range(3)] == ["b"] * 3
    servers[0].away = False
    until(lambda: answered(pool) == "a", seconds=5)


def test_no_server_is_an_unavailable_engine(pool: TritonPool, servers: list[Server]) -> None:
    for server in servers:
        server.away = True
    with pytest.raises(EngineUnavailable, match="is away"):
        pool.get("m")


def test_a_refusal_is_not_asked_of_another(pool: TritonPool, servers: list[Server]) -> None:
    """It would refuse as well, or give what the first says is wrong."""
    servers[0].refuses = True
    with pytest.raises(EngineRefused):
        answered(pool)
    assert servers[1].asked == 0


def test_a_stream_begins_at_another_server_only_before_its_first_piece(
    pool: TritonPool, servers: list[Server]
) -> None:
    servers[0].away = True
    first, last = pool.get("m").stream(requests(1)[0])
    assert (first, getattr(last, "text", "")) == ("b", "b")


def test_a_model_is_released_everywhere(pool: TritonPool, servers: list[Server]) -> None:
    assert pool.release("m")
    servers[1].away = True
    assert not pool.release("m")


@pytest.mark.server
def test_two_servers_share_the_work_and_one_may_be_taken_away_and_given_back(
    tmp_path: Path,
) -> None:
    """Every request is answered once, as the embedded engine answers it."""
    embedded = embedded_engines(tmp_path)
    objects = DirectoryObjects(tmp_path / "objects")
    objects.put_directory(PREFIX, tmp_path / PREFIX)
    database = Database.sqlite(tmp_path / "served.sqlite", Base.metadata)
    servers = [triton_server(tmp_path / "objects" / "serving") for _ in range(2)]
    pool = TritonPool([member(s, objects, database) for s in servers], pause=2.0)
    asked = [requests(24) for _ in range(12)]
    expected = [[a.text for a in embedded.get(PREFIX).generate(each, progress=ignore)]
                for each in asked]  # fmt: skip
    done, counting = count(1), threading.Lock()

    def caption(each: list[Request]) -> list[str]:
        made = pool.get(PREFIX).generate(each, progress=ignore)
        with counting:
            if next(done) == 4:
                assert all(tokens(server) for server in servers), "one server did nothing"
                servers[0].kill()
        return [answer.text for answer in made]

    try:
        for server in servers:
            server.start()
        for each in pool.members:
            each.engines.get(PREFIX)  # loaded, so that neither is idle while it loads
        with ThreadPoolExecutor(2) as lanes:
            assert list(lanes.map(caption, asked)) == expected
        servers[0].start()
        until(lambda: bool(caption(asked[0])) and tokens(servers[0]) > 0, seconds=60)
    finally:
        pool.close()
        embedded.close()
        for server in servers:
            server.stop()
        database.close()


def tokens(server: TritonServer) -> float:
    """How many a server has generated since it was started."""
    with urllib.request.urlopen(server.metrics_url, timeout=5) as answer:
        found = re.search(r"vila2_engine_output_tokens_total{.*} (.*)", answer.read().decode())
    return float(found[1]) if found else 0.0


def member(server: TritonServer, objects: DirectoryObjects, database: Database) -> Member:
    connection = Connection(server.url)
    options = EngineOptions(batch_size=8, threads=1)
    ledger = ServedModels(database, objects, connection, options=options, budget=2**30)
    return Member(server.url, TritonEngines(connection, objects, ledger, patience=3.0))
