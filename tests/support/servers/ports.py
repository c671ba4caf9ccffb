"""Ports for servers, each given once.

A port that was only seen to be free can be given again before its server listens, and the ports
that the system gives (32768 and up) also go to whoever connects. A server whose port is taken so
ends, and its clients talk to a stranger.
"""

from __future__ import annotations

import os
import socket
from itertools import count

_FIRST, _BLOCK, _BLOCKS = 20_000, 1_500, 8  # below those that the system gives
_given = count()


def free_port(*, room: int = 1) -> int:
    """A port that nobody listens at and that was given to nobody, with the `room - 1` after it."""
    for _ in range(_BLOCK):
        wanted = [_next() for _ in range(room)]
        if wanted[-1] - wanted[0] == room - 1 and all(map(_is_free, wanted)):
            return wanted[0]
    raise RuntimeError(f"no free ports among {_FIRST} to {_FIRST + _BLOCK * _BLOCKS}")


def free_ports(number: int) -> list[int]:
    """As many, not necessarily beside each other."""
    return [free_port() for _ in range(number)]


def _next() -> int:
    """The next of this process's block: test workers share none."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    block = (int(worker) if worker else os.getpid()) % _BLOCKS
    return _FIRST + block * _BLOCK + next(_given) % _BLOCK


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
