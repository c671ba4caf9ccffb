"""Early stopping of a training, decided from its recorded losses. Pure.

There are two rules with different outcomes. A stage that no longer improves ends early: the trainer
continues with the next stage and writes a model, so the job succeeds and its result names the stage
that was cut short. A job whose loss is still too high at a given step is stopped: its model would
not be used, so none is written and the job's state is `stopped`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vila2.schemas.rest.training import EarlyStopIn


@dataclass(frozen=True, slots=True)
class Stop:
    """What to end, and why."""

    what: Literal["stage", "job"]
    reason: str


def judge(rule: EarlyStopIn, metrics: Sequence[Mapping[str, Any]]) -> Stop | None:
    """Check a job's history against its rule; None means continue.

    `metrics` are the lines of metrics.jsonl: stage, step and the metric's mean since the previous
    line. Lines of other stages and values that are not numbers are ignored.
    """
    seen = sorted(
        (int(line["step"]), float(line[rule.metric]))
        for line in metrics
        if line.get("stage") == rule.stage and _finite(line.get(rule.metric)) and "step" in line
    )
    if not seen:
        return None
    if rule.max_loss is not None and rule.at_step is not None:
        late = next(((step, loss) for step, loss in seen if step >= rule.at_step), None)
        if late is not None and late[1] > rule.max_loss:
            return Stop(
                "job",
                f"stage {rule.stage}: {rule.metric} is {late[1]:.4g} at step {late[0]}, "
                f"above the {rule.max_loss:g} allowed at step {rule.at_step}",
            )
    if rule.patience_steps is None:
        return None
    best_step, best = seen[0]
    for step, loss in seen[1:]:
        if loss < best and best - loss >= rule.minimum_improvement:
            best_step, best = step, loss
    if seen[-1][0] - best_step < rule.patience_steps:
        return None
    return Stop(
        "stage",
        f"{rule.metric} has not improved by {rule.minimum_improvement:g} in "
        f"{rule.patience_steps} steps: {best:.4g} at step {best_step}, "
        f"{seen[-1][1]:.4g} at step {seen[-1][0]}",
    )


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
