"""A caption worker: `vila2-caption-worker`. Run any number of them, on any number of machines.

It takes hints from the broker, claims shards in SQL, reads and decodes them, sends them to the
engine, and commits one file per shard. It needs the caption service's settings (see the two
`settings.py`) and:

    VILA2_PLATFORM_URL    where the platform's services are, each below its own name
    VILA2_SERVICE_KEY     a key with the scope internal:act-as; without it the workspace's

On SIGTERM it stores finished chunks and exits. If it is killed, another worker repeats its shards.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from prometheus_client import start_http_server
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.caption.context import CaptionContext
from services.caption.migrations import MIGRATIONS
from services.caption.settings import CaptionSettings
from services.caption.tables import Base
from services.chassis.process import begin_process
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from services.chassis.telemetry.tracing import TracingUnavailable
from vila2.client import Client
from vila2.system.program import run_program


class PlatformSettings(BaseSettings):
    """Addresses and key with which a worker reaches the other services."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    platform_url: str = ""
    service_key: SecretStr = SecretStr("")

    def key(self, workspace: Path) -> str:
        """The key to use: the given one, or the one that `vila2-service --prepare` created."""
        kept = workspace / "service-key"
        return self.service_key.get_secret_value() or (
            kept.read_text().strip() if kept.exists() else ""
        )


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; returns 0, or 2 if a setting is missing."""
    parser = argparse.ArgumentParser(
        prog="vila2-caption-worker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--concurrency", type=int, default=2, help="shards at once (default 2)")
    parser.add_argument(
        "--workspace", type=Path, default=Path(os.environ.get("VILA2_WORKSPACE", ".vila2")),
        help="folder of the SQLite files and objects, if the environment configures no " "servers",
    )  # fmt: skip
    parser.add_argument(
        "--metrics-port", type=int, default=0, help="serve /metrics here (default: nowhere)"
    )
    parser.add_argument(
        "--metrics-host", default="127.0.0.1", help="on this address (default: the loopback)"
    )
    given = parser.parse_args(arguments)
    storage, caption, platform = StorageSettings(), CaptionSettings(), PlatformSettings()
    key = platform.key(given.workspace)
    missing = [
        name
        for name, value in (
            ("VILA2_BROKER_URL", caption.broker_url.get_secret_value()),
            ("VILA2_PLATFORM_URL", platform.platform_url),
            ("VILA2_SERVICE_KEY", key),
        )
        if not value
    ]
    if missing:
        print(f"set {', '.join(missing)}; --help says what they are", file=sys.stderr)  # noqa: T201
        return 2
    try:
        end_process = begin_process("caption-worker", workspace=given.workspace)
    except TracingUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    if given.metrics_port:
        start_http_server(given.metrics_port, addr=given.metrics_host)
    client = Client.connect(platform.platform_url, key=key)
    context = CaptionContext(
        database=storage.database(given.workspace, Base.metadata, MIGRATIONS),
        objects=storage.objects(given.workspace, sources_of(given.workspace)),
        queue=caption.queue(workers=given.concurrency),
        platform=client.as_team,
        settings=caption,
    )
    ending = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ending.set())
    context.start_worker()
    ending.wait()
    context.stop()
    client.close()
    end_process()
    return 0


def program() -> NoReturn:
    """`main` as a program."""
    run_program(main)


if __name__ == "__main__":
    program()
