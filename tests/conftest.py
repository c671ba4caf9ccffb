"""What all tests share."""

from __future__ import annotations

import pytest

from services.chassis.logging import configure_logging


@pytest.fixture(scope="session", autouse=True)
def _log_to_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Services log as they do in a workspace, not to the terminal."""
    configure_logging(path=tmp_path_factory.mktemp("log") / "log.jsonl")
