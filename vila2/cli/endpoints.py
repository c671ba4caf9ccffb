"""`vila2 endpoints`: stable names for models that are replaced over time."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.client import Client
from vila2.schemas.rest.caption import Deployment, DeploymentIn, Requirement
from vila2.system.terminal import errors, moment, sentence, table

app = Group("Put models behind names that applications ask.")


@app.command("deploy")
def deploy(
    session: Session,
    model: Annotated[str, typer.Argument(help="A model of the registry.")],
    endpoint: Annotated[str, typer.Option(help="Name of the endpoint.")] = "captioner",
    unchecked: Annotated[
        bool, typer.Option(help="Skip the comparison with the trainer's answers.")
    ] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="BENCHMARK>=MINIMUM, or BENCHMARK.low>=MINIMUM for the lower end of the "
            "score's interval; may be repeated. Quote it in the shell."
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="A note, stored with the deployment.")] = "",
) -> None:
    """Check a model's weights, scores and answers, and switch the endpoint to it.

    If a check fails, the endpoint is unchanged. Requests in progress are completed by the previous
    model.

        vila2 endpoints deploy MODEL --require 'pope>=0.8'
        vila2 endpoints deploy MODEL --require 'scenes.low>=0.4'
    """
    requirements = [parse_requirement(text) for text in require or []]
    body = DeploymentIn(model=model, golden=not unchecked, require=requirements, note=note)
    with session.client() as client:
        _follow(session, client, client.caption.deploy(endpoint, body))


@app.command("rollback")
def rollback(
    session: Session,
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")] = "captioner",
) -> None:
    """Restore the previous model of an endpoint."""
    with session.client() as client:
        _follow(session, client, client.caption.rollback(endpoint))


@app.command("list")
def list_endpoints(session: Session) -> None:
    """List endpoints with their current and previous models."""
    with session.client() as client:
        found = client.caption.endpoints()
    rows = []
    for endpoint in found:
        last = endpoint.deployments[0]
        said = f"{last.model}: {last.state}" + (f", {last.error}" if last.error else "")
        rows.append((endpoint.name, endpoint.model, endpoint.previous, moment(last.at), said))
    heads = ("endpoint", "model", "before", "when (UTC)", "last deployment")
    session.show(found, lambda: table(*heads, rows=rows))


@app.command("show")
def show(
    session: Session,
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")] = "captioner",
) -> None:
    """An endpoint's last deployments: when, by whom, requirements and outcome."""
    with session.client() as client:
        found = client.caption.endpoint(endpoint)
    rows = [
        (
            moment(made.at), made.model, made.state, made.by,
            ", ".join(map(_in_words, made.require)), made.note, made.error,
        )
        for made in found.deployments
    ]  # fmt: skip
    heads = ("when", "model", "state", "by", "required", "note", "why")
    session.show(found, lambda: table(*heads, rows=rows))


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


def _follow(session: Session, client: Client, deployment: Deployment) -> None:
    """Wait until a deployment has succeeded or failed."""
    waiting = sentence(f"deploying {deployment.model} to {deployment.endpoint}")
    with errors().status(waiting):
        while deployment.state == "deploying":
            time.sleep(0.3)
            deployment = client.caption.deployment(deployment.id)
    if deployment.state == "failed":
        raise CliError(f"{deployment.endpoint} stays as it was: {deployment.error}")
    answer = f"{deployment.endpoint} answers with {deployment.model}"
    if certificate := deployment.certificate:
        made = sum(check.passed is True for check in certificate.checks)
        answer += f" (certified in {certificate.engine}: {made} checks passed)"
    session.show(deployment, lambda: answer)
