"""What the caption tests share."""

from __future__ import annotations

import pytest

from tests.caption.learnt import Learnt, learnt


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """A captioner that has learnt a little."""
    return learnt(tmp_path_factory.mktemp("learnt"))
