"""The tables of docs/verdict.md, from the results of `bench/verdict.py`.

    python bench/verdict_tables.py        # writes them between the page's markers

Each table is between `<!-- table NAME -->` and `<!-- /table -->`, with a sentence on the number of
trials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "verdict.md"
Rows = list[dict[str, Any]]


def percent(share: float) -> str:
    """One decimal."""
    return f"{100 * share:.1f}"


def both(row: dict[str, Any]) -> str:
    """False "improved" and false "worse"."""
    return f"{percent(row['improved'])} / {percent(row['worse'])}"


def markdown(head: list[str], rows: list[list[object]]) -> str:
    """A table."""
    lines: list[list[object]] = [[*head], ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def false_alarms(rows: Rows, trials: int) -> str:
    """By seeds and spread: the three methods on four benchmarks; then the shared images."""
    found = {(r["world"], r["seeds"], r["seed_sd"], r["method"]): r for r in rows}
    cells = sorted({(seeds, sd) for world, seeds, sd, _ in found if world == "four benchmarks"})
    lines: list[list[object]] = []
    for seeds, sd in cells:
        each = [
            both(held)
            if (held := found.get(("four benchmarks", seeds, sd, method)))
            else "as before"
            for method in ("images", "plain", "shipped")
        ]
        lines.append([seeds, f"{sd:g}", *each[:2], f"**{each[2]}**"])
    head = ["seeds", "seeds differ by (points)", "images alone", "plain hierarchical", "shipped"]
    shared = "; ".join(
        f"{seeds} seed{'s' * (seeds > 1)}, spread {sd:g}: {both(row)}"
        for (world, seeds, sd, method), row in sorted(found.items())
        if world != "four benchmarks" and method == "shipped"
    )
    # One seed gives no estimate of the variance over seeds; with more, the interval covers it.
    covered = [
        r for r in rows if r["method"] == "shipped" and (r["seeds"] > 1 or r["seed_sd"] == 0)
    ]
    mean = {side: sum(r[side] for r in covered) / len(covered) for side in ("improved", "worse")}
    most = {side: max(r[side] for r in covered) for side in ("improved", "worse")}
    return (
        f"{markdown(head, lines)}\n\n"
        f"Improved / worse, {trials:,} trials a cell (standard error {_error(0.025, trials)} "
        f"points). Shared images, as shipped: {shared}.\n"
        f"Over all {len(covered)} cells in which the interval covers what varies, "
        f"{trials * len(covered):,} verdicts: {percent(mean['improved'])} improved, "
        f"{percent(mean['worse'])} worse; the highest cell has {percent(most['improved'])} "
        f"improved, the highest {percent(most['worse'])} worse."
    )


def few_images(rows: Rows, trials: int) -> str:
    """Percentile intervals compared with the shipped ones."""
    found = {(r["images"], r["method"]): both(r) for r in rows}
    counts = sorted({count for count, _ in found})
    lines: list[list[object]] = [
        [count, found[count, "images"], found[count, "shipped"]] for count in counts
    ]
    head = ["images", "percentile, improved / worse", "shipped"]
    return f"{markdown(head, lines)}\n\n{trials:,} trials a cell."


def power(rows: Rows, trials: int) -> str:
    """Share of true gains detected, by seeds, spread and gain."""
    found = {(r["seed_sd"], r["seeds"], r["gain"]): r["improved"] for r in rows}
    gains = sorted({gain for _, _, gain in found})
    lines: list[list[object]] = [
        [f"{sd:g}", seeds, *(f"{100 * found[sd, seeds, gain]:.0f}" for gain in gains)]
        for sd, seeds in sorted({(sd, seeds) for sd, seeds, _ in found})
    ]
    head = ["seeds differ by", "seeds", *(f"{gain:g}" for gain in gains)]
    return (
        f"{markdown(head, lines)}\n\n"
        f"As shipped, four benchmarks, {trials:,} trials a cell (standard error at most "
        f"{_error(0.5, trials)} points). One seed's rows with a spread count luck as well as gain."
    )


def one_seed(rows: Rows, trials: int) -> str:
    """The effect of the two settings for a single seed."""
    columns = ("improved_at_0", "improved_at_3", "improved_at_5")
    lines: list[list[object]] = [
        [f"{r['seed_sd']:g}", f"{r['minimum_effect']:g}", *(percent(r[c]) for c in columns)]
        for r in rows
    ]
    head = ["`seed_sd`", "`minimum_effect`", "improved, no true gain", "at 3 points", "at 5 points"]
    return (
        f"{markdown(head, lines)}\n\nOne training each, seeds differ by one point; both settings "
        f"in points here, {trials:,} trials a cell."
    )


def whole_runs(rows: Rows, trials: int) -> str:
    """Runs with at least one false "improved" or "worse"."""
    lines: list[list[object]] = [
        [
            r["seeds"], f"{r['seed_sd']:g}", r["maximum"], r["patience"], f"{r['rounds']:.1f}",
            percent(r["improved"]), percent(r["worse"]),
        ]
        for r in rows
    ]  # fmt: skip
    head = [
        "seeds", "seeds differ by", "rounds at most", "patience", "rounds run",
        "a false improved", "a false worse",
    ]  # fmt: skip
    return f"{markdown(head, lines)}\n\n{trials:,} runs a row."


def _error(share: float, trials: int) -> str:
    return f"{100 * (share * (1 - share) / trials) ** 0.5:.1f}"


TABLES: dict[str, Callable[[Rows, int], str]] = {
    "false_alarms": false_alarms, "few_images": few_images, "power": power,
    "one_seed": one_seed, "whole_runs": whole_runs,
}  # fmt: skip


def main() -> None:
    """Write every table into the page."""
    measured = json.loads((HERE / "verdict.json").read_text())
    page = PAGE.read_text()
    for name, table in TABLES.items():
        held = measured[name]
        made = f"<!-- table {name} -->\n{table(held['rows'], held['trials'])}\n<!-- /table -->"
        held_there = re.findall(rf"<!-- table {name} -->.*?<!-- /table -->", page, flags=re.DOTALL)
        if len(held_there) != 1:
            raise SystemExit(f"{PAGE} has {len(held_there)} places for the table {name}")
        page = page.replace(held_there[0], made)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
