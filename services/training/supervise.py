"""Runs one job's torchrun and writes how it ended: `python -m services.training.supervise`.

The dispatcher may be gone when its job ends, so the exit status goes into a file. Signals are
passed on to the training process, which checkpoints.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType


def main() -> int:
    """Arguments: folder, module, spec, number of processes."""
    folder, module, spec, processes = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    if processes == 1 and module != "vila2.training.train":
        command = [sys.executable, "-m", module, "--spec", spec]
    else:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=0",
            f"--nproc-per-node={processes}", "-m", module, "--spec", spec,
        ]  # fmt: skip
    stopping = False
    child = subprocess.Popen(command)

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    status = child.wait()
    if status != 0 and stopping:
        status = 75
    partial = folder / "exit.json.partial"
    partial.write_text(json.dumps({"status": status}))
    partial.rename(folder / "exit.json")
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
