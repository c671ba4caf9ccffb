"""What the tests of the training service share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import services.training.dispatcher as dispatcher_module
from tests.training_service.a_service import A_JOB, ROOT, Service


@pytest.fixture
def made_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run `a_job` in place of the trainer."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(dispatcher_module._MODULES, "train", A_JOB)


@pytest.fixture
def service(tmp_path: Path, made_jobs: None) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.context.dispatcher.interrupt()
