"""Pictures in `images/` and `captions.csv`, which a spreadsheet may open safely."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from vila2.data.csv_cells import escape_cell
from vila2.data.writers.captioned import Captioned

COLUMNS = ("image", "caption", "original", "captions", "sha256")


def write_folder(samples: Iterable[Captioned], directory: Path) -> int:
    """Write the table and the pictures it names; returns the number of samples.

    `caption` is the assembled text, `original` the submitted one, and `captions` a JSON object of
    the layers'. Cells that begin like a formula get an apostrophe in front.
    """
    count = 0
    images = directory / "images"
    images.mkdir()
    with (directory / "captions.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for captioned in samples:
            count += 1
            (images / captioned.file_name).write_bytes(captioned.sample.image)
            about = captioned.provenance()
            layers = json.dumps(about["captions"], ensure_ascii=False, sort_keys=True)
            cells = (captioned.file_name, captioned.text, about["original"], layers)
            table.writerow([*(escape_cell(cell) for cell in cells), about["sha256"]])
    return count
