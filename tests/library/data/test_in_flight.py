"""What is decoded at once, within the memory and the cores of a container."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila2.data.images.in_flight import BYTES_PER_PIXEL, InFlight, cores, memory_bytes, pixels_for


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_no_more_pixels_are_held_than_there_is_room_for(sizes: list[int]) -> None:
    """And every image gets its turn, also one that is larger than the room."""
    room, lock, held, most = InFlight(20), threading.Lock(), [0], [0]

    def decode(size: int) -> None:
        with room.hold(size):
            with lock:
                held[0] += min(size, 20)
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= min(size, 20)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(decode, sizes))
    assert most[0] <= 20
    assert held[0] == 0


def test_room_is_given_back_after_an_error() -> None:
    room = InFlight(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="cut"), room.hold(10):
            raise ValueError("cut")


@pytest.mark.parametrize(("quota", "least"), [("100000 100000", 1), ("150000 100000", 2)])
def test_a_containers_quota_bounds_the_threads(tmp_path: Path, quota: str, least: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores(tmp_path) <= least
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores(tmp_path) == cores(tmp_path / "none") >= 1


def test_a_containers_memory_bounds_the_pixels(tmp_path: Path) -> None:
    """A quarter of it at most, but for one image of the largest size."""
    (tmp_path / "memory.max").write_text("8000000000\n")
    assert memory_bytes(tmp_path) <= 8_000_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) == memory_bytes(tmp_path / "none")
    assert pixels_for(8_000_000_000) * BYTES_PER_PIXEL <= 2_000_000_000
    assert pixels_for(1) == 50_000_000
