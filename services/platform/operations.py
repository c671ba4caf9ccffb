"""The operator's commands `vila2-service --prepare` and `--doctor`.

Each function returns the command's exit status.
"""

from __future__ import annotations

import os
from pathlib import Path

from services.chassis.storage.settings import StorageSettings
from services.identity.settings import IdentitySettings
from services.platform.doctor import findings
from services.platform.targets import TARGETS
from services.platform.wiring import Seams, WorkspaceKeys
from vila2.client import Client
from vila2.doctor import finding, machine
from vila2.system import terminal


def prepare(workspace: Path) -> int:
    """Migrate databases; create the bucket, Triton's model repository and keys. Returns 0."""
    identity = IdentitySettings().open(workspace, StorageSettings())
    keys = WorkspaceKeys(workspace, identity)
    _ = keys.user, keys.service
    # Building a service migrates its database to the newest step; nothing is started.
    client = Client.connect("http://unused", key=keys.service)
    seams = Seams(workspace, client.as_team, identity)
    for build in TARGETS.values():
        build(seams)
    seams.repository()
    client.close()
    identity.close()
    url = os.environ.get("VILA2_PUBLIC_URL", "")
    _say("the platform is prepared" + (f" for {url}" if url else ""))
    _say(f"the key of team local is in {workspace / 'key'}")
    return 0


def examine(workspace: Path, *, json: bool) -> int:
    """Run all checks and print the findings. Returns 1 if there is a problem, else 0."""
    found = [*machine.findings(workspace), *findings(workspace)]
    if json:
        terminal.show_json(finding.report(found))
    else:
        terminal.show(finding.as_table(found))
    return 0 if finding.healthy(found) else 1


def _say(text: str) -> None:
    print(text)  # noqa: T201
