"""WebDataset tars: `00000.tar`, `00001.tar`, ... with `key.ext`, `key.txt` and `key.json`."""

from __future__ import annotations

import itertools
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from vila2.data.shards import add_member
from vila2.data.writers.captioned import Captioned


def write_webdataset(samples: Iterable[Captioned], directory: Path, *, shard_size: int) -> int:
    """Write tars of at most `shard_size` samples; returns the number of samples.

    `key.txt` is the assembled text; `key.json` repeats it as `caption` and adds the original
    caption, the layers' captions, and the sample's turns. Equal samples give equal bytes.
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
    sample = captioned.sample
    about = {
        "caption": captioned.text,
        "width": sample.width,
        "height": sample.height,
        "turns": [[turn.question, turn.answer] for turn in sample.turns],
        **captioned.provenance(),
    }
    text = json.dumps(about, ensure_ascii=False, sort_keys=True)
    add_member(tar, captioned.file_name, sample.image)
    add_member(tar, f"{sample.key}.txt", captioned.text.encode())
    add_member(tar, f"{sample.key}.json", text.encode())
