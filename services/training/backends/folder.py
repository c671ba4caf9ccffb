"""The records in a job's folder that all backends share: its last start and how it ended."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.training.backends.backend import INTERRUPTED, BackendUnreachable, Phase
from vila2.system.files import write_atomically

STARTED = "started.json"
REFUSED = "refused"  # the handle of a job that the backend refused


@dataclass(frozen=True, slots=True)
class Started:
    """The last start of a job: its handle and its attempt."""

    handle: str
    attempt: int


def read_started(folder: Path) -> Started | None:
    """The last recorded start, if any."""
    try:
        told = json.loads((folder / STARTED).read_text())
        return Started(str(told["handle"]), int(told["attempt"]))
    except (OSError, ValueError, KeyError):
        return None


def write_started(folder: Path, started: Started) -> None:
    """Record a start."""
    body = {"handle": started.handle, "attempt": started.attempt}
    write_atomically(folder / STARTED, json.dumps(body))


def is_settled(started: Started, attempt: int, phase: Phase) -> bool:
    """Whether a submit for `attempt` returns what was started, instead of starting again.

    A running job is always adopted. One that ended was started for this caller if the attempt is
    the same, and it has yet to see the end; a later attempt means that the caller is behind.
    """
    if phase == "running" or started.attempt > attempt:
        return True
    return started.attempt == attempt and phase != "interrupted"


@contextmanager
def submitting(folder: Path, *, seconds: float = 60.0) -> Iterator[None]:
    """Hold the folder while looking a job up and starting it, against other dispatchers."""
    with (folder / "submit.lock").open("w") as lock:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise BackendUnreachable(f"another dispatcher holds {folder}") from error
                time.sleep(0.05)
        yield


def status(folder: Path) -> int | None:
    """How a start ended; `None` if no process recorded it.

    Every node leaves a file. One that was interrupted explains another's failure: its peers see no
    more than a broken connection.
    """
    found = {path.name: _status(path) for path in folder.glob("exit*.json")}
    if INTERRUPTED in found.values():
        return INTERRUPTED
    return found.get("exit.json")


def ended_phase(code: int | None) -> Phase:
    """The phase of a job that has ended, from its status; `None` means no status was written."""
    if code in (INTERRUPTED, None):
        return "interrupted"
    return "succeeded" if code == 0 else "failed"


def has_result(spec: Path) -> bool:
    """Whether a job left the result of just this spec, and all of it."""
    result = spec.with_name("result.json")
    try:
        json.loads(result.read_text())
        return result.stat().st_mtime >= spec.stat().st_mtime
    except (OSError, ValueError):
        return False


def clear(folder: Path) -> None:
    """Delete the records of how the last start ended."""
    for path in (*folder.glob("exit*.json"), folder / "error.txt"):
        path.unlink(missing_ok=True)


def write_status(folder: Path, code: int, *, node: int = 0) -> None:
    """Record how a node's part of a start ended."""
    name = f"exit-{node}.json" if node else "exit.json"
    write_atomically(folder / name, json.dumps({"status": code}))


def refuse(folder: Path, attempt: int, words: str) -> str:
    """Record that the backend refused the job, and why; returns its handle."""
    (folder / "error.txt").write_text(words)
    write_status(folder, 1)
    write_started(folder, Started(REFUSED, attempt))
    return REFUSED


def submission_environment(environment: dict[str, str] | None = None) -> dict[str, str]:
    """This process's variables without the platform's own: a job needs none of its secrets."""
    held = dict(os.environ) if environment is None else environment
    return {name: value for name, value in held.items() if not name.startswith("VILA2_")}


def _status(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["status"])
    except (OSError, ValueError, KeyError):
        return None
