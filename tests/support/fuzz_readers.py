"""Feed mutated bytes to one reader; anything but a known error ends the run with the bytes.

python -m tests.support.fuzz_readers TARGET [-runs=N] [-max_total_time=SECONDS] [CORPUS]
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vila2.data"]):
    from vila2.data.errors import DataError
    from vila2.data.images.decoding import ImageRejected, inspect
    from vila2.data.images.formats import EXTENSIONS
    from vila2.data.images.trailing_data import end_of, foreign_tail
    from vila2.data.readers import open_reader
    from vila2.data.readers.urls import UrlListReader
    from vila2.data.shards import read_raw_shard, read_shard
    from vila2.data.tar.reading import members_of

_ROOT = Path(tempfile.mkdtemp(prefix="vila2-fuzz-"))


def tar(data: bytes) -> None:
    """A tar of any kind, compressed ones too."""
    for member in members_of(data, compressed=True):
        assert member.offset >= 0


def upload(data: bytes) -> None:
    """A part of raw samples, and a shard."""
    with contextlib.suppress(DataError):
        list(read_shard(data))
    list(read_raw_shard(data))


def image(data: bytes) -> None:
    """An image, whole."""
    for extension in EXTENSIONS:
        foreign_tail(data, end_of(data, extension))
    inspect(data)


def webdataset(data: bytes) -> None:
    """A foreign WebDataset tar."""
    _through("webdataset", "a.tar", data)


def table(data: bytes) -> None:
    """A table of captions beside an image."""
    (_ROOT / "table").mkdir(exist_ok=True)
    (_ROOT / "table" / "a.png").write_bytes(b"x")
    _through("folder", "table/captions.csv", data, root=_ROOT / "table")


def conversations(data: bytes) -> None:
    """LLaVA's JSON, and its lines."""
    with contextlib.suppress(DataError):
        _through("llava", "conversations.json", data)
    _through("llava", "conversations.jsonl", data)


def addresses(data: bytes) -> None:
    """Lists of addresses, without fetching."""
    for name in ("l.jsonl", "l.csv"):
        path = _ROOT / name
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            for row in UrlListReader(path).rows():
                assert row.key


def imagefolder(data: bytes) -> None:
    """Hugging Face's tables of captions, beside an image."""
    for name in ("metadata.csv", "metadata.jsonl"):
        root = _ROOT / name.partition(".")[2]
        root.mkdir(exist_ok=True)
        (root / "a.png").write_bytes(b"x")
        with contextlib.suppress(DataError):
            _through("imagefolder", f"{root.name}/{name}", data, root=root)


def parquet(data: bytes) -> None:
    """Parquet, most of which is not ours to instrument."""
    _through("parquet", "a.parquet", data)


def _through(format: str, name: str, data: bytes, *, root: Path | None = None) -> None:
    path = _ROOT / name
    path.write_bytes(data)
    for raw in open_reader(format, root or path).read():
        assert raw.key


TARGETS = {
    target.__name__: target
    for target in (
        tar, upload, image, webdataset, table, conversations, addresses, imagefolder, parquet,
    )
}  # fmt: skip


def main() -> None:
    """Run one target until the bounds are reached or something breaks."""
    target = TARGETS[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        with contextlib.suppress(DataError, ImageRejected):
            target(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
