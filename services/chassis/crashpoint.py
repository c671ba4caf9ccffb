"""Named places where a test can end the process, as a power cut would."""

from __future__ import annotations

import os
import signal


def crashpoint(name: str) -> None:
    """Kill this process here when the environment names this point; else do nothing.

    `VILA2_CRASHPOINT=name` kills at the first passing, `name:3` at the third.
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
