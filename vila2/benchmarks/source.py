"""The interface of benchmark sources, and the writer of benchmark folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.images.formats import SUFFIXES
from vila2.data.readers.benchmark import TABLE
from vila2.data.readers.files.image_files import load_image
from vila2.data.readers.json_rows import parse_json

MAX_FILE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Where:
    """Paths of a source's files; `limit` is the number of questions to take, 0 for all.

    `path` is the published file or folder; `images` the folder that image names are relative to,
    by default the one that contains `path`.
    """

    path: Path | None = None
    images: Path | None = None
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its image, named relative to a folder that it must not leave."""

    root: Path
    image: str
    item: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark that can be added by name.

    `needs` describes what `--from` must point at, empty if nothing is needed; `prepare` writes the
    benchmark's folder and raises `DataError` for files in another format.
    """

    name: str
    about: str
    metric: str
    items: str
    licence: str
    citation: str
    needs: str
    prepare: Callable[[Path, Where], None]


def from_questions(read: Callable[[Where], Iterator[Question]]) -> Callable[[Path, Where], None]:
    """Make a source's `prepare` from a function that yields its questions in order."""

    def prepare(folder: Path, where: Where) -> None:
        _write(folder, islice(read(where), where.limit or None))

    return prepare


def _write(folder: Path, questions: Iterator[Question]) -> None:
    """Write `items.jsonl` and the images; unreadable images are rejected at admission.

    An image is named by its content, so one published under several names gets all their questions
    instead of being rejected as a duplicate.
    """
    known: dict[tuple[Path, str], str] = {}
    with (folder / TABLE).open("w", encoding="utf-8") as table:
        for question in questions:
            place = (question.root, question.image)
            if place not in known:
                known[place] = _copied(folder, question)
            row = {**question.item, "image": known[place]}
            table.write(json.dumps(row, ensure_ascii=False) + "\n")
    if not known:
        raise DataError("holds no question", fix="Check what --from points at")


def _copied(folder: Path, question: Question) -> str:
    """Copy an image and return its name in `folder`; the original name if it is unreadable.

    The benchmark reader then finds no such file, and the version's report lists it.
    """
    data, _ = load_image(question.root, question.image)
    if data is None:
        return question.image
    suffix = Path(question.image).suffix.lower()
    name = hashlib.sha256(data).hexdigest()[:32] + (suffix if suffix in SUFFIXES else ".image")
    (folder / name).write_bytes(data)
    return name


def published(where: Where, source: str, needs: str) -> Path:
    """The path of `--from`; raises `DataError` if it is missing."""
    if where.path is None:
        raise DataError(f"{source} is not shipped", field="--from", fix=f"Give --from: {needs}")
    if not where.path.exists():
        raise DataError("does not exist", file=str(where.path), fix="Check --from")
    return where.path


def files_of(path: Path, *suffixes: str) -> list[Path]:
    """The file itself, or a folder's files with these suffixes in order of name."""
    if path.is_file():
        return [path]
    found = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in suffixes)
    if not found:
        raise DataError(
            f"holds no {' or '.join(suffixes)} file", file=str(path), fix="Check --from"
        )
    return found


def images_of(where: Where, file: Path) -> Path:
    """The folder that images are relative to."""
    folder = where.images or file.parent
    if not folder.is_dir():
        raise DataError("is no folder of images", file=str(folder), fix="Check --images")
    return folder


def read_json(file: Path) -> Any:
    """A whole JSON file of at most a GiB, or `DataError`."""
    if file.stat().st_size > MAX_FILE_BYTES:
        raise DataError("has more than a GiB", file=str(file), fix="Split it, or check --from")
    try:
        return parse_json(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", file=str(file), fix="Fetch it again") from error


def field_of(row: Any, field: str, kind: type | tuple[type, ...], *, where: str) -> Any:
    """A field of a row of a published file; raises `DataError` naming file, row and field."""
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        names = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(each.__name__ for each in names)
        raise DataError(
            f"{where} has no {field} of type {wanted}", field=field, fix="Check the file's layout"
        )
    return value
