"""What the command line runs in its own process: the entry point of the group `vila2.embedded`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """Opens, serves and examines the embedded platform; see `connection.embedded.Door`."""

    def open(self, workspace: Path, *, triton: bool) -> EmbeddedPlatform:
        """The platform on a workspace; raises `PlatformRefused`."""
        try:
            return EmbeddedPlatform(workspace, triton=triton)
        except WorkspaceBusy as error:
            raise PlatformRefused(str(error)) from error
        except WRONG_SETTINGS as error:
            raise PlatformRefused(f"the settings in the environment do not fit: {error}") from error
        except OF_ANOTHER_VERSION as error:
            raise PlatformRefused(
                f"{error}. The workspace is {workspace}: move it away, or name another with "
                "--workspace"
            ) from error

    def front(self, apps: Mapping[str, Any]) -> Any:
        """One ASGI app with every service below its own name."""
        return front(dict(apps))

    def findings(self, workspace: Path) -> list[Finding]:
        """What only this machine's installation shows."""
        return findings(workspace)
