"""Draw the dashboards without Grafana: `python deploy/grafana/preview.py [PROMETHEUS] [FOLDER]`.

One picture for each, `FOLDER/run-overview.png` and so on (`dashboards/` by default),
with every panel at its place and what its queries answer over the last hours (`--hours`). It is for
looking at a change to `boards/` and for a mail; who watches a platform wants Grafana.
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from build import BOARDS
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import LinearLocator
from panels import COLUMNS, Board, Panel, placed

CELL = 0.62  # inches of one cell of the grid across; 0.3 down
POINTS = 240  # along the time axis
MOST_ROWS = 9  # of a table, and lines with a name
Series = tuple[str, list[float], list[float]]


class Answers:
    """What a Prometheus says to a panel's queries; `span` is what they are about."""

    def __init__(self, url: str, hours: float) -> None:
        self._http = httpx2.Client(base_url=url, timeout=30.0)
        self._end = time.time()
        self._start = self._end - 3600 * hours
        self._step = max(5.0, (self._end - self._start) / POINTS)
        self.span = (
            datetime.fromtimestamp(self._start, UTC),
            datetime.fromtimestamp(self._end, UTC),
        )

    def lines(self, panel: Panel) -> list[Series]:
        """(name, times, values) of each series of each query."""
        found: list[Series] = []
        for query in panel.queries:
            asked = {"query": self._filled(query.expr), "start": self._start, "end": self._end}
            for held in self._ask("query_range", {**asked, "step": self._step}):
                points = [(float(t), float(v)) for t, v in held["values"] if v != "NaN"]
                if points:
                    at, values = map(list, zip(*points, strict=True))
                    found.append((_named(query.legend, held["metric"]), at, values))
        return found

    def now(self, panel: Panel) -> list[tuple[str, float]]:
        """(name, value) of each series, at this moment."""
        return [
            (_named(query.legend, held["metric"]), float(held["value"][1]))
            for query in panel.queries
            for held in self._ask("query", {"query": self._filled(query.expr)})
            if held["value"][1] != "NaN"
        ]

    def _filled(self, expr: str) -> str:
        """Grafana's variables as it fills them in when everything is chosen."""
        expr = expr.replace("$__rate_interval", f"{max(60, round(4 * self._step))}s")
        expr = expr.replace("$__range", f"{round(self._end - self._start)}s")
        return re.sub(r"\$(?!_)\w+", ".*", expr)

    def _ask(self, path: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        response = self._http.get(f"/api/v1/{path}", params=params)
        body = response.json()
        if body.get("status") != "success":
            raise SystemExit(f"Prometheus refuses {params['query']}: {body.get('error')}")
        found: list[dict[str, Any]] = body["data"]["result"]
        return found


def _named(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def said(value: float, unit: str) -> str:
    """A value as a panel of that unit (Grafana's name of it) shows it."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit in ("s", "dtdurations"):
        minutes = value / 60
        return f"{value:.3g} s" if minutes < 2 else f"{minutes:.0f} min"
    each = "/s" if unit == "ops" else ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{each}"
    return f"{value:.3g}{each}"


def draw(board: Board, answers: Answers) -> Figure:
    """The whole dashboard, each panel at its place."""
    rows = placed(board)
    height = max(y + panel.height for _, _, panels in rows for panel, _, y in panels)
    figure = Figure(figsize=(COLUMNS * CELL, (height + 2) * 0.3), dpi=90, facecolor="#f4f5f7")
    figure.text(0.01, 1 - 0.9 / (height + 2), board.title, fontsize=15, weight="bold", va="center")
    for row, row_y, panels in rows:
        at = 1 - (row_y + 2.5) / (height + 2)
        figure.text(0.01, at, row.title, fontsize=11, weight="bold", color="#555555", va="center")
        for panel, x, y in panels:
            left, bottom = x / COLUMNS, 1 - (y + 2 + panel.height) / (height + 2)
            width, tall = panel.width / COLUMNS, panel.height / (height + 2)
            share = 0.5 if panel.kind == "lines" else 0.7  # the rest is the title and the legend
            axes = figure.add_axes(
                (left + 0.035, bottom + tall * (0.85 - share), width - 0.045, tall * share)
            )
            axes.set_title(panel.title, fontsize=9, loc="left")
            _DRAWERS[panel.kind](axes, panel, answers)
    return figure


def _lines(axes: Axes, panel: Panel, answers: Answers) -> None:
    series = answers.lines(panel)
    for number, (name, at, values) in enumerate(series):
        label = f"{name}  {said(values[-1], panel.unit)}" if number < MOST_ROWS else "_"
        axes.plot([datetime.fromtimestamp(t, UTC) for t in at], values, lw=1, label=label)
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.3)
    if not series:
        _none(axes)
        return
    axes.set_ylim(panel.least, panel.most)
    axes.yaxis.set_major_formatter(lambda value, _: said(value, panel.unit))
    axes.set_xlim(*answers.span)
    axes.xaxis.set_major_locator(LinearLocator(5))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.legend(
        fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2,
        borderaxespad=0,
    )  # fmt: skip


def _stat(axes: Axes, panel: Panel, answers: Answers) -> None:
    axes.set_axis_off()
    found = answers.now(panel)
    text = "  ".join(said(value, panel.unit) for _, value in found[:4]) or "none"
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=18, color="#2f6f4f")


def _table(axes: Axes, panel: Panel, answers: Answers) -> None:
    axes.set_axis_off()
    found = answers.now(panel)
    rows = [f"{name or panel.title:<40} {said(value, panel.unit)}" for name, value in found]
    more = [f"and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []
    text = "\n".join([*rows[:MOST_ROWS], *more]) or "none"
    axes.text(0, 1, text, va="top", fontsize=7, family="monospace")


def _bars(axes: Axes, panel: Panel, answers: Answers) -> None:
    found = answers.now(panel)[:MOST_ROWS]
    if not found:
        _none(axes)
        return
    axes.barh(range(len(found)), [value for _, value in found], color="#b9d0fb", height=0.7)
    for number, (name, value) in enumerate(found):
        axes.text(0, number, f" {name}  {said(value, panel.unit)}", va="center", fontsize=7)
    axes.set_xlim(panel.least, panel.most)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.tick_params(labelsize=6)
    axes.xaxis.set_major_formatter(lambda value, _: said(value, panel.unit))


def _none(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "none", ha="center", va="center", fontsize=9, color="#888888")


_DRAWERS = {"lines": _lines, "stat": _stat, "table": _table, "bars": _bars}


def main(url: str, folder: Path, hours: float) -> None:
    """Draw every board."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = Answers(url, hours)
    for name, board in BOARDS.items():
        path = folder / f"{name}.png"
        draw(board, answers).savefig(path)
        print(path)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus", nargs="?", default="http://127.0.0.1:9090")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dashboards"))
    parser.add_argument("--hours", type=float, default=6.0, help="how far back (default: 6)")
    given = parser.parse_args()
    main(given.prometheus, given.folder, given.hours)
