"""A process that opens a platform's identity."""

from __future__ import annotations

from pathlib import Path

from services.chassis.identity.identity import Identity
from services.chassis.identity.settings import IdentitySettings
from services.chassis.settings import StorageSettings


def opened(workspace: Path, url: str = "") -> Identity:
    """With its tables in the workspace, or where `url` says."""
    return IdentitySettings().open(workspace, StorageSettings(database_url=url))
