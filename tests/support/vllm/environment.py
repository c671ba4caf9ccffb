"""The environment that `make vllm` makes, and programs that run in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.servers.process import check_marked, missing

# Without these it asks a hub, reports its use, and pins its threads to cores that others use.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


def vllm_python() -> Path:
    """The interpreter of vLLM's environment; skips or fails where there is none."""
    check_marked()
    if os.environ.get("VILA2_NO_VLLM"):
        pytest.skip("VILA2_NO_VLLM: its environment could not be made here")
    found = Path(os.environ.get("VILA2_VLLM", REPOSITORY / ".venv-vllm")) / "bin" / "python"
    if not found.exists():
        missing("vLLM", "run `make vllm`, or set VILA2_VLLM to an environment that has it")
    return found


def run_in_vllm(program: str, asked: dict[str, Any], folder: Path) -> Any:
    """Run a module of `tests/support/vllm` on a JSON file; what it wrote as JSON.

    The module may import what vLLM brings, and nothing of this project.
    """
    given, made = folder / "asked.json", folder / "answered.json"
    given.write_text(json.dumps(asked))
    script = Path(__file__).parent / f"{program}.py"
    log = folder / "vllm.log"
    with log.open("wb") as out:
        # Its processes would keep a pipe open, and us waiting, if one of them outlived it.
        child = subprocess.Popen(
            [str(vllm_python()), str(script), str(given), str(made)],
            env={**os.environ, **ENVIRONMENT},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = child.wait(400)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert code == 0, log.read_text()[-4000:]
    return json.loads(made.read_text())
