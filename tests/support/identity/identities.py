"""A process that opens a platform's identity."""

from __future__ import annotations

from pathlib import Path

from services.chassis.storage.settings import StorageSettings
from services.identity.identity import Identity
from services.identity.settings import IdentitySettings


def open_identity(workspace: Path, url: str = "") -> Identity:
    """With its tables in the workspace, or where `url` says."""
    return IdentitySettings().open(workspace, StorageSettings(database_url=url))
