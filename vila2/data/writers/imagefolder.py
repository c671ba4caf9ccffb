"""Hugging Face's `imagefolder`: `train/metadata.jsonl` and the images below it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vila2.data.writers.captioned import PROVENANCE, Captioned, in_groups
from vila2.data.writers.txt import FOLDER_SAMPLES


def write_imagefolder(samples: Iterable[Captioned], directory: Path) -> int:
    """Write `train/00000/KEY.ext`, ..., and `provenance.jsonl`; returns the number of samples.

    A row of `metadata.jsonl` has the image's `file_name` relative to it, the assembled text as
    `caption`, the submitted one as `original`, and the sample's key, source, digest and size.
    """
    count = 0
    train = directory / "train"
    train.mkdir()
    with (
        (train / "metadata.jsonl").open("w", encoding="utf-8") as table,
        (directory / PROVENANCE).open("w", encoding="utf-8") as records,
    ):
        for number, group in in_groups(samples, FOLDER_SAMPLES):
            folder = train / f"{number:05d}"
            folder.mkdir()
            for captioned in group:
                sample, name = captioned.sample, f"{folder.name}/{captioned.file_name}"
                (train / name).write_bytes(sample.image)
                row = {
                    "file_name": name,
                    "caption": captioned.text,
                    "original": sample.caption,
                    "key": sample.key,
                    "source": sample.source,
                    "sha256": sample.sha256,
                    "width": sample.width,
                    "height": sample.height,
                }
                table.write(json.dumps(row, ensure_ascii=False) + "\n")
                records.write(captioned.record(image=f"train/{name}") + "\n")
                count += 1
    return count
