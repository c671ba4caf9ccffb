"""`vila2 endpoints`: names that stay while the models behind them change."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vila2.api.caption import Deployment, DeploymentIn
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client

app = typer.Typer(no_args_is_help=True, help="Put models behind names that applications ask.")


@app.command("deploy")
def deploy(
    model: Annotated[str, typer.Argument(help="A model of the registry.")],
    endpoint: Annotated[str, typer.Option(help="The name to put it behind.")] = "captioner",
    unchecked: Annotated[
        bool, typer.Option(help="Do not compare with the trainer's own answers.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Load a model, compare its answers with the trainer's, and let the endpoint answer with it.

    Whoever is being answered by the model before is answered to the end.
    """
    with connected(workspace, url, key) as client:
        begun = client.caption.deploy(endpoint, DeploymentIn(model=model, golden=not unchecked))
        _follow(client, begun)


@app.command("rollback")
def rollback(
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")] = "captioner",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Put the model before the present one back."""
    with connected(workspace, url, key) as client:
        _follow(client, client.caption.rollback(endpoint))


@app.command("list")
def list_endpoints(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """Endpoints, the models behind them, and those before."""
    table = Table("endpoint", "model", "before", "last deployment")
    with connected(workspace, url, key) as client:
        for endpoint in client.caption.endpoints():
            last = endpoint.deployments[0]
            said = f"{last.model}: {last.state}" + (f", {last.error}" if last.error else "")
            table.add_row(endpoint.name, endpoint.model, endpoint.previous, said)
    Console().print(table)


def _follow(client: Client, deployment: Deployment) -> None:
    """Wait until it is decided."""
    console = Console(soft_wrap=True)
    with console.status(f"deploying {deployment.model} to {deployment.endpoint}"):
        while deployment.state == "deploying":
            time.sleep(0.3)
            deployment = client.caption.deployment(deployment.id)
    if deployment.state == "failed":
        raise CliError(f"{deployment.endpoint} stays as it was: {deployment.error}")
    golden = deployment.golden
    compared = f" ({golden.same} of {golden.items} answers as the trainer's)" if golden else ""
    console.print(f"{deployment.endpoint} answers with {deployment.model}{compared}")
