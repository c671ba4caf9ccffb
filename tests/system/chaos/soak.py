"""The same small work over and over, and what every process takes meanwhile.

    python -m tests.system.chaos.soak --minutes 3       # a look
    python -m tests.system.chaos.soak --minutes 480     # a night

Layers of the small world are captioned one after another, as fast as two workers can: a shard takes
them no time, so a minute holds as many units as an hour of real captioning. Printed by time: each
process's resident memory (MiB) and open files, and the rows of work units. It ends with 1 where
memory or open files grew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.support.chaos.growth import slope
from tests.support.chaos.stack import Stack, stack
from tests.support.chaos.trial import Progress, submitted, undisturbed
from vila2.schemas.rest.caption import CaptionJobIn

ROWS = "SELECT count(*) FROM caption.work_units"
# A process of some 150 MiB may keep this much more and call it noise.
MEMORY, FILES = 0.03, 0.10
SAMPLES = 24


def measured(platform: Stack) -> dict[str, tuple[float, float]]:
    """(MiB, open files) of each process."""
    found = {}
    for name, process in platform.children.items():
        held = psutil.Process(process.pid)
        found[name] = (held.memory_info().rss / 2**20, float(held.num_fds()))
    return found


def main() -> int:
    """Returns 1 where something grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vila2-soak-") as name, stack(Path(name)) as platform:
        submitted(platform, Path(name) / "world")
        undisturbed(platform, specialists=False)
        return _soaked(platform, given.minutes * 60)


def _soaked(platform: Stack, seconds: float) -> int:
    client, began, layers = platform.client(), time.monotonic(), 0
    model = client.training.models()[0].name
    series: list[dict[str, tuple[float, float]]] = []
    with Progress(platform) as progress:
        print("minute layers  units " + " ".join(f"{name:>17}" for name in platform.children))
        while (passed := time.monotonic() - began) < seconds or len(series) < SAMPLES:
            body = CaptionJobIn(
                name=f"soak-{layers}", dataset="scenes-corpus", model=model,
                prompts=["Describe the image."],
            )  # fmt: skip
            job = client.caption.start_job(body)
            while client.caption.job(job.id).state == "running":
                time.sleep(0.1)
            layers += 1
            if passed >= len(series) * seconds / SAMPLES:
                series.append(measured(platform))
                rows = (progress.ask(ROWS) or (0,))[0]
                each = " ".join(f"{m:9.1f} {f:3.0f} fds" for m, f in series[-1].values())
                print(f"{passed / 60:6.1f} {layers:6} {rows:6} {each}", flush=True)
    client.close()
    return _judged(series)


def _judged(series: list[dict[str, tuple[float, float]]]) -> int:
    grew = 0
    for name in series[0]:
        for number, (what, allowed) in enumerate((("memory", MEMORY), ("open files", FILES))):
            found = slope([sample[name][number] for sample in series], allowed=allowed)
            grew += not found.flat
            said = "flat" if found.flat else "GROWS"
            print(f"{name:17} {what:10} {found.growth:+7.1%}  {said}")
    return 1 if grew else 0


if __name__ == "__main__":
    os.environ["CHAOS_IMAGE_SECONDS"] = "0"
    sys.exit(main())
