"""What every process tells of itself."""

from __future__ import annotations

import math
from pathlib import Path

from prometheus_client import REGISTRY, generate_latest

from services.chassis.process import begin_process


def disk(what: str) -> float:
    found = REGISTRY.get_sample_value(f"vila2_disk_{what}_bytes", {"folder": "workspace"})
    assert found is not None
    return found


def test_a_workspace_that_is_gone_does_not_hide_the_other_metrics(tmp_path: Path) -> None:
    """A disk that was taken away is when somebody looks at the metrics."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    end = begin_process("test", workspace=workspace, log=tmp_path / "log.jsonl")
    try:
        assert 0 < disk("free") <= disk("size")
        workspace.rmdir()
        assert math.isnan(disk("free"))
        assert math.isnan(disk("size"))
        assert b"vila2_build_info" in generate_latest()
    finally:
        end()
