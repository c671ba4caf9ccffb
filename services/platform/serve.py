"""One service, or several, as a process of its own: `vila2-service --target controller`.

All services of a platform share a database, an object store and the pepper of the keys; each is
reached at an address of its own. They need what the settings of their seams say (PostgreSQL by
VILA2_DATABASE_URL, S3 by VILA2_S3_ENDPOINT, a broker by VILA2_BROKER_URL, Triton by
VILA2_TRITON_URL) and

    VILA2_PLATFORM_URL    where the services are: `http://{service}:8620` for a host of each its
                          own, or one address that has each below its name

`vila2-service --prepare` comes first: it brings every database to its newest step, makes the
bucket, Triton's repository in it and the keys, and says where they lie. It may run again.
`--doctor` looks at all that the settings name, and says what to do where it is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from services.chassis.process import begin_process
from services.chassis.storage.settings import StorageSettings
from services.chassis.telemetry.tracing import TracingUnavailable
from services.chassis.web.server import create_server
from services.identity.settings import IdentitySettings
from services.platform import operations
from services.platform.mount import front
from services.platform.targets import TARGETS
from services.platform.wiring import Seams, WorkspaceKeys
from vila2.client import Client
from vila2.system.listening import CannotListen, listen
from vila2.system.program import run_program


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; returns 0, or 2 with what is missing."""
    parser = argparse.ArgumentParser(
        prog="vila2-service",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--target", action="append", choices=[*TARGETS], default=[], help="a service; repeatable"
    )
    parser.add_argument("--prepare", action="store_true", help="databases, bucket and keys")
    parser.add_argument("--doctor", action="store_true", help="what is wrong, and what to do")
    parser.add_argument("--json", action="store_true", help="the doctor's findings for programs")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8620)
    parser.add_argument(
        "--workspace", type=Path, default=Path(os.environ.get("VILA2_WORKSPACE", ".vila2")),
        help="the folder that all services share",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    url = os.environ.get("VILA2_PLATFORM_URL", "")
    workspace = given.workspace.resolve()
    if given.doctor:
        return operations.examine(workspace, json=given.json)
    if not given.prepare and not (given.target and url):
        print("give --target and set VILA2_PLATFORM_URL, or --prepare", file=sys.stderr)  # noqa: T201
        return 2
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        end_process = begin_process("-".join(given.target) or "prepare", workspace=workspace)
    except TracingUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    if given.prepare:
        return operations.prepare(workspace)
    settings = IdentitySettings()
    identity = settings.open(workspace, StorageSettings())
    keys = WorkspaceKeys(workspace, identity, given=settings.service_key.get_secret_value())
    client = Client.connect(url, key=keys.service)
    seams = Seams(workspace, client.as_team, identity)
    if seams.alone:
        print("processes apart need VILA2_DATABASE_URL", file=sys.stderr)  # noqa: T201
        return 2
    try:
        listening = listen(given.host, given.port)
    except CannotListen as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    apps = {name: TARGETS[name](seams) for name in given.target}
    with listening:
        create_server(front(apps)).run(sockets=[listening])
    client.close()
    identity.close()
    end_process()
    return 0


def program() -> NoReturn:
    """`main` as a program."""
    run_program(main)


if __name__ == "__main__":
    program()
