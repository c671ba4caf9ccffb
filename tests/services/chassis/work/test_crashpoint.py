from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PASSES = """
from services.chassis.crashpoint import crashpoint
for name in ("a", "b", "a", "b"):
    crashpoint(name)
    print(name, end="", flush=True)
"""


@pytest.mark.parametrize(
    ("wanted", "printed", "killed"),
    [(None, "abab", False), ("c", "abab", False), ("a", "", True), ("b", "a", True),
     ("b:2", "aba", True), ("a:3", "abab", False)],
)  # fmt: skip
def test_the_process_dies_at_the_named_passing_and_nowhere_else(
    wanted: str | None, printed: str, killed: bool
) -> None:
    """As by a power cut: SIGKILL, so nothing is cleaned up."""
    environment = {k: v for k, v in os.environ.items() if k != "VILA2_CRASHPOINT"}
    if wanted is not None:
        environment["VILA2_CRASHPOINT"] = wanted
    ended = subprocess.run(
        [sys.executable, "-c", PASSES], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout == printed
    assert ended.returncode == (-signal.SIGKILL if killed else 0)
