"""Two runs beside each other: what their recipes say differently, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping

from services.controller.amendments import differences
from services.controller.runs import Runs
from services.controller.tables import RoundRow, RunRow
from services.controller.verdicts import outcomes_of
from vila2.api import controller as api
from vila2.client import Client
from vila2.evaluation.outcomes import item_pictures, item_scores
from vila2.evaluation.statistics import macro_difference
from vila2.recipe import Recipe


def compare(runs: Runs, platform: Client, ours: RunRow, theirs: RunRow) -> api.Comparison:
    """Rounds of the same name are compared by a paired bootstrap over the items of both."""
    left = {row.name: row for row in runs.rounds(ours.id)}
    right = {row.name: row for row in runs.rounds(theirs.id)}
    names = list(dict.fromkeys([*left, *right]))
    recipes = [Recipe.model_validate(run.recipe) for run in (ours, theirs)]
    return api.Comparison(
        ours=ours.id,
        theirs=theirs.id,
        recipe=differences(*recipes),
        rounds=[
            _difference(platform, name, left.get(name), right.get(name), seed=recipes[0].seed)
            for name in names
            if _scores(left.get(name)) or _scores(right.get(name))
        ],
    )


def _difference(
    platform: Client, name: str, ours: RoundRow | None, theirs: RoundRow | None, *, seed: int
) -> api.Difference:
    made = api.Difference(round=name, ours=_macro(ours), theirs=_macro(theirs))
    if ours is None or theirs is None or not (_scores(ours) and _scores(theirs)):
        return made
    if ours.model == theirs.model:
        same = {"difference": 0.0, "low": 0.0, "high": 0.0, "same_model": True}
        return made.model_copy(update=same)
    outcomes = [outcomes_of(platform, row.evaluate_job) for row in (ours, theirs)]
    before, after = (item_scores(held) for held in outcomes)
    if {name: set(items) for name, items in before.items()} != {
        name: set(items) for name, items in after.items()
    }:
        return made
    interval = macro_difference(before, after, clusters=item_pictures(outcomes[0]), seed=seed)
    found = {"difference": interval.mid, "low": interval.low, "high": interval.high}
    return made.model_copy(update=found)


def _scores(row: RoundRow | None) -> Mapping[str, Mapping[str, float]]:
    return row.scores if row is not None and row.scores else {}


def _macro(row: RoundRow | None) -> float | None:
    scores = [float(held["score"]) for held in _scores(row).values()]
    return sum(scores) / len(scores) if scores else None
