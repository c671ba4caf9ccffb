"""The golden set: a few questions with the answers that the model gave in the trainer.

It is stored in the model's folder. A server that loads the weights in another version, precision or
engine must reproduce these answers before it serves traffic.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from vila2.data.images.decoding import decode
from vila2.data.sample import Sample

GOLDEN_FILE = "vila2_golden.json"
IMAGES = 8
MAX_NEW_TOKENS = 24
DEFAULT_QUESTION = "Describe the image."


@dataclass(frozen=True, slots=True)
class GoldenItem:
    """An image (base64 of a PNG at the model's size), a question, and the greedy answer.

    `logprob` is the answer's mean per token, `gain` its consistency score, both in nats;
    `prompt_tokens` counts what the model read, the image's tokens included. 0 and `None` where they
    were not recorded.
    """

    image: str
    question: str
    text: str
    logprob: float
    max_new_tokens: int = MAX_NEW_TOKENS
    prompt_tokens: int = 0
    gain: float | None = None

    def pixels(self) -> np.ndarray:
        """uint8 (H, W, 3)."""
        return decode(base64.b64decode(self.image))


def write_golden(directory: Path, samples: Iterable[Sample]) -> int:
    """Run a saved model on the first few samples and store its answers beside its weights.

    The scores are against the stored reference, so that is written before.
    """
    from vila2.engine.captioner import Captioner
    from vila2.engine.consistency import Scorer
    from vila2.engine.requests import Request, Scoring
    from vila2.schemas.sampling import Sampling

    captioner = Captioner.load(directory)
    size = captioner.image_size
    sampling = Sampling(temperature=0.0, max_new_tokens=MAX_NEW_TOKENS)
    requests = [
        Request(
            decode(sample.image, size=(size, size)),
            sample.turns[0].question if sample.turns else DEFAULT_QUESTION,
            0,
            sampling,
        )
        for sample in islice(samples, IMAGES)
    ]
    answers = captioner.generate(requests)
    pairs = list(zip(requests, answers, strict=True))
    scores = Scorer(captioner).score([Scoring(r.pixels, r.question, a.text) for r, a in pairs])
    items = []
    for (request, made), score in zip(pairs, scores, strict=True):
        assert made.logprob is not None
        items.append(
            GoldenItem(
                _png(request.pixels),
                request.question,
                made.text,
                made.logprob,
                prompt_tokens=made.prompt_tokens,
                gain=score.gain,
            )
        )
    text = json.dumps([asdict(item) for item in items], indent=1)
    (directory / GOLDEN_FILE).write_text(text)
    return len(items)


def read_golden(data: bytes) -> list[GoldenItem]:
    """The items of a golden file."""
    return [GoldenItem(**item) for item in json.loads(data)]


def _png(pixels: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
