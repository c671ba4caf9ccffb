"""DocVQA: reading documents, scored by ANLS.

Files as published: `val_v1.0.json` or `val_v1.0_withQT.json`, `{"data": [{"questionId", "question",
"image", "answers"}]}`, where `image` is `documents/NAME.png` relative to the split's folder. The
test split has no answers and cannot be scored here.
"""

from __future__ import annotations

from collections.abc import Iterator

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

_NEEDS = "val_v1.0.json, beside the folder documents/"
_SUFFIX = "Answer with the words of the document."


def _read(where: Where) -> Iterator[Question]:
    file = published(where, "DocVQA", _NEEDS)
    if not file.is_file():
        raise DataError("is no file", file=str(file), fix=f"Give --from: {_NEEDS}")
    for number, row in enumerate(field_of(read_json(file), "data", list, where=file.name)):
        place = f"{file.name} entry {number}"
        answers = field_of(row, "answers", list, where=place)
        kinds = row.get("question_types") or ["document"]
        yield Question(
            images_of(where, file),
            field_of(row, "image", str, where=place),
            {
                "id": f"docvqa-{field_of(row, 'questionId', (int, str), where=place)}",
                "benchmark": "docvqa",
                "kind": str(kinds[0]),
                "question": f"{field_of(row, 'question', str, where=place)} {_SUFFIX}",
                "answers": answers,
                "metric": "anls",
            },
        )


SOURCE = Source(
    name="docvqa",
    about="questions about scanned documents",
    metric="anls",
    items="5,349 questions, 1,286 pages (val)",
    licence="its makers' terms: see docvqa.org",
    citation="Mathew et al., DocVQA, WACV 2021, arXiv 2007.00398",
    needs=_NEEDS,
    prepare=from_questions(_read),
)
