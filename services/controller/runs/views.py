"""The API view of a run: its rounds, their progress, and the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from services.controller.leadership import no_controller
from services.controller.rounds import requests, seeds
from services.controller.rounds.planner import SPECIALIST, self_name
from services.controller.rounds.state import ENDED
from services.controller.runs.runs import Runs
from services.controller.tables import RoundRow, RunRow
from vila2.client import ApiError, Client, Unreachable
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest import controller as api
from vila2.schemas.rest.base import Progress

# Share of a round that its captions take, roughly: training is nearly all of the rest.
_CAPTIONS = 0.15


def run_view(runs: Runs, platform: Client, run: RunRow) -> api.Run:
    """A run with its rounds and progress."""
    recipe = Recipe.model_validate(run.recipe)
    rows = runs.rounds(run.id)
    rounds = [_round(platform, row) for row in rows]
    active = [r for r in rounds if r.state not in ENDED]
    return api.Run(
        id=run.id,
        name=run.name,
        team=run.team,
        recipe_name=recipe.name,
        recipe_hash=run.recipe_hash,
        recipe_number=run.recipe_number,
        origin=api.Origin(**run.origin) if run.origin else None,
        state=run.state,
        phase=", ".join(f"{r.name}: {r.progress.phase or r.state}" for r in active) or run.state,
        rounds=rounds,
        error=run.error or "",
        trouble=run.trouble or (no_controller(runs.database) if run.state == "running" else ""),
        created_at=run.created_at,
        finished_at=run.finished_at or 0.0,
        progress=_run_progress(recipe, run, rows, rounds),
    )


def _round(platform: Client, row: RoundRow) -> api.Round:
    return api.Round(
        name=row.name,
        kind=row.kind,
        index=row.position,
        state=row.state,
        model=row.model or "",
        layer=row.layer or "",
        jobs=seeds.jobs_of(row),
        seeds=[
            api.RoundSeed(
                seed=int(seed), model=model, evaluation=row.seed_evaluations.get(seed, "")
            )
            for seed, model in row.seed_models.items()
        ],
        scores=row.scores or {},
        verdict=row.verdict,
        error=row.error or "",
        recipe_number=row.recipe_number,
        origin=api.Origin(**row.origin) if row.origin else None,
        progress=_round_progress(platform, row),
        seconds=round((row.ended_at or time.time()) - row.created_at, 1),
    )


def _round_progress(platform: Client, row: RoundRow) -> Progress:
    """Progress of a round as reported by the service that works on it."""
    try:
        if row.state == "captioning" and row.layer_job:
            return _captioning(row, platform.caption.job(row.layer_job).progress)
        if row.state == "specialising" and row.specialists:
            held = [platform.specialist.get(i) for i in row.specialists.values()]
            phases = ", ".join(f"{s.specialist} {s.progress.phase or s.state}" for s in held)
            done = sum(
                1.0 if s.state == "done" else 0.5 * s.progress.fraction + 0.5 * (s.model != "")
                for s in held
            )
            return Progress(done=round(1000 * done), total=1000 * len(held), phase=phases)
        job = {"training": row.train_job, "evaluating": row.evaluate_job}.get(row.state, "")
        if job:
            found = platform.training.job(job)
            several = [one.job for one in found.seeds]
            if row.state == "evaluating":
                several = list(row.seed_evaluations.values())
            return _of_seeds(platform, several) if several else found.progress
    except ApiError as error:
        # Otherwise the other service has not heard of it yet.
        if error.passing:
            return _unknown(row)
    except Unreachable:
        return _unknown(row)
    return Progress(phase=row.state)


def _captioning(row: RoundRow, found: Progress) -> Progress:
    """A caption job's progress, with the time left at the rate since the round began."""
    if not found.done or found.done >= found.total:
        return found
    elapsed = time.time() - row.created_at
    return found.model_copy(
        update={"unit": "images", "eta_seconds": elapsed * (found.total - found.done) / found.done}
    )


def _unknown(row: RoundRow) -> Progress:
    """The progress to show when a service is unavailable."""
    return Progress(phase=f"{row.state}, how far is unknown: a service does not answer")


def _of_seeds(platform: Client, ids: Sequence[str]) -> Progress:
    """How far the jobs of all seeds are together."""
    held = [platform.training.job(job) for job in ids]
    ended = [job for job in held if job.state == "succeeded"]
    share = len(ended) + sum(job.progress.fraction for job in held if job not in ended)
    phase = f"{len(ended)} of {len(held)} seeds"
    return Progress(done=round(1000 * share), total=1000 * len(held), unit="permille", phase=phase)


def _run_progress(
    recipe: Recipe, run: RunRow, rows: Sequence[RoundRow], rounds: Sequence[api.Round]
) -> Progress:
    """Steps done of the steps planned, were every round of the recipe needed.

    A run that saturates early is faster than its estimate, never slower by design.
    """
    if run.state == "finished":
        return Progress(done=1000, total=1000, unit="permille", phase="finished")
    controls = {control.name: control for control in recipe.controls}
    most = 1 + recipe.rounds.maximum
    weights = {"base": requests.planned_steps(recipe, "base", None, most)}
    for name in ("round 0", *(self_name(i) for i in range(1, most))):
        weights[name] = requests.planned_steps(recipe, "self", None, most)
    if recipe.specialists:
        weights[SPECIALIST] = requests.planned_steps(recipe, "specialist", None, most)
    over = any(row.kind == "specialist" for row in rows)
    selves = [row.name for row in rows if row.kind == "self"]
    if over:  # saturated before the maximum: those rounds will not come
        weights = {
            k: v
            for k, v in weights.items()
            if not k.startswith("round") or k in {"round 0", *selves}
        }
    for name, control in controls.items():
        weights[name] = requests.planned_steps(recipe, "control", control, 1 + len(selves) or most)
    done = sum(
        weights.get(view.name, 0) * (1.0 if row.state in ENDED else _share(row, view))
        for row, view in zip(rows, rounds, strict=True)
    )
    share = min(0.999, done / max(1, sum(weights.values())))
    elapsed = time.time() - run.created_at
    # Too little is known before the first rounds have shown their pace.
    known = share > 0.05 and run.state == "running"
    eta = elapsed * (1 - share) / share if known else None
    return Progress(done=round(1000 * share), total=1000, unit="permille", eta_seconds=eta)


def _share(row: RoundRow, view: api.Round) -> float:
    if row.state == "evaluating":
        return 0.95
    if row.state in ("captioning", "specialising"):
        return _CAPTIONS * view.progress.fraction
    if row.state != "training":
        return 0.0
    before = _CAPTIONS if row.kind in ("self", "specialist") else 0.0
    return before + (0.95 - before) * view.progress.fraction
