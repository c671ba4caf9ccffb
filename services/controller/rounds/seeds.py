"""A round that is trained with several seeds: its models, its evaluations, and what failed. Pure.

One job trains a round with all its seeds, and the dispatcher makes one of each; every model has an
evaluation of its own. The first seed's model and evaluation are stored in the row like those of a
round trained once; all of them are stored in `seed_models` and `seed_evaluations`, which are
empty for such a round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any, TypeVar

from services.controller.tables import RoundRow
from vila2.schemas.rest.training import Job, JobKind, JobState, SeedJob

T = TypeVar("T")
ENDED: frozenset[JobState] = frozenset({"succeeded", "stopped", "failed", "cancelled"})


def mark(seed: int | str, seeds: Sized) -> str:
    """The suffix of one seed's names and keys; empty if there is only one seed."""
    return f"-s{seed}" if len(seeds) > 1 else ""


def models_of(row: RoundRow, seed: int) -> dict[int, str]:
    """Seed -> model, the first seed's first; `seed` is the recipe's own."""
    return _by_seed(row.seed_models, row.model, seed)


def evaluations_of(row: RoundRow, seed: int) -> dict[int, str]:
    """Seed -> evaluation job of that seed's model, the first seed's first."""
    return _by_seed(row.seed_evaluations, row.evaluate_job, seed)


def jobs_of(row: RoundRow) -> list[str]:
    """Every job of a round: its training, and its evaluations."""
    evaluations = [*row.seed_evaluations.values()] or [row.evaluate_job]
    return [job for job in (row.train_job, *evaluations) if job]


def model_columns(models: Mapping[int, str]) -> dict[str, Any]:
    """The row's model columns; `models` begins with the first seed's."""
    return {"model": first(models), "seed_models": _several(models)}


def evaluation_columns(jobs: Mapping[int, str]) -> dict[str, Any]:
    """The row's evaluation columns; `jobs` begins with the first seed's."""
    return {"evaluate_job": first(jobs), "seed_evaluations": _several(jobs)}


def first(by_seed: Mapping[int, T]) -> T:
    """The first seed's value; its model is the one that captions."""
    return next(iter(by_seed.values()))


def trainings(job: Job, seed: int) -> list[SeedJob]:
    """The trainings of a round's job, the first seed's first."""
    if job.seeds:
        return sorted(job.seeds, key=lambda held: held.seed)
    return [of_seed(seed, job)]


def of_seed(seed: int, job: Job) -> SeedJob:
    """A job as the one of a seed."""
    return SeedJob(
        seed=seed, job=job.id, state=job.state, model=job.model, result=job.result, error=job.error
    )


def together(states: Sequence[str]) -> str:
    """Combined state of several jobs: running while one is, succeeded if all have."""
    at_work = [state for state in states if state not in ENDED]
    broken = [state for state in states if state != "succeeded"]
    return (at_work or broken or ["succeeded"])[0]


def failure(kind: JobKind, held: Sequence[SeedJob]) -> str:
    """Why a round fails whose jobs have ended: which seeds did not succeed; empty if all did."""
    broken = [one for one in held if one.state != "succeeded"]
    if len(held) == 1:
        return "".join(f"{kind} job {one.job} {one.state}: {one.error}" for one in broken)
    if not broken:
        return ""
    each = "; ".join(f"seed {one.seed}, job {one.job} {one.state}: {one.error}" for one in broken)
    return f"{kind} ended without success with {len(broken)} of {len(held)} seeds: {each}"


def _by_seed(held: Mapping[str, str], one: str, seed: int) -> dict[int, str]:
    return {int(key): held[key] for key in sorted(held, key=int)} or {seed: one}


def _several(held: Mapping[int, str]) -> dict[str, str]:
    """The mapping as stored in a JSON column, with string keys."""
    return {str(seed): value for seed, value in held.items()} if len(held) > 1 else {}
