"""Comparison of two runs: differences of their recipes and of their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.controller.loop.judging import outcomes_over_seeds
from services.controller.rounds.seeds import first
from services.controller.runs.amendments import differences
from services.controller.runs.runs import Runs
from services.controller.tables import RoundRow, RunRow
from vila2.client import Client
from vila2.evaluation.outcomes import item_images, item_scores
from vila2.evaluation.statistics.bootstrap import SeedItems, difference_over_seeds
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest import controller as api


def compare(runs: Runs, platform: Client, ours: RunRow, theirs: RunRow) -> api.Comparison:
    """Rounds of the same name are compared item by item, over all seeds of both."""
    left = {row.name: row for row in runs.rounds(ours.id)}
    right = {row.name: row for row in runs.rounds(theirs.id)}
    names = list(dict.fromkeys([*left, *right]))
    recipes = [Recipe.model_validate(run.recipe) for run in (ours, theirs)]
    return api.Comparison(
        ours=ours.id,
        theirs=theirs.id,
        recipe=differences(*recipes),
        rounds=[
            _difference(platform, recipes, name, left.get(name), right.get(name))
            for name in names
            if _scores(left.get(name)) or _scores(right.get(name))
        ],
    )


def _difference(
    platform: Client,
    recipes: Sequence[Recipe],
    name: str,
    ours: RoundRow | None,
    theirs: RoundRow | None,
) -> api.Difference:
    made = api.Difference(round=name, ours=_macro(ours), theirs=_macro(theirs))
    if ours is None or theirs is None or not (_scores(ours) and _scores(theirs)):
        return made
    if ours.model == theirs.model:
        same = {"difference": 0.0, "low": 0.0, "high": 0.0, "same_model": True}
        return made.model_copy(update=same)
    found = [
        outcomes_over_seeds(platform, recipe, row)
        for recipe, row in zip(recipes, (ours, theirs), strict=True)
    ]
    before, after = (
        {seed: item_scores(outcomes) for seed, outcomes in held.items()} for held in found
    )
    if _items(before) != _items(after):
        return made
    interval = difference_over_seeds(
        before,
        after,
        clusters=item_images(first(found[0])),
        seed=recipes[0].seed,
        seed_sd=max(recipe.rounds.seed_sd for recipe in recipes),
    )
    told = {"difference": interval.mid, "low": interval.low, "high": interval.high}
    return made.model_copy(update=told)


def _items(scores: SeedItems) -> dict[str, set[str]]:
    """The benchmark items of a round, which are the same for all its seeds."""
    return {benchmark: set(items) for benchmark, items in first(scores).items()}


def _scores(row: RoundRow | None) -> Mapping[str, Mapping[str, float]]:
    return row.scores if row is not None and row.scores else {}


def _macro(row: RoundRow | None) -> float | None:
    scores = [float(held["score"]) for held in _scores(row).values()]
    return sum(scores) / len(scores) if scores else None
