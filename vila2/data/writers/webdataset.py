"""WebDataset tars: `00000.tar`, `00001.tar`, ... with `key.ext`, `key.txt` and `key.json`."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterable
from pathlib import Path

from vila2.data.shards import add_member
from vila2.data.writers.captioned import Captioned


def write_webdataset(samples: Iterable[Captioned], directory: Path, *, shard_size: int) -> int:
    """Write tars of at most `shard_size` samples; returns the number of samples.

    `key.txt` is the assembled text; `key.json` repeats it as `caption` and adds all else that
    `Captioned.record` holds. Equal samples give equal bytes.
    """
    rest = iter(samples)
    count = 0
    while (first := next(rest, None)) is not None:
        path = directory / f"{count // shard_size:05d}.tar"
        with path.open("wb") as out, tarfile.open(fileobj=out, mode="w|") as tar:
            for captioned in itertools.chain([first], itertools.islice(rest, shard_size - 1)):
                _add(tar, captioned)
                count += 1
    return count


def _add(tar: tarfile.TarFile, captioned: Captioned) -> None:
    add_member(tar, captioned.file_name, captioned.sample.image)
    add_member(tar, f"{captioned.sample.key}.txt", captioned.text.encode())
    add_member(tar, f"{captioned.sample.key}.json", captioned.record().encode())
