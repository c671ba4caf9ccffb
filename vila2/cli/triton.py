"""`vila2 triton`: a Triton inference server on this machine, without a container."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vila2.cli.workspace import CliError
from vila2.triton.install import Installed, TritonMissing, install
from vila2.triton.server import TritonServer

app = typer.Typer(no_args_is_help=True, help="Triton on this machine, for `up --engine triton`.")


@app.command("install")
def install_command() -> None:
    """Install Triton's server from wheels, beside this Python's packages (about 160 MB).

    Linux on x86-64 only. Elsewhere, and for the vLLM backend on GPUs, run Triton's container and
    give its address in VILA2_TRITON_URL.
    """
    where = Installed.default()
    try:
        install(where)
        where.check()
    except TritonMissing as error:
        raise CliError(str(error)) from error
    Console(soft_wrap=True).print(f"Triton is ready in {where.folder}")


@app.command("serve")
def serve_command(
    repository: Annotated[
        str, typer.Argument(help="Models: a folder, or s3://http://HOST:PORT/BUCKET/serving.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="For the platform (VILA2_TRITON_URL).")] = 8001,
    http_port: Annotated[int, typer.Option(help="For health checks.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="For Prometheus.")] = 8002,
    threads: Annotated[int, typer.Option(help="Of each model's process.")] = 1,
) -> None:
    """Serve what the platform publishes, in the foreground, until told to stop.

    The repository's S3 keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    server = TritonServer(
        repository, Path("/dev/stdout"), grpc_port, http_port, metrics_port,
        threads=threads, host=host,
    )  # fmt: skip
    try:
        server.become()
    except TritonMissing as error:
        raise CliError(str(error)) from error
