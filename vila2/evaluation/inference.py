"""Inference on benchmark questions: generated answers, or likelihoods of given options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vila2.data.images.decoding import decode
from vila2.data.sample import Sample
from vila2.engine.captioner import Captioner
from vila2.engine.consistency import Scorer
from vila2.engine.requests import Request, Scoring
from vila2.evaluation.metrics.choice import prompt_of
from vila2.schemas.sampling import Sampling


class Asker:
    """Asks one model, greedily: the same questions get the same answers."""

    def __init__(self, captioner: Captioner, *, max_new_tokens: int, seed: int = 0) -> None:
        self._captioner, self._seed = captioner, seed
        self._sampling = Sampling(temperature=0.0, max_new_tokens=max_new_tokens)
        self._scorer: Scorer | None = None

    def answers(self, samples: Sequence[Sample], report: Callable[[int], None]) -> list[str]:
        """An answer to every item of the samples, in order; `report` is passed the number done."""
        size = self._captioner.image_size
        asked = [
            (pixels, item)
            for sample in samples
            for pixels in [decode(sample.image, size=(size, size))]
            for item in sample.items
        ]
        weighed = [n for n, (_, item) in enumerate(asked) if item["metric"] == "likelihood"]
        spoken = [n for n, (_, item) in enumerate(asked) if item["metric"] != "likelihood"]
        found: dict[int, str] = {}
        requests = [
            Request(asked[n][0], prompt_of(asked[n][1]), self._seed, self._sampling) for n in spoken
        ]
        replies = self._captioner.generate(requests, progress=report) if requests else []
        found.update(zip(spoken, (reply.text for reply in replies), strict=True))
        found.update(zip(weighed, self._preferred([asked[n] for n in weighed]), strict=True))
        return [found[n] for n in range(len(asked))]

    def _preferred(self, asked: Sequence[tuple[np.ndarray, Mapping[str, Any]]]) -> list[str]:
        """The option of each item with the highest mean log-probability per token.

        The mean and not the sum, which would prefer the shorter option (VisualGPTScore: Lin et al.
        2024, section 3). Of two equal ones the last: a model that cannot decide earns no benefit
        from the order in which a benchmark happens to list the right one first.
        """
        if not asked:
            return []
        self._scorer = self._scorer or Scorer(self._captioner)
        requests = [
            Scoring(pixels, str(item["question"]), option)
            for pixels, item in asked
            for option in item["options"]
        ]
        nll = iter([score.given_image for score in self._scorer.score(requests)])
        preferred = []
        for _, item in asked:
            held = [(next(nll), -number, option) for number, option in enumerate(item["options"])]
            preferred.append(min(held)[2])
        return preferred
