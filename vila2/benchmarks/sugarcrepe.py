"""SugarCrepe: which of two captions is the image's, where one word makes the difference.

Files as published: `add_att.json`, `replace_obj.json`, ... each a JSON object of
`{number: {"filename", "caption", "negative_caption"}}`. Two ways to ask:

- `sugarcrepe` asks which, once with the true caption first and once with it second: a model that
  always says A gets 0.5, and `whole_group_right` is the share of pairs with both answers right;
- `sugarcrepe-likelihood` asks nothing: the model's own log-probability of the two captions decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vila2.benchmarks.source import (
    Question,
    Source,
    Where,
    field_of,
    files_of,
    from_questions,
    images_of,
    published,
    read_json,
)
from vila2.data.errors import DataError

_NEEDS = "a folder with add_att.json, add_obj.json, replace_att.json and so on, or one such file"
_WHICH = "Which caption describes the image correctly?"
_CAPTION = "Describe the image in one sentence."


def _pairs(where: Where) -> Iterator[tuple[Question, str, str]]:
    """Every pair: the image with what its questions share, the caption, the negative."""
    for file in files_of(published(where, "SugarCrepe", _NEEDS), ".json"):
        rows = read_json(file)
        if not isinstance(rows, dict):
            raise DataError(
                "is no JSON object of numbered pairs", file=str(file), fix="Check --from"
            )
        for number, row in rows.items():
            place = f"{file.name} entry {number}"
            caption = field_of(row, "caption", str, where=place)
            negative = field_of(row, "negative_caption", str, where=place)
            image = field_of(row, "filename", str, where=place)
            shared: dict[str, Any] = {
                "id": f"{file.stem}-{number}",
                "kind": file.stem,
                "answers": [caption],
            }
            yield Question(images_of(where, file), image, shared), caption, negative


def _asked(where: Where) -> Iterator[Question]:
    for pair, caption, negative in _pairs(where):
        for order, options in enumerate(([caption, negative], [negative, caption]), 1):
            item = {
                **pair.item,
                "id": f"{pair.item['id']}-{order}",
                "group": pair.item["id"],
                "benchmark": "sugarcrepe",
                "question": _WHICH,
                "options": options,
                "metric": "choice",
            }
            yield Question(pair.root, pair.image, item)


def _weighed(where: Where) -> Iterator[Question]:
    for pair, caption, negative in _pairs(where):
        item = {
            **pair.item,
            "benchmark": "sugarcrepe-likelihood",
            "question": _CAPTION,
            "options": [caption, negative],
            "metric": "likelihood",
        }
        yield Question(pair.root, pair.image, item)


_CITATION = "Hsieh et al., SugarCrepe, NeurIPS 2023, arXiv 2306.14610"
_LICENCE = "captions MIT; images under COCO's terms"

ASKED = Source(
    name="sugarcrepe",
    about="which of two captions is true, asked in both orders",
    metric="choice",
    items="7,512 pairs, twice; images of COCO val2017",
    licence=_LICENCE,
    citation=_CITATION,
    needs=_NEEDS,
    prepare=from_questions(_asked),
)
WEIGHED = Source(
    name="sugarcrepe-likelihood",
    about="which of two captions the model itself finds likelier",
    metric="likelihood",
    items="7,512 pairs; images of COCO val2017",
    licence=_LICENCE,
    citation=_CITATION,
    needs=_NEEDS,
    prepare=from_questions(_weighed),
)
