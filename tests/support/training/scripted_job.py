"""A job that does what its preset's name says, in place of a training: `--spec FILE`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def succeed(folder: Path) -> int:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "weights").write_text("w")
    result = {"model": str(model), "sha256": "cd" * 32, "parameters": 7, "loss": 0.5}
    (folder / "result.json").write_text(json.dumps(result))
    return 0


def keep(folder: Path, parent: Path) -> int:
    """A finetuning that learns nothing: the model that it starts from comes out again."""
    shutil.copytree(parent, folder / "model")
    result = {"model": str(folder / "model"), "sha256": "ef" * 32, "parameters": 7}
    (folder / "result.json").write_text(json.dumps(result))
    return 0


def fail(folder: Path) -> int:
    (folder / "error.txt").write_text("stage align: the loss is not a number")
    return 1


def crash(_: Path) -> int:
    raise SystemExit("no space left for the cache")


def tell_environment(folder: Path) -> int:
    for name, value in os.environ.items():
        say(f"{name}={value}")
    return succeed(folder)


def abort_at_the_end(folder: Path) -> int:
    """What a native library does whose threads are still there when the process leaves."""
    succeed(folder)
    os.abort()


def no_result(_: Path) -> int:
    return 0


def sleep(_: Path) -> int:
    """Leaves with the status of an interrupted job when it is asked to."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    time.sleep(60)
    return 0


def sleep_once(folder: Path) -> int:
    """Succeeds when it is started for the second time."""
    return succeed(folder) if len(started(folder)) > 1 else sleep(folder)


def flat(folder: Path) -> int:
    """Learns nothing more; ends its stage when it is asked to by a file, as the trainer does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    request = folder / "stop_stage.json"
    for step in range(10, 100_000, 10):
        with (folder / "metrics.jsonl").open("a") as out:
            out.write(json.dumps({"stage": "sft", "step": step, "loss": 2.0}) + "\n")
        if request.exists():
            ended = succeed(folder)
            result = json.loads((folder / "result.json").read_text())
            asked = json.loads(request.read_text())
            result["stages"] = {asked["stage"]: {"stopped_early": asked["reason"]}}
            (folder / "result.json").write_text(json.dumps(result))
            return ended
        time.sleep(0.05)
    return 1


def deaf(_: Path) -> int:
    """Does not leave when it is asked to, nor does its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(SLEEP)
    say(f"child {child.pid}")
    time.sleep(60)
    return 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def started(folder: Path) -> list[int]:
    """Process ids of all starts so far."""
    path = folder / "started"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def main() -> int:
    spec = Path(sys.argv[sys.argv.index("--spec") + 1])
    with (spec.parent / "started").open("a") as out:
        out.write(f"{os.getpid()}\n")
    say("job begins")
    init = json.loads(spec.read_text())["init"]
    if init.get("path"):
        return keep(spec.parent, Path(init["path"]))
    return int(globals()[init["preset"]](spec.parent))


if __name__ == "__main__":
    sys.exit(main())
