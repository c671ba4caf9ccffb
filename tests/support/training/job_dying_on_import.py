"""`scripted_job`, which kills whoever imports it without running it."""

from __future__ import annotations

import os
import signal
import sys

from tests.support.training.scripted_job import main

if __name__ == "__main__":
    sys.exit(main())
os.kill(os.getpid(), signal.SIGKILL)
