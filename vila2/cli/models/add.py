"""`vila2 models add`: a model from a directory, a hub, an object store or an endpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.client import Client
from vila2.client.add_model import (
    Report,
    add_directory,
    add_endpoint,
    add_from_hub,
    add_objects,
    suggested_name,
)
from vila2.schemas.endpoint_model import EndpointModel, Prices
from vila2.schemas.rest.model_imports import ModelImport
from vila2.system.terminal import bold, progress_bar, sentence, stack

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def add(
    session: Session,
    source: Annotated[
        str,
        typer.Argument(help="A directory, a Hugging Face id (ORG/NAME), or s3://SOURCE/PREFIX."),
    ] = "",
    name: Annotated[
        str, typer.Option(help="Name to use in requests; default: derived from the source.")
    ] = "",
    revision: Annotated[str, typer.Option(help="For a hub id: branch, tag or commit.")] = "",
    endpoint: Annotated[
        str, typer.Option(help="Address of an OpenAI-compatible API, such as http://HOST:8000/v1.")
    ] = "",
    model: Annotated[str, typer.Option(help="With --endpoint: the model's name there.")] = "",
    key_env: Annotated[
        str, typer.Option(help="With --endpoint: the environment variable with its API key.")
    ] = "",
    price_input: Annotated[
        float, typer.Option(min=0, help="With --endpoint: price per million prompt tokens.")
    ] = 0.0,
    price_output: Annotated[
        float, typer.Option(min=0, help="With --endpoint: price per million generated tokens.")
    ] = 0.0,
    price_image: Annotated[
        float, typer.Option(min=0, help="With --endpoint: additional price per request.")
    ] = 0.0,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="With --endpoint: maximum number of concurrent requests."
        ),
    ] = 64,
) -> None:
    """Register an existing model, to caption with it.

    Any model works that transformers' AutoModelForImageTextToText loads from safetensors. Its
    weights are checked, and it is registered once it has answered a question about a test image. No
    code in a model's repository is run. Downloads from a hub use your own login.

        vila2 models add ./my-model
        vila2 models add Qwen/Qwen3-VL-8B-Instruct --name qwen3-vl
        vila2 models add --endpoint http://gpu7:8000/v1 --model qwen3-vl
    """
    if bool(source) == bool(endpoint):
        raise CliError("give a directory, a hub id or s3://SOURCE/PREFIX, or --endpoint URL")
    if endpoint and not model:
        raise CliError("--endpoint needs --model, the model's name there: see URL/models")
    name = name or suggested_name(source or model)
    with session.client() as client, progress_bar() as bar:
        task = bar.add_task(name, total=None)

        def report(phase: str, done: int, total: int | None) -> None:
            bar.update(task, description=f"{name}: {phase}", completed=done, total=total)

        if endpoint:
            prices = Prices(input=price_input, output=price_output, image=price_image)
            spec = EndpointModel(
                url=endpoint, model=model, key_env=key_env, prices=prices, concurrency=concurrency
            )
            made = add_endpoint(client, spec, name=name, report=report)
        else:
            made = _from(client, source, name, revision, report)
    session.show(
        made,
        lambda: stack(
            sentence(bold(made.name), f" is registered as {made.model}"),
            f"to the test image, a red disc, it says: {made.answer or '(nothing)'}",
            f"caption with it: vila2 caption DATASET --model {made.name}",
        ),
    )


def _from(client: Client, source: str, name: str, revision: str, report: Report) -> ModelImport:
    path = Path(source)
    if source.startswith("s3://"):
        return add_objects(client, source, name=name, report=report)
    if path.exists() or source.startswith((".", "/", "~")):
        return add_directory(client, path.expanduser(), name=name, report=report)
    if _HUB_ID.fullmatch(source):
        return add_from_hub(client, source, name=name, revision=revision, report=report)
    raise CliError(
        f"{source} is no directory here, no hub id (ORG/NAME) and no address (s3://SOURCE/PREFIX)"
    )
