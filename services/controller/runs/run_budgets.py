"""Budgets: a run that has used more than its budget is cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.controller.tables import RoundRow, RunRow
from vila2.client import Client
from vila2.recipes.recipe import BudgetRecipe, Recipe


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used so far: hours by the training accounts, images by their layers."""

    gpu_hours: float = 0.0
    process_hours: float = 0.0
    images: int = 0


def over_budget(budget: BudgetRecipe, spent: Spent) -> str:
    """The reason to cancel the run, or an empty string. Pure."""
    for field, unit in (
        ("gpu_hours", "GPU-hours"), ("process_hours", "process-hours"), ("images", "images"),
    ):  # fmt: skip
        limit, used = getattr(budget, field), getattr(spent, field)
        if limit is not None and used > limit:
            return (
                f"stopped by its budget: {used:,.6g} {unit} of at most {limit:,.6g} "
                f"(recipe, budget.{field})"
            )
    return ""


def budget_exceeded(
    platform: Client, recipe: Recipe, run: RunRow, rounds: Sequence[RoundRow]
) -> str:
    """Why the run must end, or nothing. Queries other services only for limited resources."""
    budget = recipe.budget
    if budget == BudgetRecipe():
        return ""
    spent = Spent()
    if budget.gpu_hours is not None or budget.process_hours is not None:
        used = next((u for u in platform.training.usage("run") if u.run == run.id), None)
        if used:
            spent = Spent(used.gpu_hours, used.process_hours)
    if budget.images is not None:
        images = captioned(platform, rounds)
        spent = Spent(spent.gpu_hours, spent.process_hours, images)
    return over_budget(budget, spent)


def captioned(platform: Client, rounds: Sequence[RoundRow]) -> int:
    """Images captioned or quarantined for these rounds so far, by generalists and specialists."""
    count = 0
    for row in rounds:
        if row.layer_job:
            count += platform.caption.job(row.layer_job).progress.done
        for held in (platform.specialist.get(i) for i in row.specialists.values()):
            if held.layer:
                layer = platform.datasets.layer(held.layer)
                count += layer.captioned + sum(layer.quarantined.values())
            elif held.state == "captioning":
                count += held.progress.done
    return count
