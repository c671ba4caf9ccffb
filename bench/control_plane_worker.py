"""A caption worker of `control_plane.py`: a real worker that does not caption its shards.

Prints "ready", works until a line arrives on standard input, then prints its peak memory in MiB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from control_plane_stack import captioned, peak_mib
from pydantic import SecretStr

from services.caption.context import CaptionContext
from services.caption.jobs.job_steps import ShardResult
from services.caption.migrations import MIGRATIONS
from services.caption.settings import CaptionSettings
from services.caption.tables import Base, CaptionJobRow
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from services.chassis.telemetry.logging import configure_logging
from vila2.client import Client


def main() -> None:
    """Run the worker until a line arrives on stdin."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("database", "broker", "folder", "platform", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    folder = Path(given.folder)
    configure_logging(path=folder / "worker.jsonl")
    client = Client.connect(given.platform, key=given.key)
    storage = StorageSettings(database_url=SecretStr(given.database))
    settings = CaptionSettings(broker_url=SecretStr(given.broker))
    context = CaptionContext(
        database=storage.database(folder, Base.metadata, MIGRATIONS),
        objects=storage.objects(folder, sources_of(folder)),
        queue=settings.queue(workers=given.threads),
        platform=client.as_team,
        settings=settings,
    )

    def caption(row: CaptionJobRow, *_: object) -> ShardResult:
        """The shard was looked up as usual; its captions are the object that all shards share."""
        return ShardResult(**captioned(row.layer).model_dump(), tokens=1, seconds=0.0, images=1000)

    context.shards._caption = caption  # type: ignore[method-assign,assignment]
    context.start_worker()
    print("ready", flush=True)
    sys.stdin.readline()
    context.worker.stop()
    print(peak_mib(), flush=True)


if __name__ == "__main__":
    main()
