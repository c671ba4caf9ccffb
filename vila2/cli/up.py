"""`vila2 up`: the platform as a server."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from vila2.cli.workspace import DEFAULT_WORKSPACE, Workspace


class Engine(StrEnum):
    """Who answers."""

    embedded = "embedded"
    triton = "triton"


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8620,
    workspace: Workspace = DEFAULT_WORKSPACE,
    engine: Annotated[
        Engine, typer.Option(help="embedded: captions in this process; triton: on a Triton server.")
    ] = Engine.embedded,
) -> None:
    """Serve all five services from this process, each below its own name.

    Listens on loopback unless told otherwise. The API key lies in the workspace's file `key`, and
    the other commands find it there. `--engine triton` starts a Triton server of its own for the
    captions (`vila2 triton install` once); VILA2_TRITON_URL names one that runs already.
    """
    import socket

    import uvicorn

    from vila2.cli.embedded import standalone

    triton = engine is Engine.triton
    with (
        standalone(workspace, triton=triton) as platform,
        socket.create_server((host, port)) as listening,
    ):
        from services.standalone.front import front

        address = f"http://{host}:{listening.getsockname()[1]}"
        served = platform.workspace / "server.json"
        served.write_text(json.dumps({"url": address}))
        Console(soft_wrap=True).print(
            f"VILA² at [bold]{address}[/]  (docs: {address}/controller/docs)\n"
            f"key: {platform.workspace / 'key'}   stop: Ctrl-C"
        )
        try:
            server = uvicorn.Server(
                uvicorn.Config(front(platform.apps), log_level="warning", lifespan="off")
            )
            server.run(sockets=[listening])
        finally:
            served.unlink(missing_ok=True)
