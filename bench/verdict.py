"""Error rate and power of verdicts, on simulated rounds of known quality.

    python bench/verdict.py                  # the published figures; takes minutes on one core
    python bench/verdict.py --trials 200     # a quick check

Prints the tables and writes bench/verdict.json. A trial draws two or more rounds (`verdict_worlds`)
and gets a verdict from the shipped code; only the loading of outcomes is left out. Three intervals
are compared:

    images     percentile bootstrap over images; the seeds' mean is fixed
    plain      percentile bootstrap that also draws seeds with replacement (hierarchical)
    shipped    `statistics.resampling`: variance over seeds estimated, quantiles of Student's t

"improved" and "worse" are false if the true difference is zero. A 95 % interval allows 2.5 % of
each; the documented bound is 5 % "improved".
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from verdict_worlds import Floats, Questions, World

from vila2.evaluation.statistics.resampling import ImageDraws, Interval, ScoreTable, interval_of
from vila2.evaluation.verdict import VerdictKind, VerdictPolicy, decide, saturated

OUT = Path(__file__).with_name("verdict.json")
MIXED = World("four benchmarks", [(80, 3, 0.65), (160, 2, 0.5), (320, 1, 0.75), (640, 1, 0.6)])
SHARED = World(
    "one image set", [(300, 1, 0.5), (300, 5, 0.7), (150, 1, 0.3), (300, 1, 0.4)], shared=True
)
RESAMPLES = 500
POINT = 0.01
Method = Callable[[ScoreTable, Sequence[int], Sequence[int]], Interval]


class Methods:
    """The intervals that are compared, over one world's resamples."""

    def __init__(self, questions: Questions) -> None:
        self._draws = questions.draws(RESAMPLES)
        self._plain = _plain_weights(self._draws, seed=1)
        self._rng = np.random.default_rng(2)

    def shipped(
        self, table: ScoreTable, before: Sequence[int], after: Sequence[int], seed_sd: float = 0.0
    ) -> Interval:
        """The interval that verdicts use."""
        return interval_of(
            table, [(-1.0, before), (1.0, after)], self._draws,
            confidence=0.95, seed=0, seed_sd=seed_sd,
        )  # fmt: skip

    def images(self, table: ScoreTable, before: Sequence[int], after: Sequence[int]) -> Interval:
        """Images drawn with replacement; seeds fixed."""
        sums = table.sums[list(after)].mean(0) - table.sums[list(before)].mean(0)
        drawn = ((self._plain @ sums) / (self._plain @ table.counts)).mean(1)
        return _percentiles(drawn, table, before, after)

    def plain(self, table: ScoreTable, before: Sequence[int], after: Sequence[int]) -> Interval:
        """Images and seeds drawn with replacement, each as many as there are."""
        models, clusters, columns = table.sums.shape
        flat = table.sums.transpose(1, 0, 2).reshape(clusters, -1)
        sizes = self._plain @ table.counts
        macros = ((self._plain @ flat).reshape(-1, models, columns) / sizes[:, None]).mean(2)
        drawn = np.zeros(len(macros))
        for sign, rows in ((-1.0, before), (1.0, after)):
            count = len(rows)
            weights = self._rng.multinomial(count, np.full(count, 1 / count), len(macros)) / count
            drawn += sign * (weights * macros[:, list(rows)]).sum(1)
        return _percentiles(drawn, table, before, after)


def false_alarms(trials: int) -> Iterator[dict[str, Any]]:
    """Verdicts on rounds without a true difference, by seeds and by what the seeds differ in."""
    for world, spreads, methods in (
        (MIXED, (0.0, 1.0, 2.0), ("images", "plain", "shipped")),
        (SHARED, (0.0, 1.0), ("shipped",)),
    ):
        questions = Questions(world)
        held = Methods(questions)
        for seeds in (1, 2, 3, 5):
            # With one seed both percentile intervals are the same.
            used = {m: getattr(held, m) for m in methods if seeds > 1 or m != "plain"}
            for seed_sd in spreads:
                found = _verdicts(
                    questions, used, trials, seeds=seeds, seed_sd=seed_sd * POINT, gain=0.0
                )
                for method, kinds in found.items():
                    yield {
                        "world": world.name, "seeds": seeds, "seed_sd": seed_sd, "method": method,
                        **_shares(kinds),
                    }  # fmt: skip


def few_images(trials: int) -> Iterator[dict[str, Any]]:
    """One benchmark with few images and three questions about each, seeds alike."""
    for images in (10, 20, 50, 200):
        questions = Questions(World("", [(images, 3, 0.6)]))
        held = Methods(questions)
        found = _verdicts(
            questions, {"images": held.images, "shipped": held.shipped}, trials,
            seeds=1, seed_sd=0.0, gain=0.0,
        )  # fmt: skip
        for method, kinds in found.items():
            yield {"images": images, "method": method, **_shares(kinds)}


def power(trials: int) -> Iterator[dict[str, Any]]:
    """How often a true gain is found."""
    questions = Questions(MIXED)
    held = Methods(questions)
    for seed_sd in (0.0, 1.0):
        for seeds in (1, 2, 3, 5):
            for gain in (0.5, 1.0, 2.0, 3.0, 5.0):
                found = _verdicts(
                    questions, {"shipped": held.shipped}, trials,
                    seeds=seeds, seed_sd=seed_sd * POINT, gain=gain * POINT,
                )  # fmt: skip
                yield {
                    "seed_sd": seed_sd,
                    "seeds": seeds,
                    "gain": gain,
                    **_shares(found["shipped"]),
                }


