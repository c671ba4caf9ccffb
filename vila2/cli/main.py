"""`vila2`: submit datasets, start runs, watch them, and look at what came out."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.text import Text

from vila2.cli import benchmarks, endpoints, identity, jobs, platform, recipes, upkeep
from vila2.cli.captions import caption, export, imports, layers
from vila2.cli.captions import jobs as caption_jobs
from vila2.cli.connection.session import Group, Session, with_options
from vila2.cli.connection.workspace import CliError
from vila2.cli.models import models
from vila2.cli.runs import runs
from vila2.cli.submissions import submit
from vila2.client import ApiError, Unreachable
from vila2.client.add_model import ModelRefused
from vila2.client.training import DownloadDiffers
from vila2.data.errors import DataError
from vila2.recipes.recipe import RecipeError
from vila2.schemas.endpoint_model import EndpointModel
from vila2.system.libraries import quiet_libraries
from vila2.system.program import run_program
from vila2.system.terminal import errors, say, sentence
from vila2.triton.install import TritonMissing

app = Group(
    """
Let a vision-language model recaption its own pretraining data, retrain it on the result, repeat
until that no longer helps, and let specialists finish the work (VILA², arXiv 2407.17453).

**Caption your own images** with a model that exists: a directory, a Hugging Face id, or any
OpenAI-compatible endpoint.

    vila2 datasets submit DIR --name photos
    vila2 models add Qwen/Qwen3-VL-8B-Instruct --name qwen3-vl
    vila2 captions preview photos --model qwen3-vl
    vila2 caption photos --model qwen3-vl
    vila2 export photos OUT --layer qwen3-vl

**The whole method**: `vila2 demo` on drawn images; then a recipe of your own.

    vila2 recipes show photos > my.yaml
    vila2 runs start --recipe my.yaml

Every command works on the workspace folder `.vila2` in this one process. With `--url`, or if
`vila2 up` runs this workspace, it talks to that server.
"""
)
upkeep.app.command("submit")(submit)
app.add_typer(upkeep.app, name="datasets")
caption_jobs.register(layers.app)
layers.app.command("import")(imports.import_file)
app.add_typer(layers.app, name="captions")
app.add_typer(recipes.app, name="recipes")
app.add_typer(runs.app, name="runs")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(benchmarks.app, name="benchmarks")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(identity.teams, name="teams")
app.add_typer(identity.keys, name="keys")
app.add_typer(platform.triton, name="triton")
app.command("demo", works="here", prints_json=False)(platform.demo)
app.command("caption")(caption.caption)
app.command("export")(export.export)
app.command("up", works="here", prints_json=False)(platform.up)
app.command("doctor")(platform.doctor)
app.command("audit")(identity.audit)


def _root(
    session: Session,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        say(f"vila2 {_version()}")
        raise typer.Exit


app.callback(invoke_without_command=True)(with_options(_root))


# Errors that a user can fix or wait for; the message says how.
_KNOWN = (
    ApiError, CliError, DataError, DownloadDiffers, ModelRefused, RecipeError, TritonMissing,
    Unreachable,
)  # fmt: skip


def main() -> None:
    """Run the command; a known error is one clear sentence and exit status 1."""
    try:
        app()
    except _KNOWN as error:
        _refuse(str(error))
    except ValidationError as error:
        # A request's body is built from the options; any other validation error is a defect.
        if not error.title.endswith(("In", EndpointModel.__name__)):
            raise
        wrong = "; ".join(f"{_where(each['loc'])}{each['msg']}" for each in error.errors())
        _refuse(wrong)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}")


def _refuse(text: str) -> NoReturn:
    message = sentence(Text("error:", style="bold red"), f" {text}")
    errors().print(message, soft_wrap=True)
    sys.exit(1)


def _where(location: tuple[int | str, ...]) -> str:
    """The option that a field of a body came from."""
    return ".".join(str(part) for part in location).replace("_", "-") + ": " if location else ""


def _version() -> str:
    try:
        return version("vila2")
    except PackageNotFoundError:
        return "(not installed)"


def program() -> NoReturn:
    """`vila2` as a program."""
    quiet_libraries()
    run_program(main)


if __name__ == "__main__":
    program()
