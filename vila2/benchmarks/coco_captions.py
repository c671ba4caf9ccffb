"""COCO captions: a caption compared with five human captions, by CIDEr-D.

Files as published: `captions_val2014.json` (`images` with `id` and `file_name`, `annotations` with
`image_id` and `caption`), or Karpathy's `dataset_coco.json` (`images` with `filename`, `filepath`,
`split` and `sentences` with `raw`), of which the split `test` is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vila2.benchmarks.source import (
    Question,
    Source,
    Where,
    field_of,
    from_questions,
    images_of,
    published,
    read_json,
)
from vila2.data.errors import DataError

_NEEDS = "captions_val2014.json, or Karpathy's dataset_coco.json"
_QUESTION = "Describe the image in one sentence."


def _read(where: Where) -> Iterator[Question]:
    file = published(where, "COCO captions", _NEEDS)
    if not file.is_file():
        raise DataError("is no file", file=str(file), fix=f"Give --from: {_NEEDS}")
    held = read_json(file)
    images = field_of(held, "images", list, where=file.name)
    found = _annotated(held, images, file) if "annotations" in held else _split(images, file)
    for name, captions in found:
        yield Question(
            images_of(where, file),
            name,
            {
                "id": f"coco-{name}",
                "benchmark": "coco-captions",
                "kind": "caption",
                "question": _QUESTION,
                "answers": captions,
                "metric": "cider",
            },
        )


def _annotated(held: Any, images: list[Any], file: Path) -> Iterator[tuple[str, list[str]]]:
    captions: dict[int, list[str]] = {}
    for number, row in enumerate(field_of(held, "annotations", list, where=file.name)):
        place = f"{file.name} annotation {number}"
        image = field_of(row, "image_id", int, where=place)
        captions.setdefault(image, []).append(field_of(row, "caption", str, where=place).strip())
    for number, row in enumerate(images):
        place = f"{file.name} image {number}"
        wrote = captions.get(field_of(row, "id", int, where=place))
        if wrote:
            yield field_of(row, "file_name", str, where=place), wrote


def _split(images: list[Any], file: Path) -> Iterator[tuple[str, list[str]]]:
    for number, row in enumerate(images):
        place = f"{file.name} image {number}"
        if field_of(row, "split", str, where=place) != "test":
            continue
        sentences = field_of(row, "sentences", list, where=place)
        captions = [field_of(each, "raw", str, where=place).strip() for each in sentences]
        folder = row.get("filepath") or ""
        name = field_of(row, "filename", str, where=place)
        yield f"{folder}/{name}" if folder else name, captions


SOURCE = Source(
    name="coco-captions",
    about="a caption against those of five people",
    metric="cider",
    items="40,504 images of val2014; 5,000 of Karpathy's test split",
    licence="captions CC BY 4.0; images under COCO's terms",
    citation="Chen et al., Microsoft COCO Captions, 2015, arXiv 1504.00325",
    needs=_NEEDS,
    prepare=from_questions(_read),
)
