"""WebDataset tars: `00000.tar`, `00001.tar`, ... with `key.ext`, `key.txt` and `key.json`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vila2.data.tar.writing import TarOut
from vila2.data.writers.captioned import Captioned, in_groups


def write_webdataset(samples: Iterable[Captioned], directory: Path, *, shard_size: int) -> int:
    """Write tars of at most `shard_size` samples; returns the number of samples.

    `key.txt` is the assembled text; `key.json` repeats it as `caption` and adds the other fields
    of `Captioned.record`. Equal samples give equal bytes.
    """
    count = 0
    for number, group in in_groups(samples, shard_size):
        path = directory / f"{number:05d}.tar"
        with path.open("wb") as out, TarOut(out) as tar:
            for captioned in group:
                add_captioned(tar, captioned, captioned.record())
                count += 1
    return count


def add_captioned(tar: TarOut, captioned: Captioned, record: str) -> None:
    """Add the members of one sample; `record` is what `key.json` holds."""
    tar.add(captioned.file_name, captioned.sample.image)
    tar.add(f"{captioned.sample.key}.txt", captioned.text.encode())
    tar.add(f"{captioned.sample.key}.json", record.encode())
