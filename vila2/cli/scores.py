"""`vila2 models scores`: all that is known of how good a model is, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vila2.api.training import Evaluation
from vila2.cli import terminal
from vila2.cli.models import app
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected

__all__ = ["app", "print_scores"]

console = terminal.console()


@app.command("scores")
def scores(
    model: Annotated[str, typer.Argument(help="A model, as `vila2 registry list` tells.")],
    figures: Annotated[
        bool, typer.Option(help="Also what each metric tells beside the mean, and by kind.")
    ] = True,
    everything: Annotated[
        bool, typer.Option("--all", help="Also scores that newer ones replaced.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """A model's scores by benchmark version: evaluations here, and results of other programs."""
    with connected(workspace, url, key) as client:
        found = client.training.model_details(model).evaluations
    chosen = found if everything else newest(found)
    if as_json:
        for score in chosen:
            print(score.model_dump_json())
        return
    if not chosen:
        console.print(f"{model} was not evaluated yet: `vila2 benchmarks run --model {model} NAME`")
        return
    print_scores(console, chosen, figures=figures)


def newest(found: Sequence[Evaluation]) -> list[Evaluation]:
    """The last score of each benchmark, version and source, by name."""
    last: dict[tuple[str, str, str], Evaluation] = {}
    for score in sorted(found, key=lambda score: score.at):
        last[score.source, score.benchmark, score.version] = score
    return [last[key] for key in sorted(last)]


def print_scores(out: Console, found: Sequence[Evaluation], *, figures: bool) -> None:
    """Print scores as a table, each followed by its figures."""
    table = Table("benchmark", "version", "metric", "score", "interval (95%)", "items", "from")
    for score in found:
        table.add_row(
            escape(score.benchmark), escape(score.version), escape(score.metric),
            f"{score.value:.3f}", score.interval(), f"{score.items:,}", score.job,
        )  # fmt: skip
        for figure in score.figures if figures else ():
            spread = (
                f"{figure.low:.3f} to {figure.high:.3f}"
                if figure.low is not None and figure.high is not None
                else ""
            )
            table.add_row(
                f"  {escape(figure.kind)}", "", escape(figure.name), f"{figure.value:.3f}", spread,
                f"{figure.n:,}", "",
            )  # fmt: skip
    out.print(table)
