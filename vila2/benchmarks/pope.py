"""POPE: does a model say yes to objects that are not in the image?

Files as published: JSON lines of `{"question_id", "image", "text", "label"}`, one file for each way
of choosing the absent objects (random, popular, adversarial), which become the kinds. In addition
to accuracy: precision, recall, F1 and the share of yes, over all and by kind.
"""

from __future__ import annotations

from collections.abc import Iterator

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
from vila2.data.errors import DataError
from vila2.data.readers.json_rows import BadRow, read_lines

_NEEDS = "a folder with coco_pope_random.json, coco_pope_popular.json and so on, or one such file"
_KINDS = ("random", "popular", "adversarial")


def _read(where: Where) -> Iterator[Question]:
    for file in files_of(published(where, "POPE", _NEEDS), ".json", ".jsonl"):
        kind = next((kind for kind in _KINDS if kind in file.stem), file.stem)
        for number, row in read_lines(file):
            place = f"{file.name} line {number}"
            if isinstance(row, BadRow):
                raise DataError(f"{place}: {row}", fix="Fetch the file again")
            label = str(field_of(row, "label", str, where=place)).strip().lower()
            if label not in ("yes", "no"):
                raise DataError(
                    f"{place}: label is {label!r}", field="label", fix="Write yes or no"
                )
            yield Question(
                images_of(where, file),
                field_of(row, "image", str, where=place),
                {
                    "id": f"{file.stem}-{field_of(row, 'question_id', (int, str), where=place)}",
                    "benchmark": "pope",
                    "kind": kind,
                    "question": field_of(row, "text", str, where=place),
                    "answers": [label],
                    "metric": "yes_no",
                },
            )


SOURCE = Source(
    name="pope",
    about="is there a ... in the image: objects that a model makes up",
    metric="yes_no (accuracy; precision, recall, F1, yes-rate by split)",
    items="3 x 3,000 questions, 500 images of COCO val2014",
    licence="questions MIT; images under COCO's terms",
    citation="Li et al., Evaluating Object Hallucination in LVLMs, EMNLP 2023, arXiv 2305.10355",
    needs=_NEEDS,
    prepare=from_questions(_read),
)
