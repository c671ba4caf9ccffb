"""Output of img2dataset: tars, folders or Parquet files, including failed downloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.images.formats import EXTENSIONS, SUFFIXES
from vila2.data.readers.arrow_rows import count_of, rows_of, schema_of
from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.files.tree import is_folder, linked_folders
from vila2.data.readers.json_rows import parse_json
from vila2.data.readers.keys import Keys, ids_beside
from vila2.data.readers.names import is_hidden
from vila2.data.readers.webdataset import Group, groups_of, sample_of
from vila2.data.sample import RawSample
from vila2.system.numbers import counted

_TABLE_COLUMNS = ("key", "url", "caption", "status", "error_message")
_MAX_TEXT_BYTES = 1 << 20
_LINK = "member-not-plain: {} is a link, which is not followed; copy the file itself"


class Img2DatasetReader(Reader):
    """Reads each shard `NNNNN.tar`, `NNNNN/` or `NNNNN.parquet` with its table `NNNNN.parquet`.

    The address of an image is its source. Rows of the table that were not downloaded are reported
    as `download-failed` with img2dataset's own message, and rows marked successful without an image
    as `image-missing`, so that the counts add up to img2dataset's input list.
    """

    fields = ("encoding",)
    looks_like = "img2dataset's output folder: NNNNN.tar or NNNNN/ beside NNNNN.parquet"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        if not path.is_dir():
            raise DataError("is not a folder", file=str(path), fix=f"Give {self.looks_like}")
        self._shards = sorted(
            {
                f.stem
                for f in (*path.glob("*.tar"), *path.glob("*.parquet"))
                if not is_hidden(f.name)
            }
            | {f.name for f in path.iterdir() if f.name.isdigit() and is_folder(f)}
        )
        if not self._shards:
            raise DataError("holds no shard", file=str(path), fix=f"Give {self.looks_like}")

    def follows(self, name: str, path: Path) -> bool:
        """Links to whole shards, but not to single images and texts."""
        return "/" not in name

    def count(self) -> int | None:
        """Rows of all tables, if every shard has one, else `None`."""
        tables = [self.path / f"{stem}.parquet" for stem in self._shards]
        if not all(table.is_file() for table in tables):
            return None
        counts = [count_of(table) for table in tables]
        return sum(filter(None, counts)) if None not in counts else None

    def read(self) -> Iterator[RawSample]:
        """The images of each shard, then the rows of its table that have none."""
        keys = Keys()
        yield from linked_folders(self.path, keys)
        for stem in self._shards:
            seen: set[str] = set()
            try:
                for group in self._groups(stem):
                    key = group.stem.rsplit("/", 1)[-1]
                    seen.add(key)
                    made = sample_of(group, keys, self.options)
                    ids = ids_beside(made.key, key)
                    yield replace(made, source=_address(group) or made.source, source_ids=ids)
                yield from self._not_there(stem, seen, keys)
            except (DataError, OSError) as error:
                told = counted(len(seen), "sample")
                problem = f"shard-damaged: after {told}: {error}; the rest is not read"
                yield RawSample(keys.of(stem, source=stem), stem, None, problem=problem)

    def _groups(self, stem: str) -> Iterator[Group]:
        tar, folder = self.path / f"{stem}.tar", self.path / stem
        if tar.is_file():
            yield from groups_of(tar)
        elif is_folder(folder):
            yield from _groups_of_folder(folder)
        else:
            yield from _groups_of_table(self.path / f"{stem}.parquet")

    def _not_there(self, stem: str, seen: set[str], keys: Keys) -> Iterator[RawSample]:
        table = self.path / f"{stem}.parquet"
        if not table.is_file():
            return
        given = set(schema_of(table).names)
        columns = [name for name in _TABLE_COLUMNS if name in given]
        if "key" not in columns:
            raise DataError(
                "has no column key", file=str(table), field="key", fix="Keep img2dataset's own"
            )
        for row in rows_of(table, columns):
            name = str(row["key"])
            if name in seen:
                continue
            source = str(row.get("url") or f"{stem}/{name}")
            if row.get("status", "success") == "success":
                problem = "image-missing: its table says success, but there is no image"
            else:
                told = row.get("error_message") or row["status"]
                problem = f"download-failed: {told}; download it again or leave it out"
            yield RawSample(keys.of(name, source=source), source, None, problem=problem)


def _groups_of_folder(folder: Path) -> Iterator[Group]:
    """Neighbouring files of one stem; a link is not followed and makes its sample unfit."""
    files = sorted(f for f in folder.iterdir() if f.is_symlink() or f.is_file())
    files = [f for f in files if not is_hidden(f.name)]
    stems: dict[str, list[Path]] = {}
    for file in files:
        stems.setdefault(file.stem, []).append(file)
    for stem, held in stems.items():
        pairs = [(file.suffix.lower().lstrip("."), _bytes_of(file)) for file in held]
        unfit = next((_LINK.format(file.name) for file in held if file.is_symlink()), "")
        yield Group(folder.name, f"{folder.name}/{stem}", tuple(pairs), unfit=unfit)


def _bytes_of(file: Path) -> bytes:
    if file.is_symlink():
        return b""
    limit = -1 if file.suffix.lower() in SUFFIXES else _MAX_TEXT_BYTES
    with file.open("rb") as opened:
        return opened.read(limit)


def _groups_of_table(table: Path) -> Iterator[Group]:
    """The rows of img2dataset's own Parquet output that hold an image."""
    given = set(schema_of(table).names)
    image = next((name for name in EXTENSIONS if name in given), None)
    if image is None or "key" not in given:
        return  # the table lists failed downloads only
    columns = [name for name in (image, "key", "url", "caption") if name in given]
    for row in rows_of(table, columns):
        if row[image] is not None:
            about = {name: row.get(name) for name in ("url", "caption") if row.get(name)}
            yield Group(table.name, str(row["key"]), ((image, bytes(row[image])),), about)


def _address(group: Group) -> str:
    """The `url` of the sample's json; empty if there is none."""
    about: Any = group.about
    if about is None:
        data = dict(group.members).get("json")
        try:
            about = parse_json(data) if data is not None else None
        except ValueError:
            return ""
    url = about.get("url") if isinstance(about, dict) else None
    return url if isinstance(url, str) else ""
