"""Registry of input formats and their readers."""

from __future__ import annotations

from pathlib import Path

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, ReadOptions, is_pattern

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
                f"format {format} has no column to name, and no {name.removesuffix('_field')}",
                field=name,
                fix="Leave this option out",
            )
    return readers[format](path, options)


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
