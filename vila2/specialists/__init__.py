"""Specialists: filters for spatial, OCR and grounding answers.

The paper describes no filter on specialists' output and shows boilerplate in its own samples
(section 2.2, figure 3); here an answer without its task's kind of content is dropped.
"""

from vila2.specialists.base import SETTLED_REASONS, TASKS, task_reason

__all__ = ["SETTLED_REASONS", "TASKS", "task_reason"]
