"""Faults that only containers can have: a network that is cut, a server that the engine restarts.

The run goes through all of them, one after the other, and ends as the one that was left alone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos.faults import CAPTIONING, TRAINING
from tests.support.containers.compose_platform import PROJECT, Driven, Platform

pytestmark = [pytest.mark.server, pytest.mark.full, pytest.mark.timeout(5400)]
CUT_SECONDS = 15.0
RECAPTIONING = (
    f"({CAPTIONING}) AND EXISTS (SELECT FROM specialist.specialists WHERE state = 'captioning')"
)


def cut(service: str) -> Callable[[Platform], None]:
    """A container loses its network for a while: it runs on, and nothing reaches it."""

    def breaks(platform: Platform) -> None:
        network, container = f"{PROJECT}_platform", platform.container(service)
        platform.engine.docker("network", "disconnect", network, container)
        time.sleep(CUT_SECONDS)
        platform.engine.docker("network", "connect", "--alias", service, network, container)

    return breaks


def killed(service: str) -> Callable[[Platform], None]:
    """SIGKILL to the first process of a container, which the engine then starts again."""

    def breaks(platform: Platform) -> None:
        container = platform.container(service)
        pid = platform.engine.docker("inspect", "-f", "{{.State.Pid}}", container).strip()
        os.kill(int(pid), signal.SIGKILL)
        end = time.monotonic() + 60
        while (
            platform.engine.docker("inspect", "-f", "{{.RestartCount}}", container).strip() == "0"
        ):
            assert time.monotonic() < end, f"{service} was not started again"
            time.sleep(0.2)

    return breaks


FAULTS = (
    ("training loses its network", TRAINING, cut("training")),
    ("a caption worker loses its network", CAPTIONING, cut("caption-worker")),
    ("Triton is killed", RECAPTIONING, killed("triton")),
)


def test_a_run_goes_through_cuts_and_a_killed_triton_to_the_same_end(
    platform: Platform, undisturbed: Driven, tmp_path: Path
) -> None:
    """A worker and the training service lose their network; Triton is killed."""
    done: list[str] = []
    ending = threading.Event()

    def break_things() -> None:
        for name, when, breaks in FAULTS:
            while platform.sql(f"SELECT ({when})::text") != "true":
                if ending.wait(0.2):
                    return
            began = time.monotonic()
            breaks(platform)
            print(f"         {name}, {time.monotonic() - began:.0f} s", flush=True)
            done.append(name)

    thread = threading.Thread(target=break_things)
    thread.start()
    try:
        driven = platform.drive(tmp_path)
    finally:
        ending.set()
        thread.join()
    assert done == [name for name, _, _ in FAULTS]
    assert driven.outcome == undisturbed.outcome
