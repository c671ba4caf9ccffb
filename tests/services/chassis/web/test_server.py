"""What a client can hold open at the server: for how long, and how many."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from services.chassis.web.connection import body_deadline
from services.chassis.web.limit_settings import ConnectionSettings
from services.chassis.web.server import (
    LINES_PER_MINUTE,
    FewLines,
    connections_within,
    create_server,
)
from tests.support.waiting import until

QUICK = ConnectionSettings(
    head_seconds=0.5, body_seconds=0.5, body_rate=1_000_000, send_seconds=0.5, max_connections=5
)
PATIENT = ConnectionSettings(max_connections=5)


class App:
    """Answers with the size of the body, or with a long reply; knows how many it serves."""

    def __init__(self) -> None:
        self.begun = self.busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun, self.busy = self.begun + 1, self.busy + 1
        try:
            request = Request(scope, receive)
            answer: Response
            if request.url.path == "/long":
                answer = StreamingResponse(b"x" * 65536 for _ in range(4000))
            else:
                answer = PlainTextResponse(str(len(await request.body())))
            await answer(scope, receive, send)
        finally:
            self.busy -= 1


@contextmanager
def serving(limits: ConnectionSettings, app: App | None = None) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = create_server(app or App(), limits=limits, lifespan=False)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=30)


def rest_of(client: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    found = b""
    try:
        while piece := client.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_head_that_does_not_end_is_given_up(sent: bytes) -> None:
    """Also on a connection on which nothing is sent at all."""
    with serving(QUICK) as address, connect(address) as client:
        client.sendall(sent)
        assert rest_of(client).startswith(b"HTTP/1.1 408 ")


def test_a_second_head_on_a_kept_connection_that_does_not_end_is_given_up() -> None:
    with serving(QUICK) as address, connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
        answers = rest_of(client)
    assert answers.count(b"HTTP/1.1 200 ") == 1
    assert answers.count(b"HTTP/1.1 408 ") == 1


def test_a_body_that_does_not_come_is_given_up() -> None:
    """The route that waits for it ends too."""
    app = App()
    with serving(QUICK, app) as address, connect(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert b"200" not in rest_of(client)
        until(lambda: app.busy == 0)


def test_a_slow_body_has_time_by_what_has_come() -> None:
    """An upload over a slow line is no attack."""
    limits = ConnectionSettings(body_seconds=60, body_rate=1024)
    assert body_deadline(limits, 100.0, 0) == 160.0
    assert body_deadline(limits, 100.0, 10 * 1024) == 170.0


def test_a_reply_that_nobody_reads_is_given_up() -> None:
    """With what the route holds for it."""
    app = App()
    with serving(QUICK, app) as address, connect(address) as client:
        client.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: app.begun == 1)
        until(lambda: app.busy == 0)


def test_with_too_many_connections_the_one_that_sent_nothing_longest_goes() -> None:
    """Half-sent requests do not keep anybody out."""
    with serving(PATIENT) as address, ExitStack() as stack:
        held = [stack.enter_context(connect(address)) for _ in range(12)]
        for client in held:
            client.settimeout(30)
        newest = stack.enter_context(connect(address))
        newest.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert rest_of(newest).startswith(b"HTTP/1.1 200 ")
        assert rest_of(held[0]) == b""


def test_a_request_with_two_lengths_is_refused_and_its_connection_closed() -> None:
    """What follows it is not taken for another request."""
    with serving(PATIENT) as address, connect(address) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        answers = rest_of(client)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1") == 1
    assert b"Content-Length and Transfer-Encoding" in answers


def test_connections_leave_descriptors_for_everything_else() -> None:
    assert connections_within(1000, 65536) == 1000
    assert connections_within(1000, 1024) == 768
    assert connections_within(1000, 100) == 50


def test_a_line_that_repeats_is_written_a_few_times_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And then how many were left out; another line is not held back by it."""
    clock = [1000.0]
    monkeypatch.setattr("services.chassis.web.server.time.monotonic", lambda: clock[0])
    few = FewLines()

    def write(text: str) -> logging.LogRecord | None:
        record = logging.LogRecord("x", logging.WARNING, "", 0, text, None, None)
        return record if few.filter(record) else None

    written = [write("Invalid HTTP request received.") for _ in range(50)]
    assert sum(line is not None for line in written) == LINES_PER_MINUTE
    assert write("something else") is not None
    clock[0] += 61
    later = write("Invalid HTTP request received.")
    assert later is not None
    assert "40 such lines were left out" in later.getMessage()
