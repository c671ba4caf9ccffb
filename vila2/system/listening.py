"""Sockets that services listen on."""

from __future__ import annotations

import errno
import ipaddress
import socket


class CannotListen(Exception):
    """No socket can listen at the address; the message names the option and the fix."""


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens; port 0 takes a free one. Raises `CannotListen`.

    Its connections send at once (TCP_NODELAY). Otherwise a reply written in two parts, head and
    body, waits for the peer's delayed acknowledgement: 40 ms for every request on a kept
    connection. asyncio sets the option only on sockets that name their protocol, which those of
    `socket.create_server` do not; accepted connections inherit it.
    """
    try:
        return _listening(host, port)
    except OSError as error:
        raise CannotListen(_fix(error, host, port)) from error


def reached_by_others(listening: socket.socket) -> bool:
    """Whether other machines can connect; an unspecified address is every address of this one."""
    return not ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def _listening(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening


def _fix(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use: stop what listens there, or choose another with "
            "--port (0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}: choose one above 1023 with --port"
    return f"cannot listen on {host!r} ({error}): correct --host"