def one_seed(trials: int) -> Iterator[dict[str, Any]]:
    """Settings for a run with one seed per round, if seeds differ by one point."""
    questions = Questions(MIXED)
    held = Methods(questions)
    for known in (0.0, 1.0):
        for minimum in (0.0, 1.0, 2.0, 3.0):
            if known and minimum:
                continue
            policy = VerdictPolicy(minimum_effect=minimum * POINT, seed_sd=known * POINT)

            def method(
                table: ScoreTable, before: Sequence[int], after: Sequence[int], sd: float = known
            ) -> Interval:
                return held.shipped(table, before, after, seed_sd=sd * POINT)

            row: dict[str, Any] = {"seed_sd": known, "minimum_effect": minimum}
            for gain in (0.0, 3.0, 5.0):
                kinds = _verdicts(
                    questions, {"": method}, trials,
                    seeds=1, seed_sd=POINT, gain=gain * POINT, policy=policy,
                )[""]  # fmt: skip
                row[f"improved_at_{gain:g}"] = _shares(kinds)["improved"]
            yield row


def whole_runs(trials: int) -> Iterator[dict[str, Any]]:
    """Runs in which no round helps: share with at least one "improved" verdict."""
    questions = Questions(MIXED)
    held = Methods(questions)
    rng = np.random.default_rng(5)
    for seeds, seed_sd in ((1, 0.0), (1, 1.0), (3, 1.0)):
        for maximum, patience in ((3, 1), (5, 2), (8, 3)):
            fooled = worse = looks = 0
            for _ in range(trials):
                table = questions.answers(
                    rng, [(0.0, seeds)] * (maximum + 1), seed_sd=seed_sd * POINT
                )
                kinds = _history(held, table, seeds=seeds, patience=patience)
                fooled += "improved" in kinds
                worse += "worse" in kinds
                looks += len(kinds)
            yield {
                "seeds": seeds, "seed_sd": seed_sd, "maximum": maximum, "patience": patience,
                "improved": fooled / trials, "worse": worse / trials, "rounds": looks / trials,
            }  # fmt: skip


def _history(held: Methods, table: ScoreTable, *, seeds: int, patience: int) -> list[VerdictKind]:
    """The verdicts of a run, each relative to the last round with the verdict "improved"."""
    kinds: list[VerdictKind] = []
    best = range(seeds)
    for index in range(1, len(table.sums) // seeds):
        current = range(index * seeds, (index + 1) * seeds)
        kind, _ = decide(
            held.shipped(table, best, current), policy=VerdictPolicy(), fewest=len(table.counts)
        )
        kinds.append(kind)
        best = current if kind == "improved" else best
        if saturated(kinds, patience):
            break
    return kinds


def _verdicts(
    questions: Questions,
    methods: dict[str, Method],
    trials: int,
    *,
    seeds: int,
    seed_sd: float,
    gain: float,
    policy: VerdictPolicy | None = None,
) -> dict[str, list[VerdictKind]]:
    rng = np.random.default_rng(3)
    found: dict[str, list[VerdictKind]] = {name: [] for name in methods}
    before, after = range(seeds), range(seeds, 2 * seeds)
    for _ in range(trials):
        table = questions.answers(rng, [(0.0, seeds), (gain, seeds)], seed_sd=seed_sd)
        for name, method in methods.items():
            kind, _ = decide(
                method(table, before, after),
                policy=policy or VerdictPolicy(),
                fewest=len(table.counts),
            )
            found[name].append(kind)
    return found


def _shares(kinds: Sequence[VerdictKind]) -> dict[str, float]:
    return {kind: kinds.count(kind) / len(kinds) for kind in ("improved", "worse")}


def _plain_weights(draws: ImageDraws, *, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    weights = np.zeros((draws.resamples, len(draws.counts)))
    for rows in draws.strata:
        weights[:, rows] = rng.multinomial(
            len(rows), np.full(len(rows), 1 / len(rows)), draws.resamples
        )
    return weights


def _percentiles(
    drawn: Floats, table: ScoreTable, before: Sequence[int], after: Sequence[int]
) -> Interval:
    macro = table.macro()
    low, high = np.quantile(drawn, [0.025, 0.975])
    mid = float(macro[list(after)].mean() - macro[list(before)].mean())
    return Interval(float(low), mid, float(high))


def show(console: Console, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table; shares in percent."""
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(
            *(
                f"{100 * value:.1f} %"
                if key.startswith(("improved", "worse"))
                else f"{value:.2f}"
                if isinstance(value, float)
                else str(value)
                for key, value in row.items()
            )
        )
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=[], help="tables to measure")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    console = Console(width=110)
    tables: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "false_alarms": lambda: false_alarms(given.trials),
        "few_images": lambda: few_images(given.trials),
        "power": lambda: power(given.trials),
        "one_seed": lambda: one_seed(given.trials),
        "whole_runs": lambda: whole_runs(given.trials),
    }
    written: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name, measure in tables.items():
        if given.only and name not in given.only:
            continue
        started = time.process_time()
        rows = list(measure())
        show(console, name.replace("_", " "), rows)
        seconds = round(time.process_time() - started, 1)
        written[name] = {"trials": given.trials, "cpu_seconds": seconds, "rows": rows}
        given.out.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
