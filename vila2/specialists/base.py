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

# An answer dropped for one of these is right as far as it goes: asking again until the model
# claims something else would only make it invent.
SETTLED_REASONS = frozenset({"no-text"})


def task_reason(task: str, caption: str) -> str | None:
    """Why a specialist's answer is not kept, as a stable slug, or `None` where it is.

    Raises `ValueError` for an unknown task.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use one of {', '.join(TASKS)}")
    return TASKS[task](caption)
