"""A training or an evaluation that takes a second, as a process: `--spec FILE`.

It stands where the trainer stands, below the real supervisor, so that it can be killed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from tests.support.runs.instant_jobs import evaluated, trained, write_whole

SECONDS = float(os.environ.get("CHAOS_JOB_SECONDS", "1.0"))


def main() -> int:
    path = Path(sys.argv[sys.argv.index("--spec") + 1])
    spec = json.loads(path.read_text())
    time.sleep(SECONDS)
    result = trained(spec) if "stages" in spec else evaluated(spec)
    write_whole(path.parent / "result.json", json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
