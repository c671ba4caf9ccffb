"""Sockets that services listen on."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from vila2.system.listening import CannotListen, listen, reached_by_others

_REPLY_HEAD, _REPLY_BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"{}"


def test_accepted_connections_send_at_once() -> None:
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_reply_in_two_parts_does_not_wait_for_an_acknowledgement() -> None:
    """Each request took 40 ms: a kept connection's second part waited for the peer."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4):
            for part in (_REPLY_HEAD, _REPLY_BODY):
                writer.write(part)
                await asyncio.sleep(0)
        writer.close()

    def asked(address: tuple[str, int]) -> float:
        with socket.create_connection(address) as client:
            began = time.perf_counter()
            for _ in range(20):
                client.sendall(b"ping")
                received = b""
                while not received.endswith(_REPLY_BODY):
                    received += client.recv(100)
            return time.perf_counter() - began

    async def served() -> float:
        listening = listen("127.0.0.1", 0)
        server = await asyncio.start_server(reply, sock=listening)
        async with server:
            return await asyncio.to_thread(asked, listening.getsockname())

    assert asyncio.run(served()) < 20 * 0.04 / 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_in_use_is_named_with_the_option_to_change(host: str) -> None:
    with listen(host, 0) as first, pytest.raises(CannotListen, match=r"in use.*--port"):
        listen(host, first.getsockname()[1])


@pytest.mark.parametrize(("host", "open"), [("127.0.0.1", False), ("0.0.0.0", True), ("", True)])
def test_an_address_that_is_none_in_particular_is_reached_by_other_machines(
    host: str, open: bool
) -> None:
    with listen(host, 0) as listening:
        assert reached_by_others(listening) is open


def test_a_host_that_is_not_here_is_named() -> None:
    with pytest.raises(CannotListen, match="correct --host"):
        listen("256.1.1.1", 0)
