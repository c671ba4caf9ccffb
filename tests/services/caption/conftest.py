"""What the caption tests share."""

from __future__ import annotations

import pytest

from tests.support.models.trained_captioner import TrainedCaptioner, train_captioner


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedCaptioner:
    """A captioner that has learnt a little."""
    return train_captioner(tmp_path_factory.mktemp("learnt"))
