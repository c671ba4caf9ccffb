"""Simulated evaluations: many models of known quality answer the same questions.

An answer is right if a latent normal value exceeds a benchmark's threshold. Its variance has shared
components: images and questions are hard for every model; a round's training data shifts some
images and questions for all its seeds; the rest is specific to one training. So
answers about one image are correlated, and two trainings of equal quality disagree on about one
answer in five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from vila2.evaluation.statistics.resampling import ImageDraws, ScoreTable

Floats = npt.NDArray[np.float64]
# Shares of the latent variance: they add up to 1.
EVERYBODY = {"image": 0.25, "item": 0.45}
A_ROUND = {"image": 0.03, "item": 0.05}
A_TRAINING = {"image": 0.05, "item": 0.17}


@dataclass(frozen=True)
class World:
    """Benchmarks by (images, questions an image, share answered right).

    With `shared`, all benchmarks use the same images, each the first ones of them.
    """

    name: str
    benchmarks: Sequence[tuple[int, int, float]]
    shared: bool = False


@dataclass
class Questions:
    """The image and benchmark of each of a world's questions, and the table's counts."""

    world: World
    image: npt.NDArray[np.int64] = field(init=False)
    benchmark: npt.NDArray[np.int64] = field(init=False)
    counts: Floats = field(init=False)

    def __post_init__(self) -> None:
        images, benchmarks = [], []
        offset = 0
        for column, (count, asked, _) in enumerate(self.world.benchmarks):
            images.append(np.repeat(np.arange(count) + offset, asked))
            benchmarks.append(np.full(count * asked, column))
            offset += 0 if self.world.shared else count
        self.image, self.benchmark = np.concatenate(images), np.concatenate(benchmarks)
        # In order of cell, so that answers add up by cell in one pass.
        order = np.lexsort((self.benchmark, self.image))
        self.image, self.benchmark = self.image[order], self.benchmark[order]
        self.counts = np.zeros((self.image.max() + 1, len(self.world.benchmarks)))
        np.add.at(self.counts, (self.image, self.benchmark), 1.0)
        cell = self.image * self.counts.shape[1] + self.benchmark
        self._starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
        bars = [NormalDist().inv_cdf(right) for _, _, right in self.world.benchmarks]
        self._bar = np.array(bars)[self.benchmark]
        # Latent shift that moves the macro score by 1.
        self._unit = 1 / float(np.mean([NormalDist().pdf(bar) for bar in bars]))

    def draws(self, resamples: int) -> ImageDraws:
        """Resamples shared by all trials, as all verdicts of a run share a seed."""
        return ImageDraws(self.counts, resamples=resamples, seed=0)

    def answers(
        self, rng: np.random.Generator, rounds: Sequence[tuple[float, int]], *, seed_sd: float
    ) -> ScoreTable:
        """Scores of rounds given as (true gain over round 0, seeds); models in that order.

        Gains and `seed_sd`, the spread of a training's true quality, are in macro score units.
        """
        latent = self._bar + self._luck(rng, EVERYBODY)
        models = []
        for gain, seeds in rounds:
            of_round = latent + self._luck(rng, A_ROUND)
            for _ in range(seeds):
                quality = self._unit * (gain + seed_sd * rng.standard_normal())
                models.append(of_round + quality + self._luck(rng, A_TRAINING) > 0)
        right = np.array(models, dtype=np.float64)
        sums = np.zeros((len(models), *self.counts.shape))
        cells = (self.image[self._starts], self.benchmark[self._starts])
        sums[:, cells[0], cells[1]] = np.add.reduceat(right, self._starts, axis=1)
        return ScoreTable(sums, self.counts)

    def _luck(self, rng: np.random.Generator, shares: dict[str, float]) -> Floats:
        by_image = np.sqrt(shares["image"]) * rng.standard_normal(len(self.counts))
        by_item = np.sqrt(shares["item"]) * rng.standard_normal(len(self.image))
        luck: Floats = by_image[self.image] + by_item
        return luck
