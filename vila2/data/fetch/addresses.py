"""Which network addresses may be reached: the guard against server-side request forgery.

A host name is resolved once, all its addresses are checked, and the connection is made to a checked
address: there is no second lookup that could return another one (DNS rebinding). TLS and the Host
header still use the name.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2

from vila2.data.fetch.policy import FetchPolicy, FetchRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[..., list[tuple[Any, ...]]]
PUBLIC_PORTS = (80, 443)
# Networks that translate to the IPv4 address embedded in the IPv6 one (RFC 6052, RFC 8215).
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
# Not global, and not in every Python's tables: shared address space, benchmarks, old site-local.
_NEVER = tuple(
    ipaddress.ip_network(cidr)
    for cidr in ("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10")
)


def is_public(address: Address) -> bool:
    """Whether an address, and any IPv4 address embedded in it, is publicly routable."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in network for network in _TRANSLATED):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if not all(is_public(held) for held in inner if held is not None):
            return False
        if address.ipv4_mapped is not None:
            return True
    if any(address in network for network in _NEVER if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Deadline(threading.local):
    """The deadline of the current thread's fetch."""

    until: float = 0.0

    def left(self) -> float:
        """Return the seconds left; raises a timeout error if there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for this address is over")
        return left


class CheckedBackend(httpcore2.NetworkBackend):
    """Connects only to checked addresses and applies the fetch's deadline to every step."""

    def __init__(self, policy: FetchPolicy, resolve: Resolve, deadline: Deadline) -> None:
        self._resolve, self._deadline = resolve, deadline
        self._open = tuple(ipaddress.ip_network(cidr) for cidr in policy.allow_networks)
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve once, check every answer, and connect to the first that accepts."""
        addresses = self._checked(host, port)
        for number, address in enumerate(addresses, 1):
            try:
                stream = self._inner.connect_tcp(
                    str(address), port, self._deadline.left(), local_address, socket_options
                )
                return _TimedStream(stream, self._deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise AssertionError("there is an address, or it was refused")

    def _checked(self, host: str, port: int) -> list[Address]:
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchRefused(
                "dns-failed", f"the name {host!r} was not found; check it", retryable=True
            ) from error
        addresses = [ipaddress.ip_address(str(held[4][0]).partition("%")[0]) for held in found]
        addresses = list(dict.fromkeys(addresses))
        for address in addresses:
            opened = any(address in n for n in self._open if n.version == address.version)
            if not opened and not is_public(address):
                raise FetchRefused(
                    "address-not-public",
                    f"{host!r} leads to an address that is not public; list public addresses only",
                )
            if not opened and port not in PUBLIC_PORTS:
                raise FetchRefused(
                    "port-not-allowed",
                    f"port {port} is not fetched from; use 80 or 443",
                )
        if not addresses:
            raise FetchRefused("dns-failed", f"the name {host!r} has no address", retryable=True)
        return addresses


class _TimedStream(httpcore2.NetworkStream):
    """A stream whose every read and write ends with the fetch's deadline.

    Otherwise a server could keep a fetch open by sending one byte per read timeout.
    """

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read within the remaining time."""
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write within the remaining time."""
        self._inner.write(buffer, self._deadline.left())

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Start TLS with the host name, not the address."""
        secured = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return the wrapped stream's extra info."""
        return self._inner.get_extra_info(info)
