"""`vila2 demo`: the whole method on drawn pictures, on this machine."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vila2.api.controller import RunIn
from vila2.cli.datasets import print_version, submit_shown
from vila2.cli.runs import finish
from vila2.cli.workspace import CliError, connected
from vila2.recipe import load_recipe

console = Console(soft_wrap=True)
# dataset -> split of the picture world, format
DATASETS = {
    "scenes-base": ("base", "llava"),
    "scenes-corpus": ("corpus", "folder"),
    "scenes-sft": ("sft", "llava"),
    "scenes-spatial": ("spatial", "llava"),
    "scenes-ocr": ("ocr", "llava"),
    "scenes-grounding": ("grounding", "llava"),
    "scenes-test": ("test", "benchmark"),
}


def demo(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Everything is kept here.")
    ] = Path(".demo"),
    recipe: Annotated[str, typer.Option(help="Recipe to run.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the pictures and of training.")] = 0,
    scale: Annotated[
        float, typer.Option(help="Share of the pictures to draw.", min=0.01, max=4.0)
    ] = 1.0,
) -> None:
    """Carry VILA² from noisy captions to a better model: rounds, specialists, controls, report.

    Draws a corpus of pictures with poor alt-text, submits it, and runs the recipe in this process
    through the real services. Stop it at any moment; the same command goes on where it was.
    """
    from vila2.scenes.datasets import WorldSizes, write_world

    started = time.monotonic()
    body = load_recipe(recipe).model_copy(update={"seed": seed})
    with connected(workspace) as client:
        world = workspace / "world"
        with console.status("drawing pictures") as status:
            write_world(
                world,
                sizes=WorldSizes().scaled(scale),
                seed=seed,
                progress=lambda split, done, total: status.update(
                    f"drawing pictures: {split} {done:,}/{total:,}"
                ),
            )
        digests = []
        for name, (split, format) in DATASETS.items():
            version = submit_shown(client, world / split, name=name, format=format)
            print_version(client, version)
            if version.state != "ready":
                raise CliError(f"dataset {name}: {version.error}")
            digests.append(version.sha256)
        # The same pictures and recipe are the same run, so starting again goes on with it.
        data = hashlib.sha256("".join(digests).encode()).hexdigest()[:12]
        run = client.controller.start_run(
            RunIn(recipe=body.model_dump(mode="json"), name=f"demo-{seed}"),
            f"demo:{body.digest()}:{data}",
        )
        console.print(f"run [bold]{run.id}[/]: recipe {body.name}, hash {run.recipe_hash}\n")
        finish(client, run.id, workspace / "report.html")
        minutes = (time.monotonic() - started) / 60
        console.print(
            f"took {minutes:.1f} minutes this time; look further with\n"
            f"  vila2 captions show scenes-corpus -w {workspace}\n"
            f"  vila2 runs show {run.id} -w {workspace}"
        )
