"""The embedded platform for the command line, an entry point of the group `vila2.embedded`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from services.chassis.web.server import create_server
from services.platform.doctor import findings
from services.platform.embedded import (
    OF_ANOTHER_VERSION,
    WRONG_SETTINGS,
    EmbeddedPlatform,
    WorkspaceBusy,
)
from services.platform.mount import front
from vila2.cli.connection.embedded import PlatformRefused
from vila2.doctor.finding import Finding


class EmbeddedDoor:
    """The implementation of `vila2.cli.connection.embedded.Door`."""

    def open(self, workspace: Path, *, triton: bool) -> EmbeddedPlatform:
        """Open the platform on a workspace.

        Raises `PlatformRefused` if another process uses the workspace, if a setting is invalid, or
        if the workspace belongs to another version of the software.
        """
        try:
            return EmbeddedPlatform(workspace, triton=triton)
        except WorkspaceBusy as error:
            raise PlatformRefused(str(error)) from error
        except WRONG_SETTINGS as error:
            raise PlatformRefused(f"invalid settings in the environment: {error}") from error
        except OF_ANOTHER_VERSION as error:
            raise PlatformRefused(
                f"{error}. The workspace is {workspace}: move it away, or choose another with "
                "--workspace"
            ) from error

    def server(self, apps: Mapping[str, Any], *, stopping: Callable[[], None]) -> uvicorn.Server:
        """A server of one app with each service, already started, mounted under its name."""
        return create_server(front(dict(apps)), lifespan=False, stopping=stopping)

    def findings(self, workspace: Path) -> list[Finding]:
        """The server-side findings of `vila2 doctor`."""
        return findings(workspace)
