"""Specialists: what spatial, OCR and grounding answers must look like to be kept.

The paper describes no filter on specialists' output and shows boilerplate in its own samples
(section 2.2, figure 3); here an answer that does not speak its task's language is not kept.
"""

from vila2.specialists.base import SETTLED_REASONS, TASKS, task_reason

__all__ = ["SETTLED_REASONS", "TASKS", "task_reason"]
