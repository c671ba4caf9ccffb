"""An image and its caption side by side, `key.ext` and `key.txt`, as many trainers read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vila2.data.writers.captioned import PROVENANCE, Captioned, in_groups

# File systems and file managers become slow with more names in one folder.
FOLDER_SAMPLES = 10_000


def write_txt(samples: Iterable[Captioned], directory: Path) -> int:
    """Write folders `00000`, `00001`, ... and `provenance.jsonl`; returns the number of samples.

    The text file holds the assembled text and nothing else. `image` in `provenance.jsonl` is the
    image's path from the export's root.
    """
    count = 0
    with (directory / PROVENANCE).open("w", encoding="utf-8") as records:
        for number, group in in_groups(samples, FOLDER_SAMPLES):
            folder = directory / f"{number:05d}"
            folder.mkdir()
            for captioned in group:
                (folder / captioned.file_name).write_bytes(captioned.sample.image)
                (folder / f"{captioned.sample.key}.txt").write_bytes(captioned.text.encode())
                records.write(captioned.record(image=f"{folder.name}/{captioned.file_name}") + "\n")
                count += 1
    return count
