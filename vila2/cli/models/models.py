"""`vila2 models`: the registry, its models' scores, and the cost of training one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from vila2.cli.connection.session import Group, Session
from vila2.cli.models.add import add
from vila2.cli.models.certificates import certificates_of, certificates_table
from vila2.cli.models.plan import plan
from vila2.model.preset import load_preset, shipped
from vila2.schemas.rest.training import Evaluation, ModelDetails, Serving
from vila2.system.numbers import counted
from vila2.system.terminal import bold, moment, number, sentence, show_file, stack, table

app = Group(
    """
Models: where they come from, how good they are, and what training one takes.

A model is added from elsewhere, or registered by the job that trained it. `vila2 endpoints deploy`
puts it behind a name that applications ask.
"""
)
app.command("add")(add)
app.command("plan", works="alone")(plan)
ModelName = Annotated[str, typer.Argument(help="A model listed by `vila2 models list`.")]


@app.command("list")
def list_models(
    session: Session,
    presets: Annotated[
        bool,
        typer.Option("--presets", help="List the shipped presets, for a recipe's `model.preset`."),
    ] = False,
) -> None:
    """List the models of the registry, oldest first."""
    if presets:
        found = [load_preset(name) for name in shipped()]
        session.show(
            [{"name": held.name, "about": held.about} for held in found],
            lambda: stack(*(sentence(bold(held.name), f"  {held.about}") for held in found)),
        )
        return
    with session.client() as client:
        models = client.training.models()
        columns = ("model", number("parameters"), "from", "job", "registered (UTC)")
        session.show(models, lambda: table(*columns, rows=[
            (
                model.short_name or model.name, f"{model.parameters:,}" if model.parameters else "",
                model.parent, model.job, moment(model.created_at),
            )
            for model in models
        ]))  # fmt: skip


@app.command("show")
def show_model(
    session: Session,
    model: ModelName,
    everything: Annotated[
        bool, typer.Option("--all", help="Also show scores that newer ones replaced.")
    ] = False,
    figures: Annotated[
        bool, typer.Option(help="Also show further figures of each metric, and scores by kind.")
    ] = True,
    card: Annotated[
        bool, typer.Option("--card", help="Print its model card in Hugging Face's format instead.")
    ] = False,
) -> None:
    """Show a model's digest, data, certificates, scores by benchmark version, and endpoints.

    Scores are those of evaluations on this platform and those imported from other programs.
    """
    with session.client() as client:
        if card:
            show_file(client.training.model_card(model))
            return
        held = client.training.model_details(model)
        serving = client.training.serving(model)
        certificates = certificates_of(held.name, client.caption.endpoints())
    scores = held.evaluations if everything else newest(held.evaluations)
    proven = [certificates_table(certificates)] if certificates else []
    session.show(
        held,
        lambda: stack(*_lines(held, serving), *proven, _scores(held.name, scores, figures)),
    )


@app.command("remove")
def remove(session: Session, model: ModelName) -> None:
    """Delete the files of a model that was added; captions keep naming it.

    Refused while an endpoint answers with it or a caption job uses it.
    """
    with session.client() as client:
        held = client.training.remove_model(model)
        session.show(held, lambda: f"the files of {held.name} are deleted")


@app.command("download")
def download(
    session: Session,
    model: ModelName,
    folder: Annotated[Path, typer.Argument(help="Folder for its files.")],
) -> None:
    """Download a model's files and card, and verify digests; interrupted downloads resume."""
    with session.client() as client:
        held = client.training.download_model(model, folder)
        size = sum(file.bytes for file in held.files)
        session.show(
            held,
            lambda: (
                f"{counted(len(held.files), 'file')}, {size:,} bytes in {folder}: sha256 as "
                "registered"
            ),
        )


def newest(found: Sequence[Evaluation]) -> list[Evaluation]:
    """The newest score of each benchmark, version and source, by name."""
    last: dict[tuple[str, str, str], Evaluation] = {}
    for score in sorted(found, key=lambda score: score.at):
        last[score.source, score.benchmark, score.version] = score
    return [last[key] for key in sorted(last)]


def scores_of(found: Sequence[Evaluation], *, figures: bool) -> Table:
    """Scores as a table, each followed by its figures."""
    rows: list[tuple[str, ...]] = []
    for score in found:
        rows.append((
            score.benchmark, score.version, score.metric, f"{score.value:z.3f}", score.interval(),
            f"{score.items:,}", score.job,
        ))  # fmt: skip
        for figure in score.figures if figures else ():
            known = figure.low is not None and figure.high is not None
            spread = f"{figure.low:z.3f} to {figure.high:z.3f}" if known else ""
            rows.append((
                f"  {figure.kind}", "", figure.name, f"{figure.value:z.3f}", spread,
                f"{figure.n:,}", "",
            ))  # fmt: skip
    columns = ("version", "metric", number("score"), "interval (95%)", number("items"), "from")
    return table("benchmark", *columns, rows=rows)


def _lines(held: ModelDetails, serving: Serving) -> list[RenderableType]:
    run = f" of {held.run}" if held.run else ""
    lines: list[RenderableType] = [
        bold(held.name),
        f"  sha256 {held.sha256}"
        + (f", {held.parameters:,} parameters" if held.parameters else ""),
        *_origin(held),
        f"  from {held.parent} by {held.job}{run}",
        f"  serves at: {', '.join(serving.endpoints) or 'no endpoint'}",
    ]
    for item in held.lineage:
        layers = ", ".join(layer["name"] for layer in item.layers)
        with_layers = f" with {layers}" if layers else ""
        lines.append(f"  {item.stage}: {item.dataset}@{item.version}{with_layers}")
    return lines


def _origin(held: ModelDetails) -> list[str]:
    """A model's origin and properties, if it was not trained here."""
    about = held.origin
    if about is None:
        return []
    lines = [f"  asked for as {held.short_name}"]
    if about.endpoint is not None:
        prices = about.endpoint.prices
        told = f"{prices.input:g} in, {prices.output:g} out a million tokens"
        return [
            *lines,
            f"  served at {about.endpoint.url}; prices: {told if prices.any else 'none'}",
        ]
    revision = f" at {about.revision}" if about.revision else ""
    licence = about.licence or "not stated"
    return [
        *lines,
        f"  {about.family}, {about.bytes:,} bytes, {about.dtype}; licence: {licence}",
        f"  {about.kind} {about.name}{revision}",
    ]


def _scores(model: str, scores: Sequence[Evaluation], figures: bool) -> RenderableType:
    if scores:
        return scores_of(scores, figures=figures)
    return f"not evaluated yet: `vila2 benchmarks run --model {model} NAME`"
