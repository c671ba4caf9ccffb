"""Cost of a work unit in the control plane, by number of units.

    python bench/control_plane.py [--units 1000 10000 100000] [--databases sqlite postgres]

A unit is a shard; with 1,000 images per shard, 10^6 units are 10^9 images. For every size and
database, a separate process starts a run through the controller's API and drives it to a sealed
layer. The phases run one after another (in the service they overlap), so that wall-clock and CPU
time can be measured for each. On a shared machine only CPU time is meaningful. The phases:

- plan: add the caption job's units to the table.
- claim+commit: relay -> broker -> workers, which claim a unit, look up its shard and commit, until
  none is waiting. With `--sample N` only N units from the middle of the table are processed; the
  others are set to done.
- settle: record the outcomes in the layer, write its manifest and seal it.

Real components: PostgreSQL or SQLite with migrated tables; Valkey; Celery; the relay; worker
processes with their loop, leases, heartbeats and fences; the dataset, caption and controller
services with their routes, keys and transactions (over HTTP for the workers, otherwise in
process); the reconciler; a directory as object store.

Simulated: shards are rows without tars. Captioning a shard reads nothing, and all shards of a layer
refer to one object. The training service finishes jobs at once, except those of round 1, which
never finish. Ingest is not measured. PostgreSQL runs on this machine without syncing to disk.

Prints a Markdown table, with ratios to the smallest size, and adds it to bench/control_plane.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from control_plane_stack import Stack, cpu_seconds, forget_peak, median_ms, peak_mib

from services.chassis.telemetry.logging import configure_logging
from services.chassis.work.loop import Loop
from tests.support.servers.postgres import postgres
from tests.support.servers.valkey import valkey

RESULT = Path(__file__).with_suffix(".json")
RUNS = (1, 10, 100)
WARM = 50  # units done before timing starts, so that every worker is running


def main() -> None:
    """Measure each size on each database, or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgres"),
                        default=["sqlite", "postgres"])  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument(
        "--threads", type=int, default=2, help="concurrent units per worker (default 2)"
    )
    parser.add_argument("--sample", type=int, default=0, help="units to process (default 0: all)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="repetitions of sizes up to 10,000 (default 3)"
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="file for the figures")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--ticks", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None or given.ticks is not None:
        print(json.dumps(_one(given) if given.one is not None else _ticks(given)))
        return
    kept: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    print("| database | units | plan µs | claim+commit µs | settle µs | sum µs | ratio |"
          " CPU µs | ratio | units/s | tick ms | GET ms | peak MiB |\n|" + "---|" * 13)  # fmt: skip
    for database in given.databases:
        held = kept.setdefault(database, {"sizes": {}})
        sizes = held["sizes"]
        for units in given.units:
            sizes[str(units)] = {**_median(given, database, units), "machine": _machine()}
            _print(database, units, sizes)
            given.out.write_text(json.dumps(kept, indent=1) + "\n")
        held["tick_ms_by_runs"] = _child(given, database, given.units[:1], "--ticks")
        given.out.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{database}: tick ms by runs {held['tick_ms_by_runs']}", flush=True)


