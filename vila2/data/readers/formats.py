"""Registry of input formats and their readers."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, ReadOptions, is_pattern
from vila2.data.readers.files.tree import walk_files

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_TARS = re.compile(r"\.(tar|tgz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
FORMATS = (
    "folder",
    "webdataset",
    "img2dataset",
    "llava",
    "parquet",
    "imagefolder",
    "urls",
    "benchmark",
)


def open_reader(format: str, path: Path, options: ReadOptions | None = None) -> Reader:
    """Make the reader of `format` for `path`; the error lists the known formats."""
    readers = _readers()
    if format not in readers:
        shapes = "; ".join(f"{name}: {cls.looks_like}" for name, cls in readers.items())
        raise DataError(f"unknown format {format!r}", field="format", fix=f"Use one of {shapes}")
    if not path.exists() and not (format == "webdataset" and is_pattern(path)):
        raise DataError("does not exist", file=str(path), fix="Check the path")
    for name in ("image_field", "caption_field", "url_field", "encoding", "split"):
        if getattr(options, name, "") and name not in readers[format].fields:
            raise DataError(
                f"format {format} has no {name.removesuffix('_field')} to choose",
                field=name,
                fix="Leave this option out",
            )
    return readers[format](path, options)


def recognised(path: Path) -> tuple[str, str]:
    """The format that a path looks like, and why; the reason is empty for a plain folder."""
    if _TARS.search(path.name) and not path.is_dir():
        return "webdataset", f"{path.name} is a tar"
    if path.suffix in (".parquet", ".arrow") and not path.is_dir():
        return "parquet", f"{path.name} is a {path.suffix} file"
    if path.is_dir() and not (path / "captions.csv").exists():
        names, _ = walk_files(path)
        table = next((name for name in names if PurePosixPath(name).name in METADATA), "")
        if table:
            return "imagefolder", f"it has {table}"
    return "folder", ""


def _readers() -> dict[str, type[Reader]]:
    # Imported here: most programs read no format, and some readers take long to import.
    from vila2.data.readers.benchmark import BenchmarkReader
    from vila2.data.readers.folder import FolderReader
    from vila2.data.readers.imagefolder import ImageFolderReader
    from vila2.data.readers.img2dataset import Img2DatasetReader
    from vila2.data.readers.llava import LlavaReader
    from vila2.data.readers.parquet import ParquetReader
    from vila2.data.readers.urls import UrlListReader
    from vila2.data.readers.webdataset import WebDatasetReader

    return {
        "folder": FolderReader,
        "webdataset": WebDatasetReader,
        "img2dataset": Img2DatasetReader,
        "llava": LlavaReader,
        "parquet": ParquetReader,
        "imagefolder": ImageFolderReader,
        "urls": UrlListReader,
        "benchmark": BenchmarkReader,
    }
