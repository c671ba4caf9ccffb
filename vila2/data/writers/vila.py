"""VILA's own layout: WebDataset tars, and beside each a table of captions by address."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vila2.data.errors import DataError
from vila2.data.tar.writing import TarOut
from vila2.data.writers.captioned import PROVENANCE, Captioned, in_groups
from vila2.data.writers.webdataset import add_captioned


def write_vila(samples: Iterable[Captioned], directory: Path, *, shard_size: int) -> int:
    """Write `000000.tar`, `000000.tar.json`, ... and `provenance.jsonl`; returns their samples.

    Tars are as in the WebDataset export. A table is `{url: {"output": caption}}`, where `url` is
    the sample's source if that is a web address and else the image's name in the tar; `key.json`
    repeats it as `url`, by which VILA looks it up. Raises `DataError` if two samples of one tar
    share an address, since one caption would be lost.
    """
    count = 0
    with (directory / PROVENANCE).open("w", encoding="utf-8") as records:
        for number, group in in_groups(samples, shard_size):
            name = f"{number:06d}"
            seen: dict[str, str] = {}
            with (
                (directory / f"{name}.tar").open("wb") as out,
                TarOut(out) as tar,
                (directory / f"{name}.tar.json").open("w", encoding="utf-8") as table,
            ):
                for captioned in group:
                    url = url_of(captioned)
                    other = seen.setdefault(url, captioned.sample.key)
                    if other != captioned.sample.key:
                        raise _shared(url, other, captioned.sample.key, f"{name}.tar")
                    record = captioned.record(url=url)
                    add_captioned(tar, captioned, record)
                    records.write(record + "\n")
                    table.write("{\n" if len(seen) == 1 else ",\n")
                    output = json.dumps({"output": captioned.text}, ensure_ascii=False)
                    table.write(f"{json.dumps(url, ensure_ascii=False)}: {output}")
                    count += 1
                table.write("\n}\n")
    return count


def url_of(captioned: Captioned) -> str:
    """The table key of a caption: the image's source URL, else its file name."""
    source = captioned.sample.source
    return source if source.lower().startswith(("http://", "https://")) else captioned.file_name


def _shared(url: str, one: str, other: str, tar: str) -> DataError:
    return DataError(
        f"samples {one} and {other} of {tar} come from the same address {url[:300]!r}, under "
        f"which VILA keeps one caption",
        field="source",
        fix="Take one of them out of the dataset, choose a shard size that parts them, or use "
        "format webdataset",
    )
