"""A small world, and what an undisturbed run on it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash.forked_runs import moments, result
from tests.support.runs.stepped_platform import workspace


@dataclass(frozen=True)
class Undisturbed:
    world: Path
    moments: list[str]
    result: dict[str, Any]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("crash")
    world = workspace(folder)
    passed = moments(world, folder / "undisturbed")
    return Undisturbed(world, passed, result(folder / "undisturbed"))
