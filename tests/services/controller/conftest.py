"""A workspace with a small world in it, made once; each test works on a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runs.stepped_platform import SteppedPlatform, workspace


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("stepped"))


@pytest.fixture
def stepped(world: Path, tmp_path: Path) -> Iterator[SteppedPlatform]:
    shutil.copytree(world, tmp_path / "workspace")
    with SteppedPlatform(tmp_path / "workspace") as made:
        yield made
