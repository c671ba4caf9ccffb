"""Processes of this machine, told apart although their numbers are given out again."""

from __future__ import annotations

import subprocess
from pathlib import Path


def handle_of(pid: int) -> str:
    """A process's number and start time; the start time is empty when there is no such process."""
    return f"{pid}:{start_time(pid)}"


def start_time(pid: int) -> str:
    """When a process started, in the system's ticks; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_time_without_proc(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _start_time_without_proc(pid: int) -> str:
    """The same by `ps`, on systems without /proc (macOS)."""
    if Path("/proc/self/stat").exists():
        return ""
    found = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
