"""What lies in a workspace is for the user who runs the platform."""

from __future__ import annotations

import os
from pathlib import Path

from services.platform.embedded import EmbeddedPlatform


def test_nobody_else_may_read_a_new_workspace(tmp_path: Path) -> None:
    """Databases hold texts and names; before, any account of the machine could read them."""
    before = os.umask(0o022)
    try:
        with EmbeddedPlatform(tmp_path / "w"):
            files = [path for path in (tmp_path / "w").rglob("*") if path.is_file()]
            assert {path.suffix for path in files} >= {".sqlite", ".jsonl"}
            assert (tmp_path / "w").stat().st_mode & 0o077 == 0
            open_to_others = {path.name for path in files if path.stat().st_mode & 0o077}
            assert open_to_others <= {"lock"}
    finally:
        os.umask(before)
