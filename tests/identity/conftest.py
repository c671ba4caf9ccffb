from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.identity.identity import Identity
from tests.chassis.small_app import SmallApp, small_app
from tests.identity.opened import opened


@pytest.fixture
def app(tmp_path: Path) -> Iterator[SmallApp]:
    with small_app(tmp_path) as made:
        yield made


@pytest.fixture
def identity(database_url: str, tmp_path: Path) -> Iterator[Identity]:
    """On either kind of database."""
    made = opened(tmp_path, database_url)
    yield made
    made.close()
