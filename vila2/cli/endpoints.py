"""`vila2 endpoints`: names that stay while the models behind them change."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vila2.api.caption import Deployment, DeploymentIn, Requirement
from vila2.cli import terminal
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
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="BENCHMARK>=MINIMUM, or BENCHMARK.low>=MINIMUM for the low end of the score's "
            "interval; may be repeated. Quote it for the shell."
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="Kept with the deployment.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Check a model's weights, scores and answers, and let the endpoint answer with it.

    A model that fails a check leaves the endpoint as it is. Requests that the model before is
    answering are answered to the end.

    vila2 endpoints deploy MODEL --require 'pope>=0.8' --require 'scenes.low>=0.4'
    """
    requirements = [parse_requirement(text) for text in require or []]
    body = DeploymentIn(model=model, golden=not unchecked, require=requirements, note=note)
    with connected(workspace, url, key) as client:
        _follow(client, client.caption.deploy(endpoint, body))


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
            table.add_row(endpoint.name, endpoint.model, endpoint.previous, escape(said))
        terminal.console().print(table)


@app.command("show")
def show(
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")] = "captioner",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """An endpoint's last deployments: when, by whom, what was required, and how each ended."""
    table = Table("when", "model", "state", "by", "required", "note", "why")
    with connected(workspace, url, key) as client:
        for made in client.caption.endpoint(endpoint).deployments:
            at = terminal.moment(made.at)
            required = ", ".join(_in_words(requirement) for requirement in made.require)
            told = (at, made.model, made.state, made.by, required, made.note, made.error)
            table.add_row(*map(escape, told))  # a user's note is no markup
        terminal.console().print(table)


_REQUIREMENT = re.compile(r"([^\s<>=]+?)(\.low)?\s*>=\s*(\S+)")


def parse_requirement(text: str) -> Requirement:
    """BENCHMARK>=MINIMUM or BENCHMARK.low>=MINIMUM; raises `CliError` for anything else."""
    found = _REQUIREMENT.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(text)
        benchmark, low, minimum = found.groups()
        return Requirement(
            benchmark=benchmark, minimum=float(minimum), bound="low" if low else "value"
        )
    except ValueError as error:
        raise CliError(
            f"--require {text!r}: write BENCHMARK>=MINIMUM, or BENCHMARK.low>=MINIMUM for the low "
            "end of the interval, such as 'pope>=0.8'"
        ) from error


def _in_words(requirement: Requirement) -> str:
    low = ".low" if requirement.bound == "low" else ""
    return f"{requirement.benchmark}{low}>={requirement.minimum:g}"


def _follow(client: Client, deployment: Deployment) -> None:
    """Wait until it is decided."""
    console = terminal.console()
    with console.status(f"deploying {deployment.model} to {deployment.endpoint}"):
        while deployment.state == "deploying":
            time.sleep(0.3)
            deployment = client.caption.deployment(deployment.id)
    if deployment.state == "failed":
        raise CliError(f"{deployment.endpoint} stays as it was: {deployment.error}")
    golden = deployment.golden
    compared = f" ({golden.same} of {golden.items} answers as the trainer's)" if golden else ""
    console.print(f"{deployment.endpoint} answers with {deployment.model}{compared}")
