from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.identity.identity import Identity
from tests.support.chassis.example_service import ExampleService, example_service
from tests.support.identity.identities import open_identity


@pytest.fixture
def app(tmp_path: Path) -> Iterator[ExampleService]:
    with example_service(tmp_path) as made:
        yield made


@pytest.fixture
def identity(database_url: str, tmp_path: Path) -> Iterator[Identity]:
    """On either kind of database."""
    made = open_identity(tmp_path, database_url)
    yield made
    made.close()
