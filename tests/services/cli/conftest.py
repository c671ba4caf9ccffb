"""A platform for the commands of runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runs.run_commands import Commands
from tests.support.runs.stepped_platform import SteppedPlatform, workspace
from tests.support.servers.platform_http import served


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the datasets of a small run."""
    return workspace(tmp_path_factory.mktemp("stepped"))


@pytest.fixture(scope="module")
def commands(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A platform over HTTP on a copy of it."""
    folder = tmp_path_factory.mktemp("commands") / "workspace"
    shutil.copytree(world, folder)
    with SteppedPlatform(folder) as stepped, served(stepped.platform) as url:
        yield Commands(stepped, {"VILA2_URL": url, "VILA2_KEY": stepped.platform.key})
