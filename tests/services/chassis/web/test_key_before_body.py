"""The key comes first: without one no byte of a body is read, with one no more than is allowed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

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
