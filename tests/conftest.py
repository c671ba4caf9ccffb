"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported. Sums are then the same in every run, and the suite's parallel
# processes do not fight over the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from services.chassis.telemetry.logging import configure_logging
from services.platform.embedded import EmbeddedPlatform
from vila2.client import Client

pytest_plugins = (
    "tests.support.suites",
    "tests.support.docs.counted",
    "tests.support.servers.postgres",
    "tests.support.servers.seaweedfs",
    "tests.support.servers.valkey",
)


@pytest.fixture(scope="session", autouse=True)
def _log_to_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Services log as they do in a workspace, not to the terminal."""
    configure_logging(path=tmp_path_factory.mktemp("log") / "log.jsonl")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[EmbeddedPlatform]:
    """The five services, in a workspace of their own."""
    with EmbeddedPlatform(tmp_path / "workspace") as made:
        yield made


@pytest.fixture
def client(platform: EmbeddedPlatform) -> Client:
    """What a user of that platform holds."""
    return platform.client
