"""Local processes: identification that is safe against reused ids, and cores they may use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has; at least 1."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1


def handle_of(pid: int) -> str:
    """A process's id and start time; the start time is empty if there is no such process."""
    return f"{pid}:{start_time(pid)}"


def start_time(pid: int) -> str:
    """A process's start time in clock ticks; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_time_without_proc(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _start_time_without_proc(pid: int) -> str:
    """The start time from `ps`, on systems without /proc (macOS)."""
    if Path("/proc/self/stat").exists():
        return ""
    found = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
