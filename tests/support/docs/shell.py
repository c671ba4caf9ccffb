"""A reader's shell: what a page's blocks set remains for the page's later blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.support.paths import REPOSITORY

# What a block has set is written down when it ends, and read before the next begins.
_SCRIPT = """\
[ -e {state} ] && source {state}
trap 'status=$?; {{ export -p; declare -fp; }} > {state}; exit $status' EXIT
set -ae
{typed}
"""
_KEPT = ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


class Shell:
    """Bash in a folder; `programs` are the bodies of scripts that are found before all others."""

    def __init__(self, folder: Path, programs: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = folder
        self._state = folder / ".shell-state"
        bin = folder / ".bin"
        bin.mkdir()
        for name, body in {**_own_programs(), **programs}.items():
            (bin / name).write_text(f"#!/bin/bash\n{body}\n")
            (bin / name).chmod(0o755)
        self._path = f"{bin}{os.pathsep}{os.environ['PATH']}"
        (folder / "deploy").symlink_to(REPOSITORY / "deploy")

    def run(self, typed: str, *, fails: bool = False) -> str:
        """What it prints; raises `AssertionError` if it ends otherwise than it should."""
        script = _SCRIPT.format(state=self._state, typed=typed)
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, check=False, timeout=300, text=True,
            env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        ended = f"{typed}\nexit status {done.returncode}:\n{done.stdout}"
        assert (done.returncode != 0) == fails, ended
        return done.stdout

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {
            **kept, "PATH": self._path, "HOME": str(self._folder), "COLUMNS": "200",
            "PYTHONPATH": str(REPOSITORY), "PYTHON": sys.executable, "NO_PROXY": "*",
        }  # fmt: skip


def _own_programs() -> dict[str, str]:
    modules = {"vila2": "vila2.cli.main", "vila2-service": "services.platform.serve"}
    return {name: f'exec {sys.executable} -m {module} "$@"' for name, module in modules.items()}
