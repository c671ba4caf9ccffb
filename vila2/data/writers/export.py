"""Export a captioned dataset as a folder in one of the supported formats."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vila2.data.errors import DataError
from vila2.data.layers import CaptionRow
from vila2.data.shards import check_key
from vila2.data.writers.captioned import Captioned
from vila2.data.writers.folder import write_folder
from vila2.data.writers.imagefolder import write_imagefolder
from vila2.data.writers.llava import write_llava
from vila2.data.writers.markers import MARKED, neutralised
from vila2.data.writers.parquet import write_parquet
from vila2.data.writers.txt import write_txt
from vila2.data.writers.vila import write_vila
from vila2.data.writers.webdataset import write_webdataset
from vila2.system.files import directory_atomically

_SHARDED = {"webdataset": write_webdataset, "parquet": write_parquet, "vila": write_vila}
_WHOLE = {
    "llava": write_llava, "imagefolder": write_imagefolder, "folder": write_folder,
    "txt": write_txt,
}  # fmt: skip
FORMATS = (*_SHARDED, *_WHOLE)


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """Counts of a finished export, README.md included."""

    samples: int
    files: int
    bytes: int
    markers: int = 0  # samples whose text held a marker such as <image>, which was neutralised


def export(
    format: str,
    samples: Iterable[Captioned],
    directory: Path,
    *,
    shard_size: int = 1000,
    card: str,
    progress: Callable[[int], None] | None = None,
) -> ExportSummary:
    """Write `samples` and the dataset card (as README.md) into `directory`, all or nothing.

    `directory` must be missing or empty: the export is written beside it and renamed when
    complete, so a killed job leaves a hidden folder and no partial export; the next export to
    the same `directory` on the same machine removes it. `samples` is iterated once and not
    buffered. `shard_size` is the number of samples per tar or Parquet file and has no meaning for
    other formats; `progress` is called with the number of samples passed to the writer so far. A
    sample without text, a caption of another image, a key that occurs twice, or no sample at all
    is a `DataError`.
    """
    check_target(format, directory)
    if shard_size < 1:
        raise DataError(f"shard_size is {shard_size}", field="shard_size", fix="Use at least 1")
    _remove_leftovers(directory)
    partial = directory.parent / f".{directory.name}-{os.getpid()}-{secrets.token_hex(4)}"
    with directory_atomically(directory, partial=partial):
        checked = _checked(samples, progress, turns_are_text=format == "llava")
        changed: Counter[str] = Counter()
        if format in MARKED:
            checked = _without_markers(checked, changed)
        if format in _SHARDED:
            count = _SHARDED[format](checked, partial, shard_size=shard_size)
        else:
            count = _WHOLE[format](checked, partial)
        if not count:
            raise DataError("there is no sample to export", fix="Choose a version that has some")
        (partial / "README.md").write_text(card, encoding="utf-8")
        sizes = [path.stat().st_size for path in partial.rglob("*") if path.is_file()]
    return ExportSummary(
        samples=count, files=len(sizes), bytes=sum(sizes), markers=changed["markers"]
    )


def check_target(format: str, directory: Path) -> None:
    """Raise `DataError` if that format cannot be exported to that folder."""
    if format not in FORMATS:
        raise DataError(
            f"unknown format {format!r}", field="format", fix=f"Use one of {', '.join(FORMATS)}"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(
            "exists and is not an empty folder",
            file=str(directory),
            fix="Name a new folder; an export never mixes with other files",
        )
    above = next(folder for folder in directory.absolute().parents if folder.exists())
    if not os.access(above, os.W_OK):
        raise DataError("cannot be written to", file=str(above), fix="Name another folder")


def _remove_leftovers(directory: Path) -> None:
    """Remove partial exports to `directory` whose process has exited."""
    if not directory.parent.is_dir():
        return
    hidden = re.compile(rf"\.{re.escape(directory.name)}-([1-9][0-9]{{0,8}})-[0-9a-f]{{8}}")
    for path in directory.parent.iterdir():
        named = hidden.fullmatch(path.name)
        if named and path.is_dir() and not path.is_symlink() and not _runs(int(named[1])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # the process exists and belongs to another user
    return True


def _without_markers(samples: Iterable[Captioned], changed: Counter[str]) -> Iterator[Captioned]:
    for captioned in samples:
        made = neutralised(captioned)
        changed["markers"] += made is not captioned
        yield made


def _checked(
    samples: Iterable[Captioned],
    progress: Callable[[int], None] | None,
    *,
    turns_are_text: bool,
) -> Iterator[Captioned]:
    keys: set[str] = set()
    for captioned in samples:
        sample = captioned.sample
        check_key(sample.key, sample.extension)
        if sample.key in keys:
            raise DataError(f"key {sample.key} occurs twice", field="key", fix="Export one version")
        keys.add(sample.key)
        if not captioned.text.strip() and not (turns_are_text and sample.turns):
            raise DataError(
                f"sample {sample.key} has no text to write",
                field="text",
                fix="Seal the layer, or assemble with a fallback to the original caption; "
                "conversations go with format llava",
            )
        for layer, row in captioned.captions.items():
            if isinstance(row, CaptionRow) and row.sha256 != sample.sha256:
                raise DataError(
                    f"sample {sample.key}: layer {layer!r} describes another image",
                    field="sha256",
                    fix="Export the version that the layer was made for",
                )
        yield captioned
        if progress is not None:
            progress(len(keys))
