"""False alarms of the caption warnings, and the smallest degradation that they detect.

    python bench/caption_warnings.py                     # drawn captions
    python bench/caption_warnings.py --photos FOLDER     # also human captions in captions.csv

Prints the tables and writes bench/caption_warnings.json.

- False alarms: the captions of both "rounds" come from the same source, so every warning is false.
  Human captions are two people's captions of each image. Drawn captions are the true captions of
  two sets of generated images.
- Detection: human captions (drawn ones without --photos) are compared with a copy that was
  degraded by a known amount.
- A second table gives the largest change of every figure without a cause, with its limit.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vila2.evaluation import warnings as bounds
from vila2.evaluation.metrics.captions import CaptionMetrics, compute
from vila2.evaluation.warnings import caption_warnings
from vila2.scenes.language import dense_caption
from vila2.scenes.world import Nuisance, sample_scene

OUT = Path(__file__).with_name("caption_warnings.json")
SIZES = (100, 300, 1000)
SPOILT = (0.05, 0.1, 0.2, 0.3, 0.5)
Pair = tuple[list[str], list[str]]
Draw = Callable[[np.random.Generator, int], Pair]


def drawn() -> Draw:
    """True captions of two sets of generated images from one large pool."""
    rng = np.random.default_rng(5)
    pool = [dense_caption(sample_scene(rng, nuisance=Nuisance())) for _ in range(3 * max(SIZES))]

    def draw(rng: np.random.Generator, count: int) -> Pair:
        chosen = rng.choice(len(pool), size=2 * count, replace=False)
        texts = [pool[i] for i in chosen]
        return texts[:count], texts[count:]

    return draw


def of_people(table: Path) -> Draw:
    """Two people's captions of each of some images."""
    by_image: dict[str, list[str]] = {}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            by_image.setdefault(row["image"], []).append(row["caption"])
    images = [texts for texts in by_image.values() if len(texts) > 1]

    def draw(rng: np.random.Generator, count: int) -> Pair:
        chosen = rng.choice(len(images), size=count, replace=False)
        pairs = [rng.choice(images[i], size=2, replace=False) for i in chosen]
        return [str(a) for a, _ in pairs], [str(b) for _, b in pairs]

    return draw


def template(texts: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """Replace a share of the captions with one of ten captions."""
    return [
        texts[int(rng.integers(10))] if spoil else text
        for text, spoil in zip(texts, rng.random(len(texts)) < share, strict=True)
    ]


def opener(texts: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """Start a share of the captions with a fixed phrase."""
    return [
        f"The image features a scene with {text}" if spoil else text
        for text, spoil in zip(texts, rng.random(len(texts)) < share, strict=True)
    ]


def fewer_words(texts: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """Replace a share of the words with one of the fifty most common, to shrink the vocabulary."""
    counts = Counter(word for text in texts for word in text.split())
    common = [word for word, _ in counts.most_common(50)]
    return [
        " ".join(
            common[len(word) * ord(word[0]) % len(common)] if spoil else word
            for word, spoil in zip(text.split(), rng.random(len(text.split())) < share, strict=True)
        )
        for text in texts
    ]


def longer(texts: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """Lengthen every caption by a share of its words, taken from other captions."""
    grown = []
    for text in texts:
        more = texts[int(rng.integers(len(texts)))].split()
        grown.append(" ".join([*text.split(), *more[: round(share * len(text.split()))]]))
    return grown


Spoiler = Callable[[Sequence[str], float, np.random.Generator], list[str]]
SPOILERS: dict[str, tuple[str, Spoiler]] = {
    "one of ten captions": ("diversity-collapse", template),
    "one opener": ("diversity-collapse", opener),
    "words made common": ("diversity-collapse", fewer_words),
    "longer by": ("length-inflation", longer),
}


def false_alarms(kinds: dict[str, Draw], trials: int) -> Iterator[dict[str, Any]]:
    """Share of trials with a warning, and the largest change without a cause."""
    for name, draw in kinds.items():
        for count in SIZES:
            rng = np.random.default_rng(7)
            alarms = dict.fromkeys(("diversity-collapse", "length-inflation"), 0)
            worst = {"distinct_2": 1.0, "duplicate_rate": 0.0, "prefix_mass": 0.0, "words": 1.0}
            for _ in range(trials):
                before, after = (compute(texts) for texts in draw(rng, count))
                for kind in {w.kind for w in caption_warnings(before, after)}:
                    alarms[kind] += 1
                _note_worst(worst, before, after)
            yield {
                "captions": name, "count": count, **{k: v / trials for k, v in alarms.items()},
                **{f"worst_{k}": v for k, v in worst.items()},
            }  # fmt: skip


def found(draw: Draw, trials: int, count: int) -> Iterator[dict[str, Any]]:
    """Share of degraded rounds that raise their warning, by degree of degradation."""
    for name, (kind, spoil) in SPOILERS.items():
        row: dict[str, Any] = {"spoilt": name, "warning": kind}
        for share in SPOILT:
            rng = np.random.default_rng(11)
            hits = 0
            for _ in range(trials):
                before, after = draw(rng, count)
                warned = caption_warnings(compute(before), compute(spoil(after, share, rng)))
                hits += kind in {w.kind for w in warned}
            row[f"{share:.0%}"] = hits / trials
        yield row


def _note_worst(worst: dict[str, float], before: CaptionMetrics, after: CaptionMetrics) -> None:
    worst["distinct_2"] = min(worst["distinct_2"], after.distinct_2 / before.distinct_2)
    worst["words"] = max(worst["words"], after.words_mean / before.words_mean)
    for figure in ("duplicate_rate", "prefix_mass"):
        worst[figure] = max(worst[figure], getattr(after, figure) - getattr(before, figure))


def show(console: Console, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photos", type=Path, help="folder with captions.csv")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    kinds: dict[str, Draw] = {"drawn": drawn()}
    if given.photos:
        kinds["people"] = of_people(given.photos / "captions.csv")
    console = Console(width=120)
    alarms = list(false_alarms(kinds, given.trials))
    show(console, "false alarms (shares of trials), and the worst change without a cause", alarms)
    draw = kinds.get("people", kinds["drawn"])
    caught = list(found(draw, max(5, given.trials // 5), 1000))
    show(console, "found, of 1,000 captions (shares of trials)", caught)
    given.out.write_text(
        json.dumps(
            {
                "trials": given.trials,
                "bounds": {
                    "distinct_2_kept": bounds.DISTINCT_2_KEPT,
                    "duplicates_rose": bounds.DUPLICATES_ROSE,
                    "prefix_mass_rose": bounds.PREFIX_MASS_ROSE,
                    "words_grew": bounds.WORDS_GREW,
                },
                "false_alarms": alarms,
                "found": caught,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
