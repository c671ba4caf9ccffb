"""`vila2 demo`: the whole method on drawn images, on this machine."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Annotated

import typer

from vila2.api.controller import RunIn
from vila2.cli.datasets import examples_of, submit_shown, version_of
from vila2.cli.runs import finish
from vila2.cli.session import Session
from vila2.cli.workspace import CliError, connected
from vila2.client import Client
from vila2.recipe import load_recipe
from vila2.terminal import bold, console, say, sentence, show

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
    session: Session,
    recipe: Annotated[str, typer.Option(help="Recipe to run.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the images and of training.")] = 0,
    scale: Annotated[
        float, typer.Option(help="Share of the images to draw.", min=0.01, max=4.0)
    ] = 1.0,
) -> None:
    """Carry VILA² from noisy captions to a better model: rounds, specialists, controls, report.

    Draws a corpus of images with poor alt-text, submits it, and runs the recipe in this process
    through the real services, in the workspace `.demo` by default. You can stop it at any time;
    run the same command to resume.
    """
    workspace = session.typed_workspace or Path(".demo")
    started = time.monotonic()
    body = load_recipe(recipe).model_copy(update={"seed": seed})
    with connected(workspace) as client:
        _draw(workspace / "world", seed, scale)
        # The same images and recipe are the same run, so starting again resumes it.
        data = hashlib.sha256("".join(_submit(client, workspace / "world")).encode()).hexdigest()
        run = client.controller.start_run(
            RunIn(
                recipe=body.model_dump(mode="json"),
                name=f"demo-{seed}",
                token=f"demo:{body.digest()}:{data[:12]}",
            )
        )
        say("run ", bold(run.id), f": recipe {body.name}, hash {run.recipe_hash}\n")
        finish(client, run, workspace / "report.html")
        minutes = (time.monotonic() - started) / 60
        say(
            f"took {minutes:.1f} minutes this time; look further with\n"
            f"  vila2 captions show scenes-corpus -w {workspace}\n"
            f"  vila2 runs show {run.id} -w {workspace}"
        )


def _draw(folder: Path, seed: int, scale: float) -> None:
    from vila2.scenes.datasets import WorldSizes, write_world

    with console().status("drawing images") as status:
        write_world(
            folder,
            sizes=WorldSizes().scaled(scale),
            seed=seed,
            progress=lambda split, done, total: status.update(
                sentence(f"drawing images: {split} {done:,}/{total:,}")
            ),
        )


def _submit(client: Client, world: Path) -> list[str]:
    """Submit every split; returns the versions' digests."""
    digests = []
    for name, (split, format) in DATASETS.items():
        version = submit_shown(client, world / split, name=name, format=format)
        show(version_of(version, examples_of(client, version)))
        if version.state != "ready":
            raise CliError(f"dataset {name}: {version.error}")
        digests.append(version.sha256)
    return digests
