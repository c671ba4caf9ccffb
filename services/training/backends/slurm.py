"""Jobs in Slurm's queue, by its commands: no database of Slurm's and no REST daemon is needed.

A job is found again by its name, which is its key, and its comment, which holds the attempt.
`slurm_script.py` writes what runs, and holds what happens when a job is requeued.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from services.chassis.crashpoint import crashpoint
from services.training.backends.backend import (
    Backend,
    BackendUnreachable,
    Command,
    Defaults,
    Phase,
    Refused,
    Resources,
    resources,
)
from services.training.backends.folder import (
    REFUSED,
    Started,
    clear,
    ended_phase,
    is_settled,
    read_started,
    refuse,
    status,
    submission_environment,
    submitting,
    write_started,
)
from services.training.backends.slurm_script import SlurmOptions, attempt_of, batch_script

# Every other state means that Slurm has the job or is going to run it again.
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip
# Slurm's messages when it is unavailable, as opposed to when it refuses a job.
_BUSY = re.compile(r"unable to contact|timed out|temporarily unable|connection refused", re.I)
_FIXES = {
    "partition": "set VILA2_SLURM_PARTITION to one that `sinfo -s` lists",
    "account": "set VILA2_SLURM_ACCOUNT to one of `sacctmgr show assoc user=$USER`",
    "qos": "set VILA2_SLURM_QOS to one that the account may use",
    "feature": "set VILA2_SLURM_CONSTRAINT to a feature that `sinfo -o %f` lists",
    "time limit": "lower VILA2_TRAINING_SECONDS below the partition's limit",
    "memory": "lower VILA2_TRAINING_MEMORY, or the processes of a node",
    "node configuration": "ask for fewer processes a node or less memory: no node has that much",
    "generic resource": "the partition has no such GPUs: set VILA2_TRAINING_ACCELERATOR=cpu, or "
    "another VILA2_SLURM_PARTITION",
}


class SlurmBackend(Backend):
    """Submits with sbatch; `poll` is how many seconds a listing of the queue serves."""

    def __init__(self, options: SlurmOptions, defaults: Defaults, *, poll: float = 1.0) -> None:
        self._options, self._defaults, self._poll = options, defaults, poll
        self._listed_at = -poll
        self._listed: dict[str, str] = {}  # states by job

    def check(self) -> str:
        """Asks for the partitions."""
        partition = self._options.partition
        found = _slurm("sinfo", "-h", "-o", "%R %a", *(("-p", partition) if partition else ()))
        up = [line.split()[0] for line in found.splitlines() if line.endswith(" up")]
        if not up:
            raise BackendUnreachable(
                f"Slurm has no partition {partition} that is up: set VILA2_SLURM_PARTITION to one "
                "that `sinfo -s` lists"
            )
        return f"Slurm answers; partitions that are up: {', '.join(up)}"

    def submit(self, key: str, command: Command) -> str:
        """Start the job with sbatch, unless Slurm or the folder knows of a start."""
        if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
            return refuse(command.folder, command.attempt, f"{key!r} cannot name a Slurm job")
        with submitting(command.folder):
            held = self._last_start(key, command)
            if held is not None:
                phase = self.observe(held.handle, command.folder)
                if is_settled(held, command.attempt, phase):
                    return held.handle
            try:
                needs = resources(command, self._defaults)
                return self._batch(key, command, needs)
            except Refused as error:
                return refuse(command.folder, command.attempt, str(error))

    def _last_start(self, key: str, command: Command) -> Started | None:
        """The newest start of this key: a dispatcher may have died before it was on record."""
        recorded = read_started(command.folder)
        known = [recorded] if recorded is not None and recorded.handle != REFUSED else []
        listing = _slurm(
            "squeue", "--noheader", "--me", "--states=all", f"--name={key}", "--format=%i|%k"
        )
        for line in listing.splitlines():
            job, _, told = line.partition("|")
            known.append(Started(job, attempt_of(told)))
        if not known:
            return recorded
        newest = max(known, key=lambda each: (each.attempt, int(each.handle)))
        if recorded is None or recorded.handle != newest.handle:
            write_started(command.folder, newest)
        return newest

    def _batch(self, key: str, command: Command, needs: Resources) -> str:
        clear(command.folder)
        script = command.folder / "job.sbatch"
        script.write_text(batch_script(key, command, needs, self._options))
        handle = _slurm("sbatch", "--parsable", str(script)).strip().partition(";")[0]
        crashpoint("backend.started")
        write_started(command.folder, Started(handle, command.attempt))
        return handle

    def observe(self, handle: str, folder: Path) -> Phase:
        """Running while Slurm has the job; then the state from exit.json or else from Slurm."""
        if handle == REFUSED:
            return "failed"
        if self._runs(handle):
            return "running"
        code = status(folder)
        return ended_phase(_status_of(_told_by_slurm(handle), folder) if code is None else code)

    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """USR2 to the batch shells, scancel after `wait` seconds; what waits is taken back."""
        if handle == REFUSED:
            return
        _try("scancel", "--state=PENDING", handle)
        _try("scancel", "--batch", "--signal=USR2", handle)
        deadline = time.monotonic() + wait
        while self._runs(handle, fresh=True):
            if time.monotonic() > deadline:
                _try("scancel", "--state=PENDING", handle)
                _try("scancel", "--signal=KILL", handle)
                _try("scancel", handle)
                deadline = time.monotonic() + 10
            time.sleep(0.2)

    def _runs(self, handle: str, *, fresh: bool = False) -> bool:
        """Whether Slurm has the job or is going to run it again.

        One listing serves all jobs for a while: a dispatcher looks at each of them every second.
        """
        age = time.monotonic() - self._listed_at
        # A job that is not listed may be younger than the listing.
        if fresh or age >= self._poll or handle not in self._listed:
            listing = _slurm("squeue", "--noheader", "--me", "--states=all", "--format=%i|%T")
            self._listed = dict(line.split("|", 1) for line in listing.splitlines())
            self._listed_at = time.monotonic()
        return handle in self._listed and self._listed[handle] not in _ENDED


def _slurm(*words: str) -> str:
    """What a command prints; `BackendUnreachable`, or `Refused` with Slurm's words and a fix."""
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=submission_environment(),
        )
    except FileNotFoundError as error:
        raise BackendUnreachable(
            f"{words[0]} is not on the PATH: install Slurm's client commands where the training "
            "service runs, or set VILA2_TRAINING_BACKEND=local"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BackendUnreachable(f"{words[0]} did not answer within 30 seconds") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip()
    if words[0] != "sbatch" or _BUSY.search(said):
        raise BackendUnreachable(f"{words[0]}: {said}")
    fix = next((fix for word, fix in _FIXES.items() if word in said.lower()), "")
    raise Refused(f"Slurm refuses the job: {said}" + (f" ({fix})" if fix else ""))


def _try(*words: str) -> None:
    """Run a command that may fail because the job has ended meanwhile."""
    try:
        _slurm(*words)
    except BackendUnreachable as error:
        if _BUSY.search(str(error)) or "PATH" in str(error):
            raise


def _told_by_slurm(handle: str) -> dict[str, str]:
    """The fields of a job as Slurm remembers them; nothing after MinJobAge."""
    try:
        listing = _slurm("scontrol", "show", "job", "-o", handle)
    except BackendUnreachable as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    return dict(word.split("=", 1) for word in listing.split() if "=" in word)


def _status_of(fields: dict[str, str], folder: Path) -> int | None:
    """The status of a job that left none itself: its shell was killed, or the file is late."""
    code, _, sign = fields.get("ExitCode", "").partition(":")
    state = fields.get("JobState", "")
    if state == "OUT_OF_MEMORY":
        (folder / "error.txt").write_text(
            "Slurm ended the job for the memory that it took: raise VILA2_TRAINING_MEMORY"
        )
        return 1
    if state in ("COMPLETED", "FAILED") and code.isdigit() and sign == "0":
        return int(code)
    return None
