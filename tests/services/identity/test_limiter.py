"""Requests per minute: one suite on both storages, and what a caller is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from services.identity.limiter import Limiter
from services.identity.require_scope import ACT_AS
from tests.support.chassis.example_service import ExampleService
from tests.support.identity.principals import PLATFORM
from tests.support.servers.ports import free_port
from tests.support.servers.valkey import Broker, valkey
from vila2.schemas.rest.identity import LimitsIn


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("broker").url) if request.param == "redis" else ""


@pytest.fixture
def limiter(url: str) -> Iterator[Limiter]:
    made = Limiter(url)
    yield made
    made.close()


@pytest.fixture
def name() -> str:
    return f"team-{uuid4().hex[:8]}"


def test_a_minutes_requests_may_come_at_once_and_no_more(limiter: Limiter, name: str) -> None:
    waits = [limiter.wait(name, 5) for _ in range(7)]
    assert waits[:5] == [0] * 5
    assert all(55 < wait <= 60 for wait in waits[5:])


def test_teams_do_not_take_from_each_other(limiter: Limiter, name: str) -> None:
    assert limiter.wait(name, 1) == 0
    assert limiter.wait(name, 1) > 0
    assert limiter.wait(f"{name}-other", 1) == 0


def test_who_waits_as_long_as_told_gets_through(url: str, name: str) -> None:
    """One for each request that has left the window, and no more."""
    limiter = Limiter(url, window=1)
    limiter.wait(name, 2)
    time.sleep(0.4)
    limiter.wait(name, 2)
    wait = limiter.wait(name, 2)
    assert 0.3 < wait <= 0.6
    time.sleep(wait + 0.02)
    assert [limiter.wait(name, 2) > 0 for _ in range(2)] == [False, True]
    limiter.close()


def test_a_request_that_is_refused_does_not_count(url: str, name: str) -> None:
    """Else a caller that does not wait would never get through."""
    limiter = Limiter(url, window=1)
    limiter.wait(name, 1)
    began, passed = time.monotonic(), False
    while not passed and time.monotonic() - began < 5:
        passed = limiter.wait(name, 1) == 0
        time.sleep(0.05)
    assert passed
    assert time.monotonic() - began < 2
    limiter.close()


def test_a_limit_that_is_lowered_holds_at_once(limiter: Limiter, name: str) -> None:
    assert limiter.wait(name, 1000) == 0
    assert [limiter.wait(name, 2) > 0 for _ in range(3)] == [False, False, True]


def test_threads_together_get_no_more_than_one_alone(limiter: Limiter, name: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(lambda _: limiter.wait(name, 20), range(60)))
    assert sum(wait == 0 for wait in waits) == 20


def test_processes_count_together_in_redis(broker: Broker, name: str) -> None:
    one, other = Limiter(broker.url), Limiter(broker.url)
    assert (one.wait(name, 1), other.wait(name, 1) > 0) == (0, True)
    one.close()
    other.close()


@pytest.mark.server
def test_without_its_server_each_process_limits_by_itself(tmp_path: Path, name: str) -> None:
    """Neither everything nor nothing; and it goes back to the server when that answers."""
    port = free_port()
    limiter = Limiter(f"redis://127.0.0.1:{port}/0")
    assert [limiter.wait(name, 1) > 0 for _ in range(2)] == [False, True]
    with valkey(tmp_path / "valkey", port=port):
        limiter._ask_again = 0.0
        assert limiter.wait(name, 1) == 0
    limiter.close()


def limited(app: ExampleService, per_minute: int) -> str:
    key = app.keys.issue(team="red")
    body = LimitsIn(requests_per_minute=per_minute)
    app.identity.teams.set_limits(PLATFORM, "red", body)
    return key


def test_a_team_over_its_limit_is_told_when_to_come_back(app: ExampleService) -> None:
    """429 as a problem document; over all keys of the team, and of no other team."""
    key, other = limited(app, 2), app.keys.issue(team="blue")
    second = app.keys.issue(team="red")
    for each in (key, second):
        assert app.send("GET", "v1/whoami", key=each).status_code == 200
    reply = app.send("GET", "v1/whoami", key=key)
    assert (reply.status_code, reply.headers["content-type"]) == (429, "application/problem+json")
    assert 55 <= int(reply.headers["retry-after"]) <= 61
    assert "team red may send 2 requests a minute" in reply.json()["detail"]
    assert app.send("GET", "v1/whoami", key=other).status_code == 200


def test_services_are_not_limited_whomever_they_work_for(app: ExampleService) -> None:
    """Work that was accepted must not stop half-way."""
    limited(app, 1)
    service = app.keys.issue(team="local", scopes=("runs:read", ACT_AS))
    for _ in range(5):
        reply = app.send("GET", "v1/whoami", key=service, headers={"x-vila2-team": "red"})
        assert reply.status_code == 200
