"""MLflow: a real tracking server with SQLite, from this Python or one that is named."""

from __future__ import annotations

import importlib.util
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.process import free_port, running


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address. `VILA2_TEST_MLFLOW_PYTHON` names a Python that has MLflow."""
    python = os.environ.get("VILA2_TEST_MLFLOW_PYTHON", "")
    if not python and importlib.util.find_spec("mlflow") is None:
        # Not `missing`: it cannot stand beside our pins (it wants pyarrow below 26).
        pytest.skip("MLflow is not here: name a Python that has it in VILA2_TEST_MLFLOW_PYTHON")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        python or sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
        str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.sqlite",
        "--default-artifact-root", str(folder / "artifacts"),
    ]  # fmt: skip

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with running(command, log=folder / "mlflow.log", ready=ready, seconds=90):
        yield url
