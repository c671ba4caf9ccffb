"""The console that commands print to, and how times are written there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rich.console import Console

_PIPED = 200


def console() -> Console:
    """As wide as the terminal; wide enough for every table where the output goes into a pipe."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPED)


def errors() -> Console:
    """For what people should read and scripts should not."""
    return Console(stderr=True, soft_wrap=True)


def moment(seconds: float | None) -> str:
    """Seconds since 1970 as people read them; nothing for none."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
