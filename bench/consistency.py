"""How well the consistency score detects mismatched captions, and the effect of filtering by it.

    python bench/consistency.py                    # generated images
    python bench/consistency.py --photos FOLDER    # photographs with human captions

Prints the tables and writes bench/consistency.json. A captioner is trained briefly on true captions
of some images and then scores captions of other images. The area under the ROC curve is the
probability that a matching caption scores above a mismatched one (chance: 0.5). The scores:

    logprob        log-probability given the image, which every layer stores
    gain           the shipped score: the reference is the mean embedding of 128 images
    gain features  the reference is the projected mean of the tower's output
    gain of 8      the reference is the mean embedding of 8 images
    gain grey      the reference is a grey image, as for a model without a stored reference

Mismatched captions are another image's caption, or the image's own with one attribute changed.
Intervals are percentile bootstraps over images. FOLDER has the layout of `photos_prepare.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from consistency_data import QUESTION, Corpus, drawn, photographs
from rich.console import Console
from rich.table import Table

from vila2.engine.captioner import Captioner
from vila2.engine.consistency import Scorer
from vila2.engine.reference import grey_embedding, image_embeddings, mean_embedding
from vila2.engine.requests import Request, Scoring
from vila2.evaluation.metrics.cider import cider_d
from vila2.evaluation.metrics.scorers import object_f1
from vila2.model.features import Bypass, VisionFeatures, compute_features
from vila2.schemas.sampling import Sampling
from vila2.schemas.train_spec import TrainSpec
from vila2.training.train import Trainer

RESAMPLES = 1000
MAX_NEW_TOKENS = 48
Scores = dict[str, np.ndarray]  # score's name -> value per caption
_console = Console()


@dataclass(frozen=True, slots=True)
class Training:
    """How the captioner is trained; `cache` keeps a frozen tower's features."""

    steps: int
    batch_size: int
    optimizer: str
    cache: Path | None


def trained(corpus: Corpus, folder: Path, how: Training) -> tuple[Captioner, float]:
    """A captioner trained on the corpus's true captions, and the training time in seconds."""
    from accelerate import Accelerator

    source = {"name": "labelled", "shards": [str(corpus.shard)],
              "assembly": {"policy": "conversations", "turns_per_sample": 1}}  # fmt: skip
    frozen = corpus.preset == "photos"
    stage = {
        "name": "sft", "steps": how.steps, "batch_size": how.batch_size,
        "lr": {"muon": 5e-3 if frozen else 2e-3, "adamw": 2e-3}[how.optimizer],
        "trainable": ["projector", "language"] + ([] if frozen else ["vision"]),
        "optimizer": {"kind": how.optimizer, "warmup": 0.05}, "sources": [source],
    }  # fmt: skip
    spec = {
        "init": {"kind": "new", "preset": corpus.preset, "tokenizer_sources": [source]},
        "stages": [stage], "output": str(folder / "out"),
        "cache": str(how.cache or folder / "cache"),
        "cache_features": frozen,
    }  # fmt: skip
    (folder / "out").mkdir(parents=True)
    began = time.monotonic()
    trainer = Trainer(TrainSpec.model_validate(spec), accelerator=Accelerator(cpu=True))
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        trainer.run()
    return Captioner.load(folder / "out" / "model"), time.monotonic() - began


class Judge:
    """Scores captions of the corpus's test images with every score."""

    def __init__(self, captioner: Captioner, corpus: Corpus) -> None:
        self.captioner, self.corpus = captioner, corpus
        vlm, images = captioner.vlm, np.stack(corpus.images)
        # Scored several times, but the tower's features are cached.
        self._digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        features = VisionFeatures()
        features.add(self._digests, compute_features(vlm, images))
        captioner.use_features(features)
        assert captioner.reference is not None  # the trainer wrote it
        self._scorers = {
            "gain": Scorer(captioner),
            "gain features": Scorer(captioner, reference=_of_mean_features(captioner, corpus)),
            "gain of 8": Scorer(captioner, reference=mean_embedding(vlm, corpus.reference[:8])),
            "gain grey": Scorer(captioner, reference=grey_embedding(vlm)),
        }

    def scores(self, captions: Sequence[str]) -> Scores:
        """Scores of one caption per test image."""
        held = zip(self.corpus.images, captions, self._digests, strict=True)
        asked = [Scoring(pixels, QUESTION, caption, digest) for pixels, caption, digest in held]
        made: Scores = {}
        for way, scorer in self._scorers.items():
            found = scorer.score(asked)
            made["logprob"] = np.array([-score.given_image for score in found])
            made[way] = np.array([score.gain for score in found])
        return made

    def own(self) -> list[str]:
        """The captioner's own captions, greedy."""
        sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
        held = zip(self.corpus.images, self._digests, strict=True)
        asked = [Request(pixels, QUESTION, 0, sampling, digest) for pixels, digest in held]
        return [made.text for made in self.captioner.generate(asked)]


@torch.inference_mode()
def _of_mean_features(captioner: Captioner, corpus: Corpus) -> torch.Tensor:
    """The projected mean of the tower's output over the images of the stored reference."""
    features = torch.from_numpy(compute_features(captioner.vlm, corpus.reference)).float()
    bypass = Bypass(captioner.vlm)
    try:
        return image_embeddings(captioner.vlm, features.mean(0, keepdim=True))[0]
    finally:
        bypass.restore()


def auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """Probability that a score of `right` exceeds one of `wrong`; ties count half."""
    ordered = np.sort(wrong)
    below = np.searchsorted(ordered, right, "left") + np.searchsorted(ordered, right, "right")
    return float(below.mean() / (2 * len(wrong)))


