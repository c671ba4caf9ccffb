"""`vila2 demo|up|doctor|triton`: run the platform on this machine, and check it."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import typer

from vila2.cli.connection.embedded import door
from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import (
    CliError,
    announced,
    connected,
    embedded,
    examined,
    server_of,
)
from vila2.cli.datasets import examples_of, version_of
from vila2.cli.runs.runs import finish
from vila2.cli.submissions import submit_shown
from vila2.client import Client
from vila2.doctor import deep, machine, platform
from vila2.doctor.finding import as_table, healthy, report
from vila2.recipes.recipe import load_recipe
from vila2.schemas.rest.controller import RunIn
from vila2.system.listening import CannotListen, listen, reached_by_others
from vila2.system.terminal import bold, errors, progress_bar, say, sentence, show
from vila2.triton.install import Installed, install
from vila2.triton.server import TritonServer

# dataset -> split of the image world, format
DEMO_DATASETS = {
    "scenes-base": ("base", "llava"),
    "scenes-corpus": ("corpus", "folder"),
    "scenes-sft": ("sft", "llava"),
    "scenes-spatial": ("spatial", "llava"),
    "scenes-ocr": ("ocr", "llava"),
    "scenes-grounding": ("grounding", "llava"),
    "scenes-test": ("test", "benchmark"),
}
triton = Group("Triton on this machine, for `vila2 up --engine triton`.")


def up(
    session: Session,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8620,
    engine: Annotated[
        Literal["embedded", "triton"],
        typer.Option(help="Where captions are generated: in this process, or on a Triton server."),
    ] = "embedded",
) -> None:
    """Serve all five services from this process, each below its own name.

    Listens on loopback by default. The API key is in the workspace's file `key`, where the other
    commands find it. `--engine triton` starts a Triton server for the captions (run `vila2 triton
    install` once); VILA2_TRITON_URL uses one that is already running.
    """
    with ExitStack() as opened:
        listening = opened.enter_context(_listening(host, port))
        if reached_by_others(listening):
            # Users on other machines must not use every address and every variable of this process.
            os.environ.setdefault("VILA2_ENDPOINTS", "")
        served = opened.enter_context(embedded(session.workspace, triton=engine == "triton"))
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        stopping = cache(_say_stopping)  # by the signal, or by one that came before the server
        server = door().server(served.apps, stopping=stopping)
        with announced(served.workspace, address, os.getpid()):
            try:
                say("VILA² at ", bold(address), f"  (docs: {address}/controller/docs)")
                say(f"key: {served.workspace / 'key'}   stop: Ctrl-C")
                server.run(sockets=[listening])
            finally:
                stopping()


def demo(
    session: Session,
    recipe: Annotated[str, typer.Option(help="Recipe to run.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the images and of training.")] = 0,
    scale: Annotated[
        float, typer.Option(help="Fraction of the images to draw.", min=0.01, max=4.0)
    ] = 1.0,
) -> None:
    """Run VILA² from noisy captions to a better model: rounds, specialists, controls, report.

    Draws a corpus of images with poor alt-text, submits it, and runs the recipe in this process
    through the real services, in the workspace `.demo` by default. You can stop it at any time; run
    the same command to resume.
    """
    workspace = session.typed_workspace or Path(".demo")
    started = time.monotonic()
    body = load_recipe(recipe).model_copy(update={"seed": seed})
    with connected(workspace) as client:
        _draw(workspace / "world", seed, scale)
        # The same images and recipe give the same run, so starting it again resumes it.
        data = hashlib.sha256("".join(_submit(client, workspace / "world")).encode()).hexdigest()
        run = client.controller.start_run(
            RunIn(recipe=body.model_dump(mode="json"), name=f"demo-{seed}"),
            f"demo:{body.digest()}:{data[:12]}",
        )
        say("run ", bold(run.id), f": recipe {body.name}, hash {run.recipe_hash}\n")
        served = bool(server_of(workspace))
        finish(client, run, workspace / "report.html", served=served, options=f" -w {workspace}")
        minutes = (time.monotonic() - started) / 60
        say(
            f"took {minutes:.1f} minutes this time; look further with\n"
            f"  vila2 captions show scenes-corpus -w {workspace}\n"
            f"  vila2 runs show {run.id} -w {workspace}"
        )


def doctor(
    session: Session,
    read_all: Annotated[
        bool,
        typer.Option("--deep", help="Read all data and layers of the team, to find damaged bytes."),
    ] = False,
) -> None:
    """Check Python, packages, workspace, keys and the platform; exit status 1 on a problem.

    With `--url`, or if `vila2 up` runs this workspace, the checks are those of its services.
    Otherwise the databases, objects, engine and backend of a platform in this process are checked.
    On a server, `vila2-service --doctor` checks what only that machine can reach.
    """
    found = machine.findings(session.workspace)
    if session.is_served:
        found += platform.findings(*_served(session))
    elif session.workspace.exists():
        found += examined(session.workspace)
    if read_all:
        with session.client() as client, progress_bar() as bar:
            task = bar.add_task("reading", total=None)
            found += deep.findings(
                client, lambda name: bar.update(task, description=f"reading {name}")
            )
    session.show(report(found), lambda: as_table(found))
    if not healthy(found):
        raise typer.Exit(1)


@triton.command("install", works="alone", prints_json=False)
def install_triton(session: Session) -> None:
    """Install Triton's server from wheels, beside this Python's packages (about 160 MB).

    Linux on x86-64 only. Elsewhere run Triton's container and give its address in
    VILA2_TRITON_URL. VILA2_TRITON_ENVIRONMENT names another Python for its models, as vLLM needs.
    """
    where = Installed.default()
    install(where)
    where.check()
    say(f"Triton is ready in {where.folder}")


@triton.command("serve", works="alone", prints_json=False)
def serve_triton(
    session: Session,
    repository: Annotated[
        str,
        typer.Argument(help="Model repository: a folder, or s3://http://HOST:PORT/BUCKET/serving."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[
        int, typer.Option(help="gRPC port, for the platform (VILA2_TRITON_URL).")
    ] = 8001,
    http_port: Annotated[int, typer.Option(help="HTTP port, for health checks.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="For Prometheus.")] = 8002,
    threads: Annotated[int, typer.Option(help="CPU threads of each model's process.")] = 1,
) -> None:
    """Serve the models that the platform publishes, in the foreground, as in a container.

    The repository's S3 keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    TritonServer(
        repository, Path("/dev/stdout"), grpc_port, http_port, metrics_port,
        threads=threads, host=host,
    ).become()  # fmt: skip


def _say_stopping() -> None:
    say(
        "stopping: requests are answered, and work in progress is brought to a point from which it "
        "resumes; Ctrl-C again does not wait for requests"
    )


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket; raises `CliError` with the fix if the address cannot be used."""
    try:
        return listen(host, port)
    except CannotListen as error:
        raise CliError(str(error)) from error


def _served(session: Session) -> tuple[str, str]:
    """Address and key as for other commands; without a key only the services are checked."""
    try:
        return session.served()
    except CliError:
        return session.url, session.key


def _draw(folder: Path, seed: int, scale: float) -> None:
    from vila2.scenes.datasets import WorldSizes, write_world

    with errors().status("drawing images") as status:
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
    for name, (split, format) in DEMO_DATASETS.items():
        version = submit_shown(client, world / split, name=name, format=format)
        show(version_of(version, examples_of(client, version)))
        if version.state != "ready":
            raise CliError(f"dataset {name}: {version.error}")
        digests.append(version.sha256)
    return digests
