"""The execution backend port: start a job, look at it, stop it, and find it again later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Phase = Literal["running", "succeeded", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: a Python module with a spec file, as so many processes."""

    module: str
    spec: Path
    folder: Path
    processes: int
    threads: int


class Backend(ABC):
    """Where jobs run. `handle` is text that finds the job again after a restart."""

    @abstractmethod
    def submit(self, key: str, command: Command) -> str:
        """Start the job and return its handle; a job of this key that runs is adopted."""

    @abstractmethod
    def observe(self, handle: str, folder: Path) -> Phase:
        """How the job stands."""

    @abstractmethod
    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """Ask the job to checkpoint and leave, and make it leave after `wait` seconds."""
