"""`vila2 models plan`: the cost of training a preset, computed from its shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.model.memory import GIB, ORDER, USABLE, Hardware, Plan, Stage, StagePlan
from vila2.model.preset import FromCheckpoint, Preset, PresetError, load_preset
from vila2.system.numbers import counted
from vila2.system.terminal import bold, number, sentence, stack, table

if TYPE_CHECKING:
    from vila2.model.memory import Model


def plan(
    session: Session,
    preset: Annotated[str, typer.Option(help="Name of a shipped preset, or a .yaml file.")],
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs to train on.")],
    gpu_memory: Annotated[float, typer.Option(min=1, help="Memory of each GPU in GiB.")] = 80.0,
    peak_tflops: Annotated[
        float, typer.Option(min=1, help="Dense bf16 TFLOP/s of each GPU; 989: H100 SXM, 312: A100.")
    ] = 989.0,
    mfu: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Achieved share of the peak FLOP/s, including all interruptions."
        ),
    ] = 0.4,
    batch: Annotated[
        int, typer.Option(min=1, help="Samples per optimizer step, over all GPUs (paper: 1024).")
    ] = 1024,
    samples: Annotated[
        list[str] | None,
        typer.Option(help="Samples, as STAGE=NUMBER, such as pretrain=2.5e6; may be repeated."),
    ] = None,
    text_tokens: Annotated[
        list[str] | None,
        typer.Option(help="Text tokens per sample, as STAGE=NUMBER; may be repeated."),
    ] = None,
) -> None:
    """Plan whether, how and for how long a model trains on these GPUs, before it is tried.

    Each stage of the paper (align: the projector; pretrain: projector and language model; sft: all)
    is planned replicated (ddp) and sharded (fsdp, ZeRO-3), with and without activation
    checkpointing. Memory is for one GPU at the largest micro-batch that fits. Nothing is downloaded
    and no weights are needed: parameters are counted on a model that allocates no memory.

        vila2 models plan --preset vila2-8b --gpus 64
        vila2 models plan --preset vila2-2b --gpus 8 --samples sft=665000

    The formulas and their sources are in `vila2/model/memory.py`.
    """
    loaded, model = _shapes(preset)
    made = Plan(
        model,
        Hardware(gpus, gpu_memory, peak_tflops * 1e12, mfu),
        _stages(samples or [], text_tokens or []),
        batch,
    )
    session.show(
        _as_json(loaded, made), lambda: stack(*_parts(loaded, model), *_stages_shown(made))
    )


def _shapes(name: str) -> tuple[Preset, Model]:
    """The preset and its shapes; torch is imported here, and only here."""
    try:
        loaded = load_preset(name)
        from vila2.model.plan import meta_model, shapes

        return loaded, shapes(meta_model(loaded), loaded)
    except PresetError as error:
        raise CliError(str(error)) from error
    except ModuleNotFoundError as error:
        raise CliError(
            f"{error.name} is not installed: `pip install 'vila2[train]'` brings what plans need"
        ) from error


def _stages(samples: list[str], text_tokens: list[str]) -> list[Stage]:
    """The paper's stages with the caller's numbers."""
    from vila2.model.plan import PAPER_STAGES

    stages = {stage.name: stage for stage in PAPER_STAGES}
    for option, given in (("samples", samples), ("text_tokens", text_tokens)):
        for pair in given:
            name, _, number = pair.partition("=")
            flag = f"--{option.replace('_', '-')} {pair}"
            if name not in stages:
                raise CliError(
                    f"{flag}: name one of {', '.join(stages)}, as in {name or 'sft'}=1e6"
                )
            try:
                value = int(float(number))
            except (ValueError, OverflowError) as error:
                raise CliError(f"{flag}: {number!r} is not a number") from error
            if value < 1:
                raise CliError(f"{flag}: at least 1 is needed")
            stage = stages[name]
            changed: dict[str, Any] = {option: value, "source": f"{stage.source}; {flag}"}
            stages[name] = replace(stage, **changed)
    return list(stages.values())


def _parts(preset: Preset, model: Model) -> Iterator[RenderableType]:
    yield sentence(bold(preset.name), f"  {preset.about}")
    sources = {"vision": preset.vision, "language": preset.language}
    notes: list[str] = []
    rows: list[tuple[str, ...]] = []
    for part in ORDER:
        source = sources.get(part)
        origin = source.path if isinstance(source, FromCheckpoint) else "fresh"
        known = preset.published.get(part) if part != "projector" else None
        published = f"{known.parameters / 1e6:,.0f}M" if known else ""
        notes += [f"{part}, published: {known.source}"] if known else []
        rows.append((part, f"{model.parts[part].parameters:,}", published, origin))
    rows.append(("all", f"{model.parameters:,}", "", ""))
    columns = ("part", number("parameters"), number("published"), "from")
    yield table(*columns, rows=rows)
    paper = f" (paper: {preset.paper_image_tokens})" if preset.paper_image_tokens else ""
    yield from notes
    yield f"{model.image_tokens} tokens an image{paper}"


def _stages_shown(made: Plan) -> Iterator[RenderableType]:
    hardware, rows = made.hardware, made.rows()
    for stage in made.stages:
        learns = ", ".join(part for part in ORDER if part in stage.trainable)
        plain, again = (
            next(r for r in rows if r.stage == stage.name and r.checkpointing == checkpointing)
            for checkpointing in (False, True)
        )
        yield sentence(
            bold(stage.name),
            f" trains {learns}; {stage.samples:,} samples of {made.model.image_tokens} + "
            f"{stage.text_tokens} tokens ({stage.source})\n"
            f"    {_flops(plain)}; with checkpointing {_flops(again)}",
        )
    # Fits a terminal of 80 columns.
    numbers = (
        "micro-\nbatch", "weights\nGiB", "grads\nGiB", "optim.\nGiB", "activ.\nGiB", "all\nGiB",
        "\nfits", "GPU-\nhours", "\nhours",
    )  # fmt: skip
    yield table(
        "\nstage", "\nspread", *map(number, numbers), rows=map(_cells, rows),
    )  # fmt: skip
    yield (
        f"+ckpt: activation checkpointing. {counted(hardware.gpus, 'GPU')} of "
        f"{hardware.memory:g} GiB ({USABLE:.0%} usable) and {hardware.peak / 1e12:g} TFLOP/s at "
        f"{hardware.utilisation:.0%}; {made.batch} samples a step, accumulated if the "
        "micro-batch is smaller."
    )


def _flops(row: StagePlan) -> str:
    return f"{row.flops_per_sample / 1e12:.1f} TFLOP a sample, {row.flops:.2e} FLOP in all"


def _cells(row: StagePlan) -> list[str | Text]:
    held = row.memory
    parts = (held.weights, held.gradients, held.optimizer, held.activations, held.total)
    return [
        row.stage,
        row.parallelism + ("+ckpt" if row.checkpointing else ""),
        str(row.micro_batch),
        *(f"{size / GIB:.1f}" for size in parts),
        Text("yes", style="green") if row.fits else Text("no", style="red"),
        f"{row.gpu_hours:,.0f}" if row.gpu_hours >= 10 else f"{row.gpu_hours:.1f}",
        f"{row.wall_hours:,.1f}" if row.wall_hours >= 1 else f"{row.wall_hours:.2f}",
    ]


def _as_json(preset: Preset, made: Plan) -> dict[str, Any]:
    return {
        "preset": preset.name,
        "parameters": {part: shape.parameters for part, shape in made.model.parts.items()},
        "published": {part: known.parameters for part, known in preset.published.items()},
        "image_tokens": made.model.image_tokens,
        "hardware": asdict(made.hardware),
        "batch": made.batch,
        "stages": [
            {**asdict(stage), "trainable": [p for p in ORDER if p in stage.trainable]}
            for stage in made.stages
        ],
        "rows": [
            {**asdict(row), "memory": {**asdict(row.memory), "total": row.memory.total}}
            for row in made.rows()
        ],
    }
