"""The one door from the library to the services: the platform inside this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vila2.client import Client
from vila2.doctor.finding import Finding


def standalone(workspace: Path, *, triton: bool = False) -> Any:
    """The embedded platform; a clear error where its extra is not installed."""
    from vila2.cli.workspace import CliError

    try:
        from services.standalone.app import (
            OF_ANOTHER_VERSION,
            WRONG_SETTINGS,
            Standalone,
            WorkspaceBusy,
        )
    except ModuleNotFoundError as error:
        raise CliError(
            f"{error.name} is not installed: `pip install 'vila2[embedded]'` runs the platform "
            "in this process, or give --url of one that runs"
        ) from error
    try:
        return Standalone(workspace, triton=triton)
    except WorkspaceBusy as error:
        raise CliError(str(error)) from error
    except WRONG_SETTINGS as error:
        raise CliError(f"the settings in the environment do not fit: {error}") from error
    except OF_ANOTHER_VERSION as error:
        raise CliError(
            f"{error}. The workspace is {workspace}: move it away, or name another with --workspace"
        ) from error


def examined(workspace: Path) -> list[Finding]:
    """What the platform stands on here; nothing where its extra is not installed."""
    try:
        from services.standalone.doctor import findings
    except ModuleNotFoundError:
        return []
    return findings(workspace)


@contextmanager
def embedded(workspace: Path) -> Iterator[Client]:
    """Run the platform for as long as the command takes."""
    with standalone(workspace) as platform:
        yield platform.client
