"""A sample with its captions, the input of every export. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vila2.data.layers import CaptionRow
from vila2.data.sample import Sample

PROVENANCE = "provenance.jsonl"


@dataclass(frozen=True, slots=True)
class Captioned:
    """A sample, its row in each layer by the layer's name, and the assembled text.

    `text` is the caption in the export; it may be empty only if the format holds conversations
    and the sample has turns. A layer without provenance may give a plain text instead of a row;
    its provenance fields are then null in the export.
    """

    sample: Sample
    text: str
    captions: Mapping[str, CaptionRow | str]

    @property
    def file_name(self) -> str:
        """The image's name in the export, such as `000123.jpg`."""
        return f"{self.sample.key}.{self.sample.extension}"

    def record(self, **more: str) -> str:
        """One line of JSON with everything about the sample except its image.

        `caption` is the assembled text, `original` the submitted one, and
        `more_captions` further ones of the source; `captions` holds for each
        layer its `caption`, `status` and `reason`, the model, prompt, seed, attempt and
        temperature that made it, its tokens, log-probability, finish reason and consistency score
        (null: not scored). `more` adds or overrides fields.
        """
        sample = self.sample
        about = {
            "key": sample.key,
            "image": self.file_name,
            "caption": self.text,
            "original": sample.caption,
            "more_captions": list(sample.more_captions),
            "captions": {name: _row(row) for name, row in self.captions.items()},
            "turns": [[turn.question, turn.answer] for turn in sample.turns],
            "items": [dict(item) for item in sample.items],
            "width": sample.width,
            "height": sample.height,
            "sha256": sample.sha256,
            "source": sample.source,
            "source_ids": [sample.source_id, *sample.source_ids[1:]],
            **more,
        }
        return json.dumps(about, ensure_ascii=False, sort_keys=True, allow_nan=False)


def in_groups(samples: Iterable[Captioned], size: int) -> Iterator[tuple[int, Iterator[Captioned]]]:
    """Yield groups of at most `size` samples with their number, none of them empty.

    Samples are not buffered: a group must be consumed before the next one is requested.
    """
    rest = iter(samples)
    for number in itertools.count():
        first = next(rest, None)
        if first is None:
            return
        yield number, itertools.chain([first], itertools.islice(rest, size - 1))


def _row(row: CaptionRow | str) -> dict[str, Any]:
    if isinstance(row, str):
        return {"caption": row}
    # The key and the image's digest are in the record already. JSON has no NaN or infinity.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(row).items()
        if name not in ("key", "sha256")
    }
