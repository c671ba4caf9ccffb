"""Images in `images/` and `captions.csv`, which is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from vila2.data.writers.captioned import PROVENANCE, Captioned
from vila2.data.writers.csv_cells import escape_cell

COLUMNS = ("image", "caption", "original", "sha256", "source_id", "source")


def write_folder(samples: Iterable[Captioned], directory: Path) -> int:
    """Write the table, `provenance.jsonl` and the images; returns the number of samples.

    `caption` is the assembled text, `original` the submitted one; `source_id` is the id that the
    sample's source gave it, else its key. A cell that begins with
    = + - @, a tab or a carriage return gets an apostrophe in front, since a spreadsheet would run
    it as a formula; the folder reader removes it.
    """
    count = 0
    images = directory / "images"
    images.mkdir()
    with (
        (directory / "captions.csv").open("w", newline="", encoding="utf-8") as out,
        (directory / PROVENANCE).open("w", encoding="utf-8") as records,
    ):
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for captioned in samples:
            sample = captioned.sample
            (images / captioned.file_name).write_bytes(sample.image)
            about = (sample.caption, sample.sha256, sample.source_id, sample.source)
            cells = (captioned.file_name, captioned.text, *about)
            table.writerow([escape_cell(cell) for cell in cells])
            records.write(captioned.record() + "\n")
            count += 1
    return count
