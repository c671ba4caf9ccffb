"""Files that jobs write to their folders: log, metrics, progress and named artifacts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from services.chassis.web.errors import NotFound
from services.training.queue.seeds import ENDED
from services.training.tables import JobRow
from vila2.schemas.rest import training as api
from vila2.schemas.rest.base import Progress
from vila2.training.progress import read_metrics

ARTIFACTS = ("outcomes.jsonl", "result.json", "metrics.jsonl", "spec.json", "stop_stage.json")
_SIGNS_OF_LIFE = ("exit.json", "result.json", "log.txt", "progress.json", "metrics.jsonl")
_LOG_PART = 65536


class JobFiles:
    """Reads job folders; does not check teams."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, job: str) -> Path:
        """Where a job runs."""
        return self._root / job

    def log(self, row: JobRow, *, offset: int | None = None, limit: int = _LOG_PART) -> api.LogPart:
        """At most `limit` bytes of the log from `offset` on, or its last ones without.

        A character that is not whole yet is left for the next part.
        """
        path = self.folder(row.id) / "log.txt"
        ended = row.state in ENDED and not row.handle  # read first: the log is then complete
        size = path.stat().st_size if path.exists() else 0
        start = max(0, size - limit) if offset is None else min(offset, size)
        data = b""
        if size:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(min(limit, size - start))
        whole = len(data) if ended and start + len(data) == size else _whole(data)
        text = data[:whole].decode("utf-8", "replace")
        return api.LogPart(text=text, offset=start, next=start + whole, size=size, ended=ended)

    def artifacts(self, row: JobRow) -> list[api.File]:
        """The known artifacts that exist."""
        paths = [self.folder(row.id) / name for name in ARTIFACTS]
        return [
            api.File(name=path.name, bytes=path.stat().st_size) for path in paths if path.is_file()
        ]

    def artifact(self, row: JobRow, name: str) -> Path:
        """Path of a known artifact; any other name raises `NotFound`."""
        path = self.folder(row.id) / name
        if name not in ARTIFACTS or not path.is_file():
            raise NotFound(
                f"job {row.id} has no artifact {name!r}", fix=f"use one of {', '.join(ARTIFACTS)}"
            )
        return path

    def metrics(self, row: JobRow) -> list[dict[str, Any]]:
        """The history that a training wrote, each step once."""
        return read_metrics(self.folder(row.id))

    def last_sign(self, job: str) -> float:
        """When an ended job last wrote anything; the current time if it never did."""
        times = []
        for name in _SIGNS_OF_LIFE:
            path = self.folder(job) / name
            if path.exists():
                times.append(path.stat().st_mtime)
        return min(time.time(), max(times)) if times else time.time()

    def told(self, job: str) -> dict[str, Any]:
        """A job's last `progress.json`; empty if it has written none."""
        try:
            told: dict[str, Any] = json.loads((self.folder(job) / "progress.json").read_text())
        except (OSError, ValueError):
            return {}
        return told

    def progress(self, row: JobRow) -> Progress:
        """A job's progress, as it reports it while running."""
        if row.state == "queued":
            return Progress(phase=row.waiting or "waiting for a free slot")
        if row.state == "succeeded":
            return Progress(done=1000, total=1000, unit="permille", phase="done")
        if row.state == "starting":
            return Progress(phase="stopping" if row.cancel_wanted else row.waiting or "starting")
        told = self.told(row.id)
        if not told:
            return Progress(phase="starting" if row.state == "running" else row.state)
        return Progress(
            done=round(1000 * (told.get("fraction") or 0)),
            total=1000,
            unit="permille",
            phase=str(told.get("phase", "")),
            eta_seconds=told.get("eta_seconds"),
        )


def _whole(data: bytes) -> int:
    """How many bytes hold whole UTF-8 characters: a cut one at the end has at most three."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:  # the lead byte gives the character's length
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if width > back else len(data)
        if byte < 0x80:
            break
    return len(data)
