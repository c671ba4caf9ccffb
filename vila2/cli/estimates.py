"""What a run will take and what it took, as `vila2 runs estimate` and `runs show --costs` print."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.console import RenderableType
from rich.text import Text

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
from vila2.cli.session import Session
from vila2.recipe import load_recipe
from vila2.terminal import bold, dim, number, sentence, stack, table


def estimate(
    session: Session,
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a shipped recipe's name.")],
    captioner: Annotated[
        str, typer.Option(help="Model that captions the sample; empty: the newest of the preset.")
    ] = "",
    sample: Annotated[
        int, typer.Option(min=0, max=2000, help="Images to caption; 0 measures nothing.")
    ] = 200,
    device: Annotated[
        DeviceName | None, typer.Option(help="Assumed if nothing of the preset has run.")
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0.001, help="In place of the device's own.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="In place of the device's middle one.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of one device for an hour.")] = None,
    captioners: Annotated[int, typer.Option(min=1, help="Devices that caption at once.")] = 1,
    history: Annotated[bool, typer.Option(help="Use the speed of earlier jobs.")] = True,
) -> None:
    """What a run of a recipe will take: images, tokens, hours, money. No run is started.

    A sample of the recipe's own dataset is captioned, so that lengths and speed are measured; the
    speed of training is that of earlier jobs of the preset, or FLOPs on a stated device. Each line
    says which. The datasets must have been submitted.

        vila2 runs estimate tiny --price 0.05
        vila2 runs estimate vila2-8b --device h100 --price 4.91
    """
    body = EstimateIn(
        recipe=load_recipe(recipe).model_dump(mode="json"),
        captioner=captioner,
        sample=sample,
        device=device,
        peak_tflops=peak_tflops,
        mfu=mfu,
        history=history,
        price_per_hour=price,
        captioners=captioners,
    )
    with session.client() as client:
        made = client.controller.estimate(body)
        session.show(made, lambda: _estimate(made))


def _estimate(made: Estimate) -> RenderableType:
    """Each line with its ranges, and footnotes that say where its numbers come from."""
    unit = "GPU-hours" if made.unit == "gpu" else "CPU-hours"
    apart = made.total.wall_hours != made.total.hours
    headings = ["images", "tokens", unit, *(["hours"] if apart else [])]
    headings += ["money"] if made.total.money else []
    notes = {text: place for place, text in enumerate(dict.fromkeys(e.says for e in made.lines), 1)}
    rows: list[list[str | Text]] = []
    for line in made.lines:
        known = Text(line.basis, style="green" if line.basis == "measured" else "yellow")
        rows.append([
            line.round if line.certain else f"({line.round})",
            f"{line.what} {line.work}".strip(),
            *_quantities(line.pictures, line.tokens, line, apart=apart),
            sentence(known, f" [{notes[line.says]}]"),
        ])  # fmt: skip
    total = made.total
    rows.append([
        "all", "(captions)", *_quantities(total.captioned, total.tokens, total, apart=apart), ""
    ])  # fmt: skip
    lines = table(
        "round", "work", *map(number, headings), "known from", rows=rows,
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    head = sentence(bold(made.recipe_name), f" {made.recipe_hash}  estimate {made.id}")
    sampled = [_sample(made)] if made.sampled else []
    says = [f"[{place}] {text}" for text, place in notes.items()]
    return stack(head, *sampled, lines, *says, *map(dim, [*made.notes, made.ranges]))


def _sample(made: Estimate) -> str:
    held = made.sampled
    assert held is not None
    return (
        f"sample: {held.pictures} images by {held.captioner}, {held.captioned} captioned; "
        f"{held.tokens.mid:.1f} tokens each ({held.tokens.low:.1f} to {held.tokens.high:.1f}), "
        f"{held.tokens.mid / held.seconds.mid:,.0f} tokens/s"
    )


def _quantities(
    images: Range, tokens: Range | None, took: Line | Total, *, apart: bool
) -> list[Text]:
    """A row's numbers; `apart`: device-hours and hours by the clock are not the same."""
    shown = [images, tokens, took.hours]
    shown += [took.wall_hours] if apart else []
    shown += [took.money] if took.money is not None else []
    return [_range(value) for value in shown]


def costs_of(found: Costs) -> RenderableType:
    """What a run has used by round and work, beside the newest estimate of its recipe."""
    lines = table(
        "round", "work", "state",
        *map(number, ("images", "tokens", "hours", "expected hours")), "against it",
        rows=[
            (
                line.round, f"{line.what} {line.work}".strip(), line.state,
                _number(line.pictures), "" if line.tokens is None else _number(line.tokens),
                _number(line.hours), _range(line.expected.hours if line.expected else None),
                _judged(line),
            )
            for line in found.lines
        ],
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    money = "" if found.money is None else f", {found.money:,.2f} in money"
    used = (
        f"{found.pictures:,} images and {found.tokens:,} tokens captioned in "
        f"{_number(found.captioning_hours)} h; jobs: {_number(found.gpu_hours)} GPU-hours, "
        f"{_number(found.process_hours)} process-hours{money}"
    )
    expected = f"expected by {found.estimate}" if found.estimate else "never estimated"
    return stack(lines, used, dim(expected))


def _judged(line: CostLine) -> Text:
    """Whether the hours of finished work are as expected."""
    if line.expected is None or line.state not in ("succeeded", "sealed"):
        return Text()
    if line.hours > line.expected.hours.high:
        return Text("more", style="red")
    if line.hours < line.expected.hours.low:
        return Text("less", style="cyan")
    return Text("within", style="green")


def _range(value: Range | None) -> Text:
    if value is None:
        return Text()
    shown = Text(_number(value.mid))
    if value.low != value.high:
        shown.append(f"\n{_number(value.low)}–{_number(value.high)}", "dim")
    return shown


def _number(value: float) -> str:
    """A number that can be read at a glance: 0.012, 4.6, 789, 12.3k, 4.5M."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if mark == 'k' else size):,.3g}{mark}"
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
