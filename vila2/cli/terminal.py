"""The console that commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPED = 200


def console() -> Console:
    """As wide as the terminal; wide enough for every table where the output goes into a pipe."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPED)
