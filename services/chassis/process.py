"""What every process does as it starts: logs, traces, and the metrics that are about itself."""

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
    """Say what this process is to whoever watches it; returns what to call at its end.

    `name` is its name in traces; logs go to `log`, or to standard error without one. Raises
    `TracingUnavailable`.
    """
    configure_logging(path=log)
    end = configure_tracing(name)
    BUILD.info({"version": metadata.version("vila2"), "python": platform.python_version()})
    # Asked at each scrape: it is a look into the kernel's memory.
    DISK_FREE.labels("workspace").set_function(lambda: _disk(workspace)[0])
    DISK_SIZE.labels("workspace").set_function(lambda: _disk(workspace)[1])
    return end


def _disk(folder: Path) -> tuple[float, float]:
    """Bytes free and in all; nan where the folder is gone, which must not hide other metrics."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return math.nan, math.nan
    return usage.free, usage.total
