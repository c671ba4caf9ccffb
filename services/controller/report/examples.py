"""Images with their captions for a report: some drawn at random, and the worst."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence

from services.controller.tables import RoundRow
from vila2.data.images.decoding import decode
from vila2.data.layers import CAPTIONED, CaptionRow, captions_of
from vila2.data.sample import Sample
from vila2.evaluation.report.model import Example

DRAWN, WORST = 6, 4

Captions = Mapping[str, Sequence[CaptionRow]]  # round -> the captions of the first shard


def drawn(samples: Sequence[Sample], captions: Captions, *, seed: int) -> list[Example]:
    """Images drawn by the recipe's seed, in their order in the shard."""
    places = random.Random(seed).sample(range(len(samples)), min(DRAWN, len(samples)))
    return _examples([samples[place] for place in sorted(places)], captions)


def newest_captions(rows: Sequence[RoundRow], captions: Captions) -> str:
    """The last self-augmented round with captions; empty if there is none."""
    names = [row.name for row in rows if row.kind == "self" and captions.get(row.name)]
    return names[-1] if names else ""


def worst(samples: Sequence[Sample], captions: Captions, of: str) -> list[Example]:
    """The images whose accepted captions of a round have the lowest score, worst first.

    The score is the consistency with the image if all were scored, else the captioner's confidence.
    """
    rows = [row for row in captions.get(of, ()) if row.status == CAPTIONED]
    if any(row.consistency is None for row in rows):
        scores = {row.key: row.logprob for row in rows}
    else:
        scores = {row.key: row.consistency for row in rows}
    ranked = sorted((score, key) for key, score in scores.items() if score is not None)
    by_key = {sample.key: sample for sample in samples}
    return _examples([by_key[key] for _, key in ranked[:WORST] if key in by_key], captions)


def _examples(samples: Sequence[Sample], captions: Captions) -> list[Example]:
    texts = {name: captions_of(rows) for name, rows in captions.items() if rows}
    return [
        Example(
            key=sample.key,
            image_png_base64=_png(sample),
            original=sample.caption,
            captions={
                name: text if (text := held.get(sample.key)) is not None else "(quarantined)"
                for name, held in texts.items()
            },
        )
        for sample in samples
    ]


def _png(sample: Sample) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(decode(sample.image))
    image.thumbnail((256, 256))
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
