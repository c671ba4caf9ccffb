"""A workspace with a small world in it, made once; each test works on a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plane.plane import Plane, workspace


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("plane"))


@pytest.fixture
def plane(world: Path, tmp_path: Path) -> Iterator[Plane]:
    shutil.copytree(world, tmp_path / "workspace")
    with Plane(tmp_path / "workspace") as made:
        yield made
