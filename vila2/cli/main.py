"""`vila2`: submit datasets, start runs, watch them, and look at what came out."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from vila2.cli import (
    audit,
    captions,
    demo,
    doctor,
    endpoints,
    estimates,
    export,
    governance,
    jobs,
    keys,
    lmms_eval,
    recipes,
    registry,
    scores,
    teams,
    triton,
    up,
)
from vila2.cli.workspace import CliError
from vila2.client import ApiError, Unreachable
from vila2.data.errors import DataError
from vila2.recipe import RecipeError
from vila2.training_client import DownloadDiffers
from vila2.triton.install import TritonMissing

app = typer.Typer(
    name="vila2",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""
Let a vision-language model recaption its own pretraining data, retrain it on the result, repeat
until that no longer helps, and let specialists finish the work (VILA², arXiv 2407.17453).

**First steps**

    vila2 demo                                      # the whole method on drawn pictures, here
    vila2 datasets submit DIR --name photos         # pictures with captions.csv or .txt files
    vila2 recipes show photos > my.yaml             # a recipe to copy and change
    vila2 runs start --recipe my.yaml               # rounds, specialists, report
    vila2 captions show photos --layer LAYER        # before and after
    vila2 export photos --layer LAYER --format webdataset OUT

Every command works on the workspace folder `.vila2` (or `--workspace`, or `VILA2_WORKSPACE`)
in this one process. With `--url`, or where `vila2 up` runs this workspace, it talks to that server.
""",
)
# A group may lie in several files; the last of them brings the others.
app.add_typer(governance.app, name="datasets")
app.add_typer(estimates.app, name="runs")
app.add_typer(captions.app, name="captions")
app.add_typer(jobs.app, name="jobs")
app.add_typer(registry.app, name="registry")
app.add_typer(recipes.app, name="recipes")
app.add_typer(scores.app, name="models")
app.add_typer(lmms_eval.app, name="benchmarks")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(triton.app, name="triton")
app.add_typer(teams.app, name="teams")
app.add_typer(keys.app, name="keys")
app.command("audit")(audit.audit)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)


_KNOWN = (
    ApiError, CliError, DataError, DownloadDiffers, RecipeError, TritonMissing, Unreachable,
)  # fmt: skip


def main() -> None:
    """Run the command; a known error is one clear sentence and exit status 1."""
    try:
        app()
    except _KNOWN as error:
        _refuse(str(error))
    except ValidationError as error:
        # A request's body is made of what was typed; anything else is ours to mend.
        if not error.title.endswith("In"):
            raise
        wrong = "; ".join(f"{_where(each['loc'])}{each['msg']}" for each in error.errors())
        _refuse(wrong)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}")


def _refuse(text: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_plain(text)}")
    sys.exit(1)


def _where(location: tuple[int | str, ...]) -> str:
    """The option that a field of a body came from."""
    return ".".join(str(part) for part in location).replace("_", "-") + ": " if location else ""


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


if __name__ == "__main__":
    main()
