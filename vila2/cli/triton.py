"""`vila2 triton`: a Triton inference server on this machine, without a container."""

from __future__ import annotations

import typer
from rich.console import Console

from vila2.cli.workspace import CliError
from vila2.triton.install import Installed, TritonMissing, install

app = typer.Typer(no_args_is_help=True, help="Triton on this machine, for `up --engine triton`.")


@app.command("install")
def install_command() -> None:
    """Install Triton's server from wheels, beside this Python's packages (about 160 MB).

    Linux on x86-64 only. Elsewhere, and for the vLLM backend on GPUs, run Triton's container and
    give its address in VILA2_TRITON_URL.
    """
    where = Installed.default()
    try:
        install(where)
        where.check()
    except TritonMissing as error:
        raise CliError(str(error)) from error
    Console(soft_wrap=True).print(f"Triton is ready in {where.folder}")