def _median(given: argparse.Namespace, database: str, units: int) -> dict[str, Any]:
    """The repetition with the median total; only small sizes, which are quick, are repeated."""
    times = given.repeats if units <= 10_000 else 1
    made = [_child(given, database, [units], "--one") for _ in range(times)]
    return sorted(made, key=lambda found: found["us_per_unit"])[times // 2]


def _child(given: argparse.Namespace, database: str, units: list[int], mode: str) -> dict[str, Any]:
    """One measurement in a separate process with separate servers."""
    with tempfile.TemporaryDirectory(prefix="vila2-plane-") as name, ExitStack() as stack:
        broker = stack.enter_context(valkey(Path(name) / "valkey"))
        url = ""
        if database == "postgres":
            url = stack.enter_context(postgres()).new_database()
        command = [
            sys.executable, __file__, mode, f"{name}|{url}|{broker.url}",
            "--units", *map(str, units), "--workers", str(given.workers),
            "--threads", str(given.threads), "--sample", str(given.sample),
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _stack(where: str) -> Stack:
    folder, url, broker = where.split("|")
    configure_logging(path=Path(folder) / "log.jsonl")
    return Stack(Path(folder), database_url=url, broker_url=broker)


def _one(given: argparse.Namespace) -> dict[str, Any]:
    """One size, phase by phase."""
    (units,) = given.units
    stack = _stack(given.one)
    stack.fill(units)
    job = stack.start_runs(0, 1)
    steps = stack.caption.jobs.steps
    phases = Phases(units)
    with phases("plan"):
        while steps.plan(job):
            pass
    tick = median_ms(stack.controller.reconciler.tick)
    stack.objects.put(f"layers/{_layer(stack, job)}/shared.parquet", b"captions")
    # Before the workers start: an idle one looks for units itself and would take skipped ones.
    first, last = _sample(stack, job, units, given.sample)
    with stack.workers(given.workers, given.threads) as peaks:
        relay = Loop("relay", stack.caption.worker.relay_once, seconds=0.5)
        relay.start()
        _until(lambda: stack.done(job, first))
        with phases("claim+commit", of=last - first):
            _until(lambda: stack.done(job, last))
        if not given.sample:
            _until(lambda: stack.ended(job))
        relay.stop()
    stack.skip(job, last, units)
    with phases("settle"):
        steps.settle(job)
    held = stack.client.caption.job(job)
    if (held.state, held.captioned) != ("sealed", units * 999):
        raise RuntimeError(f"the job is {held.state} at {held.captioned} captions: {held.error}")
    get = median_ms(lambda: stack.client.caption.job(job))
    wall, cpu = sum(phases.wall.values()), sum(phases.cpu.values())
    result = {
        "units": units,
        "sampled": last - first,
        "us": phases.wall,
        "cpu_us": phases.cpu,
        "us_per_unit": round(wall, 1),
        "cpu_us_per_unit": round(cpu, 1),
        "seconds": round(wall * units / 1e6, 2),
        "units_per_second": round(1e6 / wall, 1),
        "tick_ms": tick,
        "get_ms": get,
        "peak_mib": max(phases.peak.values()),
        "peak_mib_by_phase": phases.peak,
        "worker_peak_mib": max(peaks),
        "bytes_per_unit": stack.bytes_per_unit(units),
    }
    stack.close()
    return result


class Phases:
    """By phase: microseconds per unit, wall-clock and CPU of all processes, and peak memory.

    The peak is the services' largest resident size during the phase in MiB. The benchmark's
    own work between phases is not counted.
    """

    def __init__(self, units: int) -> None:
        self._units = units
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.peak: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str, *, of: int = 0) -> Iterator[None]:
        """Time what is done within, to `of` of the units (default all)."""
        forget_peak()
        wall, cpu = time.perf_counter(), cpu_seconds()
        yield
        self.peak[name] = peak_mib()
        scale = 1e6 / (of or self._units)
        self.wall[name] = round((time.perf_counter() - wall) * scale, 1)
        self.cpu[name] = round((cpu_seconds() - cpu) * scale, 1)


def _sample(stack: Stack, job: str, units: int, wanted: int) -> tuple[int, int]:
    """The range of shards to time: nearly all, or N in the middle after skipping those before."""
    if not wanted:
        return WARM, units - 1
    middle = max(0, (units - wanted) // 2 - WARM)
    stack.skip(job, 0, middle)
    return middle + WARM, min(middle + WARM + wanted, units - 1)


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.1)


def _ticks(given: argparse.Namespace) -> dict[str, float]:
    """The reconciler's tick in ms while N runs caption, each with its own caption job."""
    stack = _stack(given.ticks)
    stack.fill(10)
    found, started = {}, 0
    for runs in RUNS:
        stack.start_runs(started, runs)
        started = runs
        found[str(runs)] = median_ms(stack.controller.reconciler.tick, times=5)
    stack.close()
    return found


def _layer(stack: Stack, job: str) -> str:
    return stack.client.caption.job(job).layer


def _machine() -> dict[str, Any]:
    """The machine and its load average, which includes other users' processes."""
    return {
        "cores": os.cpu_count(), "python": sys.version.split()[0],
        "load": [round(load, 1) for load in os.getloadavg()],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _print(database: str, units: int, sizes: dict[str, Any]) -> None:
    found, first = sizes[str(units)], sizes[min(sizes, key=int)]
    us = found["us"]
    cells = [
        database, f"{units:,}", us["plan"], us["claim+commit"], us["settle"], found["us_per_unit"],
        f"{found['us_per_unit'] / first['us_per_unit']:.2f}", found["cpu_us_per_unit"],
        f"{found['cpu_us_per_unit'] / first['cpu_us_per_unit']:.2f}", found["units_per_second"],
        found["tick_ms"], found["get_ms"], f"{found['peak_mib']} + {found['worker_peak_mib']}",
    ]  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
