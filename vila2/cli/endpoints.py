"""`vila2 endpoints`: names that stay while the models behind them change."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from vila2.api.caption import Deployment, DeploymentIn
from vila2.cli.session import Group, Session
from vila2.cli.workspace import CliError
from vila2.client import Client
from vila2.terminal import errors, sentence, table

app = Group("Put models behind names that applications ask.")


@app.command("deploy")
def deploy(
    session: Session,
    model: Annotated[str, typer.Argument(help="A model of the registry.")],
    endpoint: Annotated[str, typer.Option(help="The name to put it behind.")] = "captioner",
    unchecked: Annotated[
        bool, typer.Option(help="Do not compare with the trainer's own answers.")
    ] = False,
) -> None:
    """Load a model, compare its answers with the trainer's, and let the endpoint answer with it.

    Whoever is being answered by the model before is answered to the end.
    """
    with session.client() as client:
        begun = client.caption.deploy(endpoint, DeploymentIn(model=model, golden=not unchecked))
        _follow(session, client, begun)


@app.command("rollback")
def rollback(
    session: Session,
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")] = "captioner",
) -> None:
    """Put the model before the present one back."""
    with session.client() as client:
        _follow(session, client, client.caption.rollback(endpoint))


@app.command("list")
def list_endpoints(session: Session) -> None:
    """Endpoints, the models behind them, and those before."""
    with session.client() as client:
        found = client.caption.endpoints()
    rows = []
    for endpoint in found:
        last = endpoint.deployments[0]
        said = f"{last.model}: {last.state}" + (f", {last.error}" if last.error else "")
        rows.append((endpoint.name, endpoint.model, endpoint.previous, said))
    session.show(found, lambda: table("endpoint", "model", "before", "last deployment", rows=rows))


def _follow(session: Session, client: Client, deployment: Deployment) -> None:
    """Wait until it is decided."""
    waiting = sentence(f"deploying {deployment.model} to {deployment.endpoint}")
    with errors().status(waiting):
        while deployment.state == "deploying":
            time.sleep(0.3)
            deployment = client.caption.deployment(deployment.id)
    if deployment.state == "failed":
        raise CliError(f"{deployment.endpoint} stays as it was: {deployment.error}")
    golden = deployment.golden
    compared = f" ({golden.same} of {golden.items} answers as the trainer's)" if golden else ""
    answer = f"{deployment.endpoint} answers with {deployment.model}{compared}"
    session.show(deployment, lambda: answer)
