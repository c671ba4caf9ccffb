"""Named points where a test can kill the process, as a power failure would."""

from __future__ import annotations

import os
import signal


def crashpoint(name: str) -> None:
    """Kill this process with SIGKILL if the environment names this point; otherwise do nothing.

    `VILA2_CRASHPOINT=name` kills on the first call, `name:3` on the third.
    """
    wanted = os.environ.get("VILA2_CRASHPOINT", "")
    point, _, count = wanted.partition(":")
    if point != name:
        return
    left = int(count or "1") - 1
    if left:
        os.environ["VILA2_CRASHPOINT"] = f"{name}:{left}"
        return
    os.kill(os.getpid(), signal.SIGKILL)
