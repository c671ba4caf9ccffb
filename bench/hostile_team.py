"""What one hostile team and ten clients without a key cost another team.

    python bench/hostile_team.py [--seconds 20]

Serves the platform as `vila2 up` does, in a process of its own. Another team sends ordinary
requests, one after another: first alone, then while a third process does all of this at once:

- ten clients without a key: bodies of 40 MB, half-sent requests on 50 connections each, wrong
  keys, made-up methods;
- one team: images of 49 megapixels to be captioned in 45 requests at once, 45 lists at once,
  bodies of 40,000 wrong values, requests without the scope, uploads of 32 MB, and
  versions of a Parquet file of a million rows without an image.

Prints a Markdown table of the times, and their ratio, and writes bench/hostile_team.json. The goal
is a p99 of at most three times the quiet one. No model is registered: a request for captions ends
after its images were decoded. All processes share this machine's cores with each other, so the
ratio includes the attacker's own work.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from hostile_team_attacks import Stranger, forever, team_of

OUT = Path(__file__).with_suffix(".json")
GOAL = 3.0
STRANGERS = 10


def main() -> None:
    """Measure, or be one of the other two processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two phases")
    parser.add_argument("--out", type=Path, default=OUT, help="file for the figures")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--attack", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
    elif given.attack:
        attack(*given.attack)
    else:
        measure(given.seconds, given.out)


def serve(folder: Path) -> None:
    """The platform; tells its address and two keys on its standard output."""
    from services.chassis.web.server import create_server
    from services.platform.embedded import EmbeddedPlatform
    from services.platform.mount import front

    with (
        EmbeddedPlatform(folder) as platform,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        keys = [
            platform.identity.keys.issue(team="hostile", scopes=("datasets:read", "datasets:write",
                                         "captions:read")),
            platform.identity.keys.issue(team="ordinary"),
        ]  # fmt: skip
        print(json.dumps([f"http://127.0.0.1:{listening.getsockname()[1]}", *keys]), flush=True)
        create_server(front(platform.apps), lifespan=False).run(sockets=[listening])


def measure(seconds: float, out: Path) -> None:
    """Quiet, then under attack; prints and writes the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="vila2-hostile-") as folder,
        started("--serve", f"{folder}/workspace") as server,
    ):
        assert server.stdout is not None
        url, hostile, ordinary = json.loads(server.stdout.readline())
        requests(url, ordinary, 2.0)  # warm
        quiet = requests(url, ordinary, seconds)
        with started("--attack", url, hostile) as attacker:
            assert attacker.stdout is not None
            attacker.stdout.readline()  # it begins
            attacked = requests(url, ordinary, seconds)
            attacker.terminate()
            done = json.loads(attacker.stdout.readline())
    rows = {name: row(quiet[name], attacked[name]) for name in quiet}
    print("| request | quiet p50 ms | p99 ms | attacked p50 ms | p99 ms | p99 ratio | n |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, told in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:,}" for value in told.values()) + " |")
    print(f"the attack by outcome: {done}")
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    figures: dict[str, Any] = {
        "seconds": seconds,
        "goal": GOAL,
        "machine": machine,
        "requests": rows,
        "attack": done,
    }
    out.write_text(json.dumps(figures, indent=1) + "\n")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This program in another role; it ends with the block."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def row(quiet: list[float], attacked: list[float]) -> dict[str, float]:
    """Percentiles in milliseconds, the ratio of the 99th, and how many requests were answered."""
    q50, q99 = (round(float(np.percentile(quiet, p)) * 1e3, 1) for p in (50, 99))
    a50, a99 = (round(float(np.percentile(attacked, p)) * 1e3, 1) for p in (50, 99))
    return {"quiet_p50": q50, "quiet_p99": q99, "attacked_p50": a50, "attacked_p99": a99,
            "ratio": round(a99 / q99, 1), "n": len(attacked)}  # fmt: skip


def requests(url: str, key: str, seconds: float) -> dict[str, list[float]]:
    """Ordinary requests one after another; the seconds that each took."""
    times: dict[str, list[float]] = {
        "health": [],
        "runs": [],
        "list": [],
        "create": [],
        "all": [],
    }
    asked = [
        ("health", "GET", "/healthz", None),
        ("runs", "GET", "/controller/v1/runs", None),
        ("list", "GET", "/datasets/v1/datasets", None),
        ("create", "POST", "/datasets/v1/datasets", {"name": "mine", "kind": "pairs"}),
    ]
    until = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=120) as client:
        while time.monotonic() < until:
            for name, method, path, body in asked:
                began = time.perf_counter()
                answer = client.request(method, path, json=body)
                took = time.perf_counter() - began
                if answer.status_code >= 400:
                    raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
                times[name].append(took)
                times["all"].append(took)
    return times


def attack(url: str, key: str) -> None:
    """Everything at once, until told to stop."""
    seen: Counter[str] = Counter()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print("begins", flush=True)
    for work in (*[Stranger(url).turn] * STRANGERS, *team_of(url, key)):
        threading.Thread(target=forever, args=(work, seen), daemon=True).start()
    ended.wait()
    print(json.dumps(dict(seen.most_common())), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
