"""The tasks, and the one function that filters by task."""

from __future__ import annotations

from collections.abc import Callable

from vila2.specialists import grounding, ocr, spatial

TASKS: dict[str, Callable[[str], str | None]] = {
    "general": lambda _: None,
    "spatial": spatial.reason_to_drop,
    "ocr": ocr.reason_to_drop,
    "grounding": grounding.reason_to_drop,
}

# An answer dropped for one of these may be right: asking again until the answer differs would only
# provoke hallucinations.
SETTLED_REASONS = frozenset({"no-text"})


def task_reason(task: str, caption: str) -> str | None:
    """Return why a specialist's answer is dropped, as a stable slug, or `None` if it is kept.

    Raises `ValueError` for an unknown task.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use one of {', '.join(TASKS)}")
    return TASKS[task](caption)
