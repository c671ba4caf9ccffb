"""How much is decoded at once: the cores and the memory that this process may use, not the host's.

A decoded image of 50 million pixels takes up to 18 bytes a pixel while it is converted. A thread
for each core of a large host would decode gigabytes at once, and be killed in a small container.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BYTES_PER_PIXEL = 18
_CGROUP = Path("/sys/fs/cgroup")
_LEAST, _MOST = 50_000_000, 400_000_000  # pixels


class InFlight:
    """At most `pixels` are held at a time; an image of more is held alone."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until there is room, and keep it for the block; must not be nested."""
        taken = min(pixels, self.pixels)
        with self._changed:
            self._changed.wait_for(lambda: self._held + taken <= self.pixels)
            self._held += taken
        try:
            yield
        finally:
            with self._changed:
                self._held -= taken
                self._changed.notify_all()


def cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may use: those it is bound to, within its container's quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(bound or 1, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no container, or no quota ("max")
        return bound or 1


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory of the machine, or of the container if it has a limit."""
    held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(held, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):
        return held


def pixels_for(memory: int) -> int:
    """Pixels whose decoding takes a quarter of `memory` at most; at least one large image."""
    return max(_LEAST, min(_MOST, memory // 4 // BYTES_PER_PIXEL))


IN_FLIGHT = InFlight(pixels_for(memory_bytes()))
