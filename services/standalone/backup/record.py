"""What a backup says of itself: `backup.json`, written last, and a line for each thing in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

FORMAT = 1
ABOUT, ROWS, OBJECTS, FILES = "backup.json", "rows", "objects", "files"
_LISTED = ".jsonl"


class BackupError(RuntimeError):
    """A backup cannot be taken or restored; the message says why and what to do."""


class Kept(BaseModel):
    """One file of a backup: an object by its key, a file by its path in the workspace, or rows."""

    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str
    bytes: int


class Table(BaseModel):
    """A table's rows, in the order in which tables must be filled."""

    model_config = ConfigDict(extra="forbid")

    name: str
    columns: list[str] = []
    rows: int
    kept: Kept | None = None  # of SQLite the file holds all tables


class Schema(BaseModel):
    """One service's database, and the step of its migrations that it was at."""

    model_config = ConfigDict(extra="forbid")

    service: str
    revision: str
    tables: list[Table]
    sequences: dict[str, int] = {}
    kept: Kept | None = None


class Backup(BaseModel):
    """The head of a backup; objects and files are listed beside it."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    version: str
    made_at: float
    database: Literal["sqlite", "postgresql"]
    schemas: list[Schema]
    objects: int
    files: int
    left_out: list[str] = []  # files that were being written

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for schema in self.schemas for table in schema.tables)


@dataclass(frozen=True, slots=True)
class Place:
    """A backup's folder."""

    folder: Path

    def write(self, about: Backup) -> None:
        """Say that the backup is whole."""
        partial = self.folder / f"{ABOUT}.partial"
        partial.write_text(about.model_dump_json(indent=1))
        partial.replace(self.folder / ABOUT)

    def read(self) -> Backup:
        """Raises `BackupError` where there is no whole backup, or one of a newer version."""
        path = self.folder / ABOUT
        if not path.exists():
            raise BackupError(f"{self.folder} holds no whole backup: {ABOUT} is missing")
        try:
            held = Backup.model_validate_json(path.read_text())
        except ValueError as error:
            raise BackupError(f"{path} cannot be read by this version: {error}") from error
        if held.format != FORMAT:
            raise BackupError(f"{path} has format {held.format}, and this version reads {FORMAT}")
        return held

    def list(self, what: str, kept: list[Kept]) -> None:
        """List objects or files."""
        with (self.folder / f"{what}{_LISTED}").open("w") as out:
            for one in kept:
                out.write(one.model_dump_json() + "\n")

    def listed(self, what: str) -> Iterator[Kept]:
        """Objects or files, as they were listed."""
        with (self.folder / f"{what}{_LISTED}").open() as lines:
            for line in lines:
                yield Kept.model_validate_json(line)

    def checked(self, what: str, kept: Kept) -> Path:
        """The path of one of its files; raises `BackupError` where it is not what it was."""
        path = self.folder / what / kept.name
        if not path.is_file():
            raise BackupError(f"the backup is damaged: {path} is missing")
        if kept_as(kept.name, path) != kept:
            raise BackupError(f"the backup is damaged: {path} is not what was written")
        return path


def kept_as(name: str, path: Path) -> Kept:
    """What is said of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Kept(name=name, sha256=digest, bytes=path.stat().st_size)
