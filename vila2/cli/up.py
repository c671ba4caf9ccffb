"""`vila2 up`: the platform as a server."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from vila2.cli.workspace import DEFAULT_WORKSPACE, Workspace


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8620,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Serve all five services from this process, each below its own name.

    Listens on loopback unless told otherwise. The API key lies in the workspace's file `key`, and
    the other commands find it there.
    """
    import socket

    import uvicorn

    from vila2.cli.embedded import standalone

    with standalone(workspace) as platform, socket.create_server((host, port)) as listening:
        from services.standalone.app import mounted

        address = f"http://{host}:{listening.getsockname()[1]}"
        served = platform.workspace / "server.json"
        served.write_text(json.dumps({"url": address}))
        Console(soft_wrap=True).print(
            f"VILA² at [bold]{address}[/]  (docs: {address}/controller/docs)\n"
            f"key: {platform.workspace / 'key'}   stop: Ctrl-C"
        )
        try:
            server = uvicorn.Server(
                uvicorn.Config(mounted(platform), log_level="warning", lifespan="off")
            )
            server.run(sockets=[listening])
        finally:
            served.unlink(missing_ok=True)
