"""Splits of a dataset, by the names of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath

from vila2.data.errors import DataError
from vila2.system.numbers import counted

_PART = re.compile(r"(.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?")
_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test",
}  # fmt: skip


def split_of(name: str) -> str:
    """The split that a file's path below its folder names, as Hugging Face does; else empty.

    `data/train-00000-of-00002.parquet`, `train/data-00000-of-00001.arrow`, `test.parquet`. Pure.
    """
    path = PurePosixPath(name)
    part = _PART.fullmatch(path.stem)
    if part is not None and part[1] != "data":
        return part[1]
    for piece in (path.stem, *reversed(path.parent.parts)):
        words = {_SPLITS[word] for word in re.split(r"[^a-z]+", piece.lower()) if word in _SPLITS}
        if len(words) == 1:
            return words.pop()
    return ""


def split_folder(name: str) -> str:
    """The split whose folder a path is in: `train/a.jpg`, `data/test/a.jpg`; else empty. Pure."""
    folders = PurePosixPath(name).parent.parts
    at = 1 if folders[:1] == ("data",) else 0
    return _SPLITS.get(folders[at].lower(), "") if len(folders) > at else ""


def files_of_split(path: Path, files: list[Path], wanted: str) -> list[Path]:
    """The files of one split; raises `DataError` if there are several and none is chosen."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        splits.setdefault(split_of(name), []).append(file)
    chosen = chosen_splits(path, {name: len(held) for name, held in splits.items()}, wanted)
    return files if chosen == splits.keys() else [f for name in chosen for f in splits[name]]


def chosen_splits(path: Path, splits: Mapping[str, int], wanted: str) -> Set[str]:
    """The splits to read, of those that there are with their number of files.

    Raises `DataError` if there are several and none is chosen, or if the chosen one is not there.
    """
    if wanted == "all" or (not wanted and len(splits) <= 1):
        return splits.keys()
    shown = ", ".join(f"{name or 'none'} ({counted(n, 'file')})" for name, n in splits.items())
    if not wanted:
        raise DataError(
            f"holds several splits: {shown[:600]}",
            file=str(path),
            field="split",
            fix="Choose one with --split, as a dataset of its own, or all of them with --split all",
        )
    if wanted not in splits:
        raise DataError(
            f"has no split {wanted!r}", file=str(path), field="split", fix=f"It has {shown[:600]}"
        )
    return {wanted}
