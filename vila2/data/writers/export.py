"""Export a captioned dataset as a folder in one of the formats that readers know."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vila2.data.errors import DataError
from vila2.data.layers import CaptionRow
from vila2.data.shards import check_key
from vila2.data.writers.captioned import Captioned
from vila2.data.writers.folder import write_folder
from vila2.data.writers.llava import write_llava
from vila2.data.writers.webdataset import write_webdataset

FORMATS = ("webdataset", "llava", "folder")


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written, README.md included."""

    samples: int
    files: int
    bytes: int


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

    `directory` must be missing or empty: the export is written beside it and renamed when it is
    whole, so a job that is killed leaves a hidden folder and no half export. `samples` is passed
    over once and never held. `shard_size` is the number of samples per tar and has no meaning for
    other formats; `progress` is called with the number of samples passed to the writer so far. A
    sample without text, a caption of another picture, a key that occurs twice, or no sample at all
    is a `DataError`.
    """
    if format not in FORMATS:
        raise DataError(
            f"unknown format {format!r}", field="format", fix=f"Use one of {', '.join(FORMATS)}"
        )
    if shard_size < 1:
        raise DataError(f"shard_size is {shard_size}", field="shard_size", fix="Use at least 1")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(
            "exists and is not an empty folder",
            file=str(directory),
            fix="Name a new folder; an export never mixes with other files",
        )
    partial = directory.parent / f".{directory.name}-{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        checked = _checked(samples, progress, turns_are_text=format == "llava")
        if format == "webdataset":
            count = write_webdataset(checked, partial, shard_size=shard_size)
        else:
            count = (write_llava if format == "llava" else write_folder)(checked, partial)
        if not count:
            raise DataError("there is no sample to export", fix="Choose a version that has some")
        (partial / "README.md").write_text(card, encoding="utf-8")
        sizes = [path.stat().st_size for path in partial.rglob("*") if path.is_file()]
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return ExportSummary(samples=count, files=len(sizes), bytes=sum(sizes))


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
                    f"sample {sample.key}: layer {layer!r} describes another picture",
                    field="sha256",
                    fix="Export the version that the layer was made for",
                )
        yield captioned
        if progress is not None:
            progress(len(keys))
