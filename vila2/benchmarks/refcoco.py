"""Referring expressions: the box of what a phrase names, scored by mean IoU and accuracy at 0.5.

RefCOCO itself is published as Python pickles, which are not read here. This reads the JSON lines
that Shikra published for RefCOCO, RefCOCO+ and RefCOCOg: `{"img_path", "width", "height",
"expression", "bbox"}`, the box as xmin, ymin, xmax, ymax in pixels. Boxes become thousandths of the
image's size, as this platform's models write them (arXiv 2407.17453, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vila2.benchmarks.source import (
    Question,
    Source,
    Where,
    field_of,
    files_of,
    from_questions,
    images_of,
    published,
)
from vila2.data.answers import BOX_LIMIT
from vila2.data.errors import DataError
from vila2.data.readers.json_rows import BadRow, read_lines

_NEEDS = "REC_refcoco_unc_val.jsonl or another of its kind, or a folder of them"


def _read(where: Where) -> Iterator[Question]:
    for file in files_of(published(where, "refcoco", _NEEDS), ".jsonl"):
        root = images_of(where, file)
        for number, row in read_lines(file):
            place = f"{file.name} line {number}"
            if isinstance(row, BadRow):
                raise DataError(f"{place}: {row}", fix="Fetch the file again")
            image = field_of(row, "img_path", str, where=place)
            size = tuple(field_of(row, side, int, where=place) for side in ("width", "height"))
            box = field_of(row, "bbox", list, where=place)
            expression = field_of(row, "expression", str, where=place)
            yield Question(
                root,
                image,
                {
                    "id": f"{file.stem}-{number}",
                    "benchmark": "refcoco",
                    "kind": file.stem.removeprefix("REC_"),
                    "question": f"Give the box of {expression} as [xmin,ymin,xmax,ymax].",
                    "answers": [box_text(box, size, where=place)],
                    "metric": "iou",
                },
            )


def box_text(box: Sequence[float], size: Sequence[int], *, where: str) -> str:
    """A box in pixels as `[xmin,ymin,xmax,ymax]` in thousandths, at least one of them wide."""
    numbers = all(isinstance(n, int | float) and math.isfinite(n) for n in box)
    if len(box) != 4 or not numbers or min(size) < 1:
        raise DataError(
            f"{where}: bbox is not four numbers within an image",
            field="bbox",
            fix="Check the file's layout",
        )
    scaled = [
        min(BOX_LIMIT, max(0, round(float(edge) / length * 1000)))
        for edge, length in zip(box, (*size, *size), strict=True)
    ]
    left, top = min(scaled[0], BOX_LIMIT - 1), min(scaled[1], BOX_LIMIT - 1)
    return f"[{left},{top},{max(scaled[2], left + 1)},{max(scaled[3], top + 1)}]"


SOURCE = Source(
    name="refcoco",
    about="the box of what a phrase names",
    metric="iou (mean IoU; accuracy at 0.5)",
    items="10,834 questions in RefCOCO val; images of COCO train2014",
    licence="expressions Apache-2.0; images under COCO's terms",
    citation="Yu et al., ECCV 2016, arXiv 1608.00272; layout of Shikra, arXiv 2306.15195",
    needs=_NEEDS,
    prepare=from_questions(_read),
)
