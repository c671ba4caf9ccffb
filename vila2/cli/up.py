"""`vila2 up|doctor|triton`: run the platform as a server, and see whether it can run."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Annotated, Literal

import typer

from vila2.cli.session import Group, Session
from vila2.cli.workspace import CliError, announced
from vila2.doctor import machine, platform
from vila2.doctor.finding import as_table, healthy, report
from vila2.terminal import bold, say
from vila2.triton.install import Installed, install
from vila2.triton.server import TritonServer

triton = Group("Triton on this machine, for `vila2 up --engine triton`.")


def up(
    session: Session,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8620,
    engine: Annotated[
        Literal["embedded", "triton"],
        typer.Option(help="Captions in this process, or on a Triton server."),
    ] = "embedded",
) -> None:
    """Serve all five services from this process, each below its own name.

    Listens on loopback by default. The API key is in the workspace's file `key`, where the other
    commands find it. `--engine triton` starts a Triton server of its own for the captions
    (`vila2 triton install` once); VILA2_TRITON_URL names one that runs already.
    """
    import uvicorn

    from vila2.cli.embedded import standalone

    with (
        _listening(host, port) as listening,
        standalone(session.workspace, triton=engine == "triton") as served,
    ):
        from services.standalone.front import front

        address = f"http://{host}:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(front(served.apps), log_level="warning", lifespan="off")
        )
        with announced(served.workspace, address, os.getpid()):
            say("VILA² at ", bold(address), f"  (docs: {address}/controller/docs)")
            say(f"key: {served.workspace / 'key'}   stop: Ctrl-C")
            server.run(sockets=[listening])
            say("stopping: what is at work comes to a point from which it resumes")


def doctor(session: Session) -> None:
    """Check Python, packages, workspace, keys and the platform; exit status 1 on a problem.

    With `--url`, or if `vila2 up` runs this workspace, its services are asked. Otherwise the
    databases, objects, engine and backend of a platform in this process are examined. On a server,
    `vila2-service --doctor` examines what only that machine reaches.
    """
    found = machine.findings(session.workspace)
    if session.is_served:
        found += platform.findings(*_served(session))
    elif session.workspace.exists():
        from vila2.cli.embedded import examined

        found += examined(session.workspace)
    session.show(report(found), lambda: as_table(found))
    if not healthy(found):
        raise typer.Exit(1)


@triton.command("install", works="alone", prints_json=False)
def install_triton(session: Session) -> None:
    """Install Triton's server from wheels, beside this Python's packages (about 160 MB).

    Linux on x86-64 only. Elsewhere, and for the vLLM backend on GPUs, run Triton's container and
    give its address in VILA2_TRITON_URL.
    """
    where = Installed.default()
    install(where)
    where.check()
    say(f"Triton is ready in {where.folder}")


@triton.command("serve", works="alone", prints_json=False)
def serve_triton(
    session: Session,
    repository: Annotated[
        str, typer.Argument(help="Models: a folder, or s3://http://HOST:PORT/BUCKET/serving.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="For the platform (VILA2_TRITON_URL).")] = 8001,
    http_port: Annotated[int, typer.Option(help="For health checks.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="For Prometheus.")] = 8002,
    threads: Annotated[int, typer.Option(help="Of each model's process.")] = 1,
) -> None:
    """Serve what the platform publishes, in the foreground, as a container's program does.

    The repository's S3 keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    TritonServer(
        repository, Path("/dev/stdout"), grpc_port, http_port, metrics_port,
        threads=threads, host=host,
    ).become()  # fmt: skip


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens; raises `CliError` with the cure."""
    try:
        return socket.create_server((host, port))
    except OSError as error:
        cures = {
            errno.EADDRINUSE: f"port {port} of {host} is in use: stop what listens there, or "
            "choose another with --port (0 takes a free one)",
            errno.EACCES: f"this user may not listen on port {port}: choose one above 1023 with "
            "--port",
        }
        cure = cures.get(error.errno or 0, f"cannot listen on {host!r} ({error}): correct --host")
        raise CliError(cure) from error


def _served(session: Session) -> tuple[str, str]:
    """As other commands find them; without a key the services can still be examined."""
    try:
        return session.served()
    except CliError:
        return session.url, session.key
