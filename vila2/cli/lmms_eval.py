"""`vila2 benchmarks lmms-eval|import`: another program's evaluation of a model of ours."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from vila2.api.training import ImportIn
from vila2.benchmarks.lmms_command import lmms_addresses, lmms_arguments, lmms_environment
from vila2.benchmarks.lmms_results import SOURCE, read_run
from vila2.cli import terminal
from vila2.cli.benchmarks import ModelName, app
from vila2.cli.scores import print_scores
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected, served
from vila2.client import Client

__all__ = ["app"]

console = terminal.console()


@app.command("lmms-eval")
def lmms_eval(
    model: ModelName,
    tasks: Annotated[str, typer.Option(help="lmms-eval's tasks, with commas between them.")],
    output: Annotated[Path, typer.Option(help="Where its results go.")] = Path("lmms-results"),
    python: Annotated[
        str, typer.Option(help="The Python that has lmms-eval: run it, and keep the scores.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many of a task.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 4,
    include: Annotated[
        Path | None, typer.Option("--include-path", help="Task files of your own.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Evaluate a model by lmms-eval through the OpenAI-compatible interface of a running platform.

    Without `--python` the commands are printed. Address and key are given in the environment, and
    to every task alike, so that no task sends the key elsewhere; tasks that need a judge do not
    work here.
    """
    address, secret = served(workspace, url, key)
    key_file = workspace / "key"
    client = Client.connect(address, key=secret)
    try:
        client.training.model(model)  # says at once that there is none
        into = output
        if python:
            into /= f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        arguments = lmms_arguments(
            python or "python",
            model,
            [task for task in tasks.split(",") if task],
            into,
            limit=limit,
            concurrency=concurrency,
            include=include,
        )
        if not python:
            for name, value in lmms_addresses(address).items():
                print(f"export {name}={shlex.quote(value)}")
            print(f'export OPENAI_API_KEY="${{VILA2_KEY:-$(cat {shlex.quote(str(key_file))})}}"')
            print(shlex.join(arguments))
            print(shlex.join(["vila2", "benchmarks", "import", str(into), "--model", model]))
            return
        environment = lmms_environment(os.environ, address, secret)
        if ended := subprocess.run(arguments, env=environment, check=False).returncode:
            raise CliError(f"lmms-eval ended with status {ended}: read what it printed above")
        _import(client, into, model, any_name=False)
    finally:
        client.close()


@app.command("import")
def import_results(
    results: Annotated[
        Path, typer.Argument(help="A *_results.json of lmms-eval, or the folder that holds it.")
    ],
    model: ModelName,
    any_name: Annotated[
        bool, typer.Option("--any-name", help="Also results that name another model.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Keep lmms-eval's scores and answers with a model; importing them again changes nothing."""
    with connected(workspace, url, key) as client:
        _import(client, results, model, any_name=any_name)


def _import(client: Client, path: Path, model: str, *, any_name: bool) -> None:
    found = read_run(path)
    if found.model != model and not any_name:
        raise CliError(
            f"these are results of {found.model or 'a model without a name'}, not of {model}: "
            "give its --model, or --any-name if it is the same under another name"
        )
    try:
        body = ImportIn(
            source=SOURCE, scores=found.scores, outcomes=found.outcomes, about=found.about
        )
    except ValidationError as error:
        raise CliError(f"too much for one import: {error.errors()[0]['msg']}") from error
    imported = client.training.import_scores(model, body)
    console.print(
        f"{imported.id}: {imported.scores} scores and {imported.outcomes:,} answers of {model}"
    )
    if found.unread:
        console.print(f"no single number, not kept: {escape(', '.join(found.unread))}")
    scores = client.training.model_details(model).evaluations
    print_scores(console, [score for score in scores if score.job == imported.id], figures=False)
