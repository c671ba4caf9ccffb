"""What an export writes: a sample with its captions. Pure."""

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

    `text` is what a reader of the export finds as the caption; it may be empty only where the
    format is one of conversations and the sample has turns. A layer that has no more than a text
    may give that text in place of a row; the export then says nothing of how it was made.
    """

    sample: Sample
    text: str
    captions: Mapping[str, CaptionRow | str]

    @property
    def file_name(self) -> str:
        """The image's name in the export, such as `000123.jpg`."""
        return f"{self.sample.key}.{self.sample.extension}"

    def record(self, **more: str) -> str:
        """One line of JSON with all there is to know of the sample beside its image.

        `caption` is the assembled text, `original` the submitted one; `captions` holds for each
        layer its `caption`, `status` and `reason`, and with which model, prompt, seed, attempt and
        temperature it was made, its tokens, log-probability, finish reason and consistency score
        (null: not scored). `more` adds fields or puts others in their place.
        """
        sample = self.sample
        about = {
            "key": sample.key,
            "image": self.file_name,
            "caption": self.text,
            "original": sample.caption,
            "captions": {name: _row(row) for name, row in self.captions.items()},
            "turns": [[turn.question, turn.answer] for turn in sample.turns],
            "items": [dict(item) for item in sample.items],
            "width": sample.width,
            "height": sample.height,
            "sha256": sample.sha256,
            "source": sample.source,
            **more,
        }
        return json.dumps(about, ensure_ascii=False, sort_keys=True, allow_nan=False)


def in_groups(samples: Iterable[Captioned], size: int) -> Iterator[tuple[int, Iterator[Captioned]]]:
    """Yield groups of at most `size` samples with their number, none of them empty.

    Nothing is held: a group must be used up before the next is asked for.
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
    # The key and the image's digest stand in the record once. JSON has no NaN or infinity.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(row).items()
        if name not in ("key", "sha256")
    }
