"""Load a model as a server would, in a process of its own, and see what it answers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROBE = Path(__file__).parent / "apart" / "probe.py"
# A folder that holds any of these is not loaded at all: they are code, or are run by loading them.
_FORBIDDEN = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so")


@dataclass(frozen=True, slots=True)
class Served:
    """What came out: the probe's words, or why there are none."""

    told: dict[str, Any]
    reason: str = ""


class ServingCheck:
    """Runs the probe with the Python that stands for the serving environment."""

    def __init__(self, python: str, *, seconds: float) -> None:
        self._python, self._seconds = python, seconds

    def ask(self, folder: Path) -> Served:
        """Load a model's folder and ask its golden questions; takes as long as that takes."""
        foreign = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _FORBIDDEN)
        if foreign:
            return Served({}, f"the folder holds {', '.join(foreign)}: only safetensors are served")
        with tempfile.TemporaryDirectory(prefix="vila2-gate-") as scratch:
            out = Path(scratch) / "answers.json"
            # -I: no folder of ours on the path. Secrets of the platform stay out of the child.
            command = [self._python, "-I", str(_PROBE), str(folder), str(out)]
            try:
                ran = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    cwd=scratch,
                    env=_environment(scratch),
                    timeout=self._seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Served({}, f"it did not load and answer within {self._seconds:g} seconds")
            except OSError as error:
                return Served(
                    {}, f"the serving Python cannot be run ({error}): correct VILA2_SERVING_PYTHON"
                )
            if ran.returncode != 0 or not out.exists():
                said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
                word = said[-1] if said else f"status {ran.returncode}"
                return Served({}, f"it does not load there: {word}"[:800])
            return Served(json.loads(out.read_text()))


def _environment(scratch: str) -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    held = {name: os.environ[name] for name in kept if name in os.environ}
    return {**held, "HOME": scratch, "TMPDIR": scratch}
