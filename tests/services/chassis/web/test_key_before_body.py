"""The key comes first: without one no byte of a body is read, with one no more than is allowed."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from services.platform.embedded import EmbeddedPlatform
from tests.support.chassis.asgi_request import Answer, request
from tests.support.chassis.example_service import ExampleService, example_service
from tests.support.servers.platform_http import served

FORTY = 40_000_000
MIB = 1 << 20


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExampleService]:
    monkeypatch.setenv("VILA2_MAX_JSON_BYTES", "1000")
    with example_service(tmp_path) as made:
        yield made


def note(app: ExampleService, key: str, *pieces: bytes, length: int | None = None) -> Answer:
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    if length is not None:
        headers["content-length"] = str(length)
    return request(app.app, "POST", "/v1/notes", headers=headers, pieces=pieces)


@pytest.mark.parametrize("key", ["", "nobody.nothing"])
@pytest.mark.parametrize("length", [FORTY, None])
def test_without_a_good_key_nothing_of_the_body_is_read(
    app: ExampleService, key: str, length: int | None
) -> None:
    answer = note(app, key, b"x" * MIB, length=length)
    assert (answer.status, answer.pieces_read) == (401, 0)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"] == answer.problem["request_id"]


def test_the_connection_of_a_large_body_without_a_key_is_closed(app: ExampleService) -> None:
    """Else the server receives all of it only to drop it; a small request keeps its connection."""
    assert note(app, "", b"x", length=FORTY).headers["connection"] == "close"
    assert "connection" not in note(app, "", b"x", length=1).headers


def test_a_body_that_says_that_it_is_too_large_is_not_read(app: ExampleService) -> None:
    """The refusal names the bound and the setting."""
    answer = note(app, app.keys.issue(team="red"), b"x" * 1001, length=1001)
    assert (answer.status, answer.pieces_read) == (413, 0)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.problem["type"] == "urn:vila2:problem:too-large"
    assert "1,000 bytes" in answer.problem["detail"]
    assert "VILA2_MAX_JSON_BYTES" in answer.problem["fix"]


def test_a_body_in_chunks_is_read_up_to_the_bound(app: ExampleService) -> None:
    """It does not say how large it will be, or says too little."""
    key = app.keys.issue(team="red")
    for length in (None, 10):
        answer = note(app, key, *[b"x" * 400] * 100, length=length)
        assert (answer.status, answer.pieces_read) == (413, 3)
        assert "1,000 bytes" in answer.problem["detail"]


def test_a_body_within_the_bound_arrives_whole(app: ExampleService) -> None:
    answer = note(app, app.keys.issue(team="red"), b'{"size":', b" " * 980, b"7}")
    assert (answer.status, answer.problem["size"]) == (200, 7)


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json", "/docs"])
def test_what_is_public_needs_no_key(app: ExampleService, path: str) -> None:
    assert app.send("GET", path).status_code == 200


def test_a_path_that_is_not_there_needs_a_key_too(app: ExampleService) -> None:
    """Else its body would be read for nothing."""
    assert app.send("POST", "/v1/nothing").status_code == 401
    assert app.send("POST", "/v1/nothing", key=app.keys.issue(team="red")).status_code == 404


def test_a_server_answers_before_the_body_is_sent(platform: EmbeddedPlatform) -> None:
    """The client has sent the head of its request alone."""
    head = (
        "POST /controller/v1/runs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        "Content-Length: 40000000\r\n{auth}\r\n"
    )
    with served(platform) as url:
        where = urlsplit(url)
        for auth, status in (("", 401), (f"Authorization: Bearer {platform.key}\r\n", 413)):
            with socket.create_connection((where.hostname, where.port), timeout=20) as client:
                client.sendall(head.format(auth=auth).encode())
                assert client.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_health_is_answered_while_every_thread_is_busy(app: ExampleService) -> None:
    """A process that is busy must not be restarted as if it were dead."""
    release = threading.Event()

    async def main() -> int:
        pool = to_thread.current_default_thread_limiter()
        busy = [
            asyncio.create_task(to_thread.run_sync(release.wait, 30))
            for _ in range(int(pool.total_tokens))
        ]
        await asyncio.sleep(0)
        sent: list[int] = []

        async def send(message: Any) -> None:
            sent.append(message.get("status", 0))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {
            "type": "http", "method": "GET", "path": "/healthz", "root_path": "", "headers": [],
            "query_string": b"",
        }  # fmt: skip
        await asyncio.wait_for(app.app(scope, receive, send), 20)
        release.set()
        await asyncio.gather(*busy)
        return sent[0]

    assert asyncio.run(main()) == 200


def test_a_team_with_too_many_requests_at_once_is_told_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bodies are still on the way; another team is answered meanwhile."""
    monkeypatch.setenv("VILA2_TEAM_REQUESTS", "2")
    monkeypatch.setenv("VILA2_TEAM_WAITING", "0")
    with example_service(tmp_path) as made:
        answers = asyncio.run(_while_two_send(made))
    assert answers == {"red": 429, "blue": 200}


async def _while_two_send(made: ExampleService) -> dict[str, int]:
    ended, reading = asyncio.Event(), asyncio.Semaphore(0)

    async def ask(team: str, *, slowly: bool) -> int:
        status: list[int] = []

        async def receive() -> dict[str, Any]:
            if slowly:
                reading.release()
                await ended.wait()
            return {"type": "http.request", "body": b'{"size": 1}', "more_body": False}

        async def send(message: Any) -> None:
            status.append(message.get("status", 0))

        key = made.keys.issue(team=team)
        scope = {
            "type": "http", "method": "POST", "path": "/v1/notes", "root_path": "",
            "query_string": b"", "headers": [
                (b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")
            ],
        }  # fmt: skip
        await made.app(scope, receive, send)
        return status[0]

    slow = [asyncio.create_task(ask("red", slowly=True)) for _ in range(2)]
    for _ in slow:
        await asyncio.wait_for(reading.acquire(), 30)
    found = {team: await ask(team, slowly=False) for team in ("red", "blue")}
    ended.set()
    assert await asyncio.gather(*slow) == [200, 200]
    return found


def test_a_body_of_too_many_values_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes each, and each a reason to be told; the refusal names the setting."""
    monkeypatch.setenv("VILA2_MAX_JSON_VALUES", "100")
    with example_service(tmp_path) as made:
        key = made.keys.issue(team="red")
        within, over = (b"[" + b",".join([b"0"] * n) + b"]" for n in (101, 102))
        assert note(made, key, within).status == 422
        answer = note(made, key, over[:60], over[60:])
    assert answer.status == 413
    assert "VILA2_MAX_JSON_VALUES" in answer.problem["fix"]
