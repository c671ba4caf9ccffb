"""Sets up a process: logging, tracing, and metrics about the process itself."""

from __future__ import annotations

import math
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from services.chassis.telemetry.logging import configure_logging
from services.chassis.telemetry.metrics import BUILD, DISK_FREE, DISK_SIZE
from services.chassis.telemetry.tracing import configure_tracing


def begin_process(name: str, *, workspace: Path, log: Path | None = None) -> Callable[[], None]:
    """Set up logging, tracing and process metrics; returns the shutdown function.

    `name` is the process's name in traces. Logs go to `log`, or to standard error if it is `None`.
    Raises `TracingUnavailable`.
    """
    configure_logging(path=log)
    end = configure_tracing(name)
    BUILD.info({"version": metadata.version("vila2"), "python": platform.python_version()})
    # Evaluated at each scrape: the call is cheap and does not touch the disk.
    DISK_FREE.labels("workspace").set_function(lambda: _disk(workspace)[0])
    DISK_SIZE.labels("workspace").set_function(lambda: _disk(workspace)[1])
    return end


def _disk(folder: Path) -> tuple[float, float]:
    """Free and total bytes; NaN if the folder is missing, so that a scrape does not fail."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan, math.nan
    return usage.free, usage.total
