"""This machine's processes by their arguments."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path


def end_leftovers(folder: Path) -> None:
    """Kill what a dead supervisor left running: two trainings in one folder would mix.

    torchrun gives each worker a session of its own, so a signal to the job's session is not enough.
    """
    for pid, arguments in _processes():
        pairs = set(pairwise(arguments))
        of_folder = ("services.training.backends.supervise", str(folder)) in pairs or any(
            option == "--spec" and Path(value).parent == folder for option, value in pairs
        )
        if of_folder and pid != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Every process and its arguments, from /proc or else (macOS) from `ps`."""
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                text = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                yield int(entry.name), text.split("\0")
        return
    listed = subprocess.run(
        ["/bin/ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        pid, *arguments = line.split()
        yield int(pid), arguments
