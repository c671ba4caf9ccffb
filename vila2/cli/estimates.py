"""`vila2 runs estimate|costs`: what a run will take, and what it took."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vila2.api.estimates import (
    CostLine,
    Costs,
    DeviceName,
    Estimate,
    EstimateIn,
    Line,
    Range,
    Total,
)
from vila2.cli.run_operations import app
from vila2.cli.runs import RunName
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected
from vila2.recipe import load_recipe

__all__ = ["app"]

console = Console()


@app.command("estimate")
def estimate(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a shipped recipe's name.")],
    captioner: Annotated[
        str, typer.Option(help="Model that captions the sample; empty: the newest of the preset.")
    ] = "",
    sample: Annotated[
        int, typer.Option(min=0, max=2000, help="Pictures to caption; 0 measures nothing.")
    ] = 200,
    device: Annotated[
        str, typer.Option(help="h100, a100 or cpu: assumed where nothing of the preset has run.")
    ] = "",
    peak_tflops: Annotated[
        float | None, typer.Option(min=0.001, help="In place of the device's own.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="In place of the device's middle one.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of one device for an hour.")] = None,
    captioners: Annotated[int, typer.Option(min=1, help="Devices that caption at once.")] = 1,
    history: Annotated[bool, typer.Option(help="Use the speed of earlier jobs.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The estimate for a program.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """What a run of a recipe will take: pictures, tokens, hours, money. No run is started.

    A sample of the recipe's own dataset is captioned, so that lengths and speed are measured; the
    speed of training is that of earlier jobs of the preset, or FLOPs on a stated device. Each line
    says which. The datasets must have been submitted.

        vila2 runs estimate tiny --price 0.05
        vila2 runs estimate vila2-8b --device h100 --price 4.91 --captioners 64
    """
    asked: dict[str, DeviceName] = {"h100": "h100", "a100": "a100", "cpu": "cpu"}
    if device and device not in asked:
        raise typer.BadParameter(f"use one of {', '.join(asked)}", param_hint="--device")
    body = EstimateIn(
        recipe=load_recipe(recipe).model_dump(mode="json"),
        captioner=captioner,
        sample=sample,
        device=asked[device] if device else None,
        peak_tflops=peak_tflops,
        mfu=mfu,
        history=history,
        price_per_hour=price,
        captioners=captioners,
    )
    with connected(workspace, url, key) as client:
        made = client.controller.estimate(body)
    if as_json:
        typer.echo(made.model_dump_json(indent=1))
    else:
        _print_estimate(made)


@app.command("costs")
def costs(
    run: RunName,
    as_json: Annotated[bool, typer.Option("--json", help="The costs for a program.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """What a run has used by round and work, beside the newest estimate of its recipe."""
    with connected(workspace, url, key) as client:
        found = client.controller.costs(run)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        _print_costs(found)


def _print_estimate(made: Estimate) -> None:
    unit = "GPU-hours" if made.unit == "gpu" else "CPU-hours"
    console.print(f"[bold]{made.recipe_name}[/] {made.recipe_hash}  estimate {made.id}")
    if made.sampled:
        held = made.sampled
        console.print(
            f"sample: {held.pictures} pictures by {escape(held.captioner)}, {held.captioned} "
            f"captioned; {held.tokens.mid:.1f} tokens each ({held.tokens.low:.1f} to "
            f"{held.tokens.high:.1f}), {held.tokens.mid / held.seconds.mid:,.0f} tokens/s",
            highlight=False,
        )
    apart = made.total.wall_hours != made.total.hours
    table = Table("round", "work", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    told = ["pictures", "tokens", unit, *(["hours"] if apart else [])]
    for heading in [*told, *(["money"] if made.total.money else [])]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("known from", no_wrap=True)
    said = {
        text: number for number, text in enumerate(dict.fromkeys(e.says for e in made.lines), 1)
    }
    for line in made.lines:
        style = "green" if line.basis == "measured" else "yellow"
        table.add_row(
            line.round if line.certain else f"({line.round})",
            f"{line.what} {line.work}".strip(),
            *_cells(line.pictures, line.tokens, line, apart=apart),
            f"[{style}]{line.basis}[/] \\[{said[line.says]}]",
        )
    total = made.total
    table.add_section()
    captions = _cells(total.captioned, total.tokens, total, apart=apart)
    table.add_row("all", "(captions)", *captions, "", style="bold")
    console.print(table)
    for text, number in said.items():
        console.print(f"[{number}] {text}", highlight=False, markup=False)
    for note in [*made.notes, made.ranges]:
        console.print(note, highlight=False, markup=False, style="dim")


def _cells(pictures: Range, tokens: Range | None, took: Line | Total, *, apart: bool) -> list[str]:
    """A row's numbers; `apart`: device-hours and hours by the clock are not the same."""
    shown = [pictures, tokens, took.hours]
    shown += [took.wall_hours] if apart else []
    shown += [took.money] if took.money is not None else []
    return [_range(value) for value in shown]


def _print_costs(found: Costs) -> None:
    table = Table("round", "work", "state", "pictures", "tokens", "hours", "expected hours", "",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for column in table.columns[3:7]:
        column.justify = "right"
    for line in found.lines:
        expected = line.expected
        table.add_row(
            line.round, f"{line.what} {line.work}".strip(), line.state, _number(line.pictures),
            "" if line.tokens is None else _number(line.tokens), _number(line.hours),
            _range(expected.hours) if expected else "", _judged(line),
        )  # fmt: skip
    console.print(table)
    money = "" if found.money is None else f", {found.money:,.2f} in money"
    console.print(
        f"{found.pictures:,} pictures and {found.tokens:,} tokens captioned in "
        f"{_number(found.captioning_hours)} h; jobs: {_number(found.gpu_hours)} GPU-hours, "
        f"{_number(found.process_hours)} process-hours{money}",
        highlight=False,
    )
    console.print(
        f"expected by {found.estimate}" if found.estimate else "this recipe was never estimated",
        style="dim", highlight=False,
    )  # fmt: skip


def _judged(line: CostLine) -> str:
    """Whether the hours lie in what was expected."""
    if line.expected is None or line.state not in ("succeeded", "sealed"):
        return ""
    if line.hours > line.expected.hours.high:
        return "[red]more[/]"
    return "[cyan]less[/]" if line.hours < line.expected.hours.low else "[green]within[/]"


def _range(value: Range | None) -> str:
    if value is None:
        return ""
    if value.low == value.high:
        return _number(value.mid)
    return f"{_number(value.mid)}\n[dim]{_number(value.low)}–{_number(value.high)}[/]"


def _number(value: float) -> str:
    """A number that can be read at a glance: 0.012, 4.6, 789, 12.3k, 4.5M."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if mark == 'k' else size):,.3g}{mark}"
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
