"""Keeps the output of libraries away from a terminal that shows a command's own output."""

from __future__ import annotations

import logging
import os
import sys

_VARIABLES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


def quiet_libraries() -> None:
    """Hide libraries' progress bars and warnings, here and in child processes.

    Call it before they are imported. Variables that the user has set are left alone, and so are
    warnings if Python was started with options for them.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        logging.captureWarnings(True)
