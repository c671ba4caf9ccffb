"""Names of files that are no data."""

from __future__ import annotations

from pathlib import PurePosixPath

_APPLE = "__MACOSX"


def is_hidden(name: str) -> bool:
    """Whether a relative path is hidden, and so no data: `.DS_Store`, and macOS's `._NAME`.

    So is anything in `__MACOSX`, which macOS adds to archives. "." and ".." hide nothing.
    """
    return any(
        (part.startswith(".") and part not in (".", "..")) or part == _APPLE
        for part in PurePosixPath(name).parts
    )


def is_metadata(name: str) -> bool:
    """Whether a tar's member describes the tar and no sample, as WebDataset has it: `__NAME__`."""
    return "/" not in name and len(name) > 4 and name.startswith("__") and name.endswith("__")