def interval(right: np.ndarray, wrong: np.ndarray, *, paired: bool) -> list[float]:
    """AUC with its 95 % bootstrap interval (mid, low, high); resamples pairs."""
    rng = np.random.default_rng(0)
    drawn_ = []
    for _ in range(RESAMPLES):
        ours = rng.integers(len(right), size=len(right))
        theirs = ours if paired else rng.integers(len(wrong), size=len(wrong))
        drawn_.append(auc(right[ours], wrong[theirs]))
    low, high = np.percentile(drawn_, [2.5, 97.5])
    return [round(value, 4) for value in (auc(right, wrong), float(low), float(high))]


def told_apart(right: Scores, wrong: Scores, *, paired: bool = True) -> dict[str, list[float]]:
    """AUC of every score."""
    return {way: interval(right[way], wrong[way], paired=paired) for way in right}


def halves(scores: Scores, quality: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean of each `quality` over all captions and over the half that each score keeps."""
    made = {"all": {name: round(float(v.mean()), 4) for name, v in quality.items()}}
    for way, values in scores.items():
        kept = np.argsort(-values, kind="stable")[: len(values) // 2]
        made[way] = {name: round(float(v[kept].mean()), 4) for name, v in quality.items()}
    return made


def swapped(captions: Sequence[str]) -> list[str]:
    """Give every image another image's caption with a different text."""
    order = np.random.default_rng(1).permutation(len(captions))
    moved = [""] * len(captions)
    for place, index in enumerate(order):
        others = (captions[order[(place + n) % len(order)]] for n in range(1, len(order)))
        moved[index] = next(other for other in others if other != captions[index])
    return moved


def measured(corpus: Corpus, folder: Path, how: Training) -> dict[str, Any]:
    """Measure one corpus; returns all its figures."""
    captioner, seconds = trained(corpus, folder, how)
    judge = Judge(captioner, corpus)
    true = judge.scores(corpus.captions)
    other = judge.scores(swapped(corpus.captions))
    apart = {"true / another image's": told_apart(true, other)}
    for name, captions in corpus.altered.items():
        there = np.array([c != o for c, o in zip(captions, corpus.captions, strict=True)])
        changed = judge.scores(captions)
        apart[f"true / one {name} changed"] = told_apart(
            {way: v[there] for way, v in true.items()},
            {way: v[there] for way, v in changed.items()},
        )
    own = judge.own()
    mine = judge.scores(own)
    apart["own / own of another image"] = told_apart(mine, judge.scores(swapped(own)))
    if corpus.preset == "tiny":
        found = zip(own, corpus.captions, strict=True)
        f1 = np.array([object_f1(caption, [truth]) for caption, truth in found])
        wrong = f1 < 1
        quality = {"wrong": wrong.astype(float), "object F1": f1}
        apart["own, all objects right / not"] = told_apart(
            {way: v[~wrong] for way, v in mine.items()},
            {way: v[wrong] for way, v in mine.items()},
            paired=False,
        )
    else:
        named = {str(n): text for n, text in enumerate(own)}
        references = {str(n): texts for n, texts in enumerate(corpus.references)}
        per = cider_d(named, references).per_item
        quality = {"CIDEr-D": np.array([per[str(n)] for n in range(len(own))])}
    # A layer in which every second caption is another image's.
    odd = np.arange(len(corpus.captions)) % 2 == 1
    mixed = {way: np.where(odd, other[way], true[way]) for way in true}
    return {
        "preset": corpus.preset, "steps": how.steps, "batch_size": how.batch_size,
        "optimizer": how.optimizer, "train_seconds": round(seconds, 1),
        "trained_on": corpus.labelled, "tested_on": len(corpus.captions),
        "own_different": len(set(own)),
        "own_wording": own[:3],
        "auc": apart,
        "half_kept_of_own": halves(mine, quality),
        "half_kept_of_half_swapped": halves(mixed, {"swapped": odd.astype(float)}),
        "median_gain": {
            "true": round(float(np.median(true["gain"])), 3),
            "own": round(float(np.median(mine["gain"])), 3),
            "another image's": round(float(np.median(other["gain"])), 3),
        },
    }  # fmt: skip


def shown(name: str, made: Mapping[str, Any]) -> None:
    """Print one corpus's tables."""
    ways = list(next(iter(made["auc"].values())))
    table = Table("AUC", *ways, title=f"{name}: {made['tested_on']} unseen images")
    for pair, found in made["auc"].items():
        table.add_row(
            pair, *(f"{m:.3f}\n{low:.3f} to {high:.3f}" for m, low, high in found.values())
        )
    _console.print(table)
    for title in ("half_kept_of_own", "half_kept_of_half_swapped"):
        found = made[title]
        table = Table(title.replace("_", " "), *found)
        for quality in found["all"]:
            table.add_row(quality, *(f"{held[quality]:.3f}" for held in found.values()))
        _console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--photos", type=Path, help="folder with images/ and captions.csv")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch-size", type=int, default=64)
    # Muon computes in bf16: on a processor without it AdamW takes several times as many steps.
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    parser.add_argument("--cache", type=Path, help="keep the photo tower's features here")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    made: dict[str, Any] = {}
    if given.out.exists():
        made = json.loads(given.out.read_text())
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        name = "photographs" if given.photos else "drawn"
        how = Training(given.steps, given.batch_size, given.optimizer, given.cache)
        shard = folder / "shard"
        corpus = photographs(given.photos, shard) if given.photos else drawn(shard)
        made[name] = measured(corpus, folder / "model", how)
        shown(name, made[name])
        given.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
