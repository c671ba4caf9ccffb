"""`vila2 runs estimate`, and its table."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.runs.figures import range_text
from vila2.client import ApiError
from vila2.recipes.recipe import load_recipe
from vila2.schemas.rest.estimates import DeviceName, Estimate, EstimateIn, Line, Range, Total
from vila2.system.numbers import counted
from vila2.system.terminal import bold, dim, number, sentence, stack, table


def estimate(
    session: Session,
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a shipped recipe's name.")],
    captioner: Annotated[
        str, typer.Option(help="Model that captions the sample; default: the newest of the preset.")
    ] = "",
    sample: Annotated[
        int, typer.Option(min=0, max=2000, help="Images to caption; 0 skips the measurement.")
    ] = 200,
    device: Annotated[
        DeviceName | None, typer.Option(help="Device to assume if the preset has never been run.")
    ] = None,
    peak_tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="Peak TFLOP/s to use instead of the device's own."),
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1,
            help="FLOP utilisation to use instead of the middle of the device's range.",
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Price of one device for an hour.")
    ] = None,
    captioners: Annotated[
        int, typer.Option(min=1, help="Number of devices that caption at once.")
    ] = 1,
    history: Annotated[bool, typer.Option(help="Use the speed of earlier jobs.")] = True,
) -> None:
    """Estimate what a run of a recipe will take: images, tokens, hours, money. Starts no run.

    A sample of the recipe's own dataset is captioned to measure lengths and speed. Training speed
    is taken from earlier jobs of the preset, or computed from FLOPs for a given device; each line
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
        try:
            made = client.controller.estimate(body)
        except ApiError as error:
            raise CliError(str(error).replace("RECIPE", quote(recipe))) from error
        session.show(made, lambda: estimate_of(made))


def estimate_of(made: Estimate) -> RenderableType:
    """Each line with its ranges, and footnotes that give the sources of its numbers."""
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
            *_quantities(line.images, line.tokens, line, apart=apart),
            sentence(known, f" [{notes[line.says]}]"),
        ])  # fmt: skip
    total = made.total
    rows.append([
        "all", "(captions)", *_quantities(total.captioned, total.tokens, total, apart=apart), ""
    ])  # fmt: skip
    lines = table(
        "round", "work", *map(number, headings), "known from", rows=rows,
    )  # fmt: skip
    head = sentence(bold(made.recipe_name), f" {made.recipe_hash}  estimate {made.id}")
    sampled = [_sample(made)] if made.sampled else []
    says = [f"[{place}] {text}" for text, place in notes.items()]
    return stack(head, *sampled, lines, *says, *map(dim, [*made.notes, made.ranges]))


def _sample(made: Estimate) -> str:
    held = made.sampled
    assert held is not None
    return (
        f"sample: {counted(held.images, 'image')} by {held.captioner}, {held.captioned} captioned; "
        f"{held.tokens.mid:.1f} tokens each ({held.tokens.low:.1f} to {held.tokens.high:.1f}), "
        f"{held.tokens.mid / held.seconds.mid:,.0f} tokens/s"
    )


def _quantities(
    images: Range, tokens: Range | None, took: Line | Total, *, apart: bool
) -> list[Text]:
    """A row's numbers; `apart`: device-hours and wall-clock hours differ."""
    shown = [images, tokens, took.hours]
    shown += [took.wall_hours] if apart else []
    shown += [took.money] if took.money is not None else []
    return [range_text(value) for value in shown]
