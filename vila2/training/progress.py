"""Progress reports of a running job: `progress.json` (current) and `metrics.jsonl` (history)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from vila2.system.files import write_atomically


class Progress:
    """Writes the job's progress for the dispatcher, and a line to the log.

    Only the first process of a job writes. `progress.json` is replaced atomically, so a reader
    never sees half of it.
    """

    def __init__(
        self, folder: Path, *, writes: bool, total_steps: int, tensorboard: bool = False
    ) -> None:
        self._board = _board(folder) if tensorboard and writes else None
        self._at = 0  # steps of all stages
        self._folder = folder
        self._writes = writes
        self._total = max(1, total_steps)
        self._started = time.monotonic()
        self._first: int | None = None
        self._last_write = 0.0
        self._fraction = 0.0
        if writes:
            folder.mkdir(parents=True, exist_ok=True)

    def total(self, steps: int) -> None:
        """Set how many steps there are, once that is known."""
        self._total = max(1, steps)

    def say(self, message: str) -> None:
        """Report a phase that is not a step, such as reading data."""
        body = {"phase": message, "fraction": self._fraction, "eta_seconds": None}
        self._put(body, force=True)

    def step(
        self, done: int, *, stage: str, metrics: dict[str, float], force: bool = False
    ) -> None:
        """Report that `done` of all the job's steps are done."""
        if self._first is None:
            self._first = done - 1
        elapsed = time.monotonic() - self._started
        rate = (done - self._first) / elapsed if elapsed > 0 else 0.0
        eta = (self._total - done) / rate if rate else None
        self._fraction, self._at = done / self._total, done
        body = {"phase": stage, "fraction": self._fraction, "eta_seconds": eta, **metrics}
        self._put(body, force=force)

    def record(self, **metrics: Any) -> None:
        """Append one line of history."""
        if self._writes:
            with (self._folder / "metrics.jsonl").open("a") as out:
                out.write(json.dumps(metrics) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{metrics['stage']}/{name}", value, self._at)
            self._board.flush()

    def _put(self, body: dict[str, Any], *, force: bool) -> None:
        now = time.monotonic()
        if not self._writes or (not force and now - self._last_write < 0.5):
            return
        self._last_write = now
        write_atomically(self._folder / "progress.json", json.dumps(body))
        line = " ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in body.items()
            if value is not None
        )
        print(line, flush=True)  # noqa: T201 (the job's log is its standard output)


def _board(folder: Path) -> Any:
    """TensorBoard's writer; raises `ValueError` if the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "tensorboard is not installed: pip install 'vila2[tensorboard]', or set it to false"
        ) from error
    return SummaryWriter(folder / "tensorboard")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """A job's history; a line that a kill cut short is left out, as are repeated steps.

    A resumed job writes again the steps after its checkpoint; the later line counts.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    latest: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        latest[(str(entry.get("stage")), int(entry.get("step", 0)))] = entry
    return list(latest.values())
