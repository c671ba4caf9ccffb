"""What a run has taken, from the other services' own accounts, beside what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.controller.estimates.arithmetic import HOUR
from services.controller.seeds import together
from services.controller.tables import RoundRow, RunRow
from vila2.api.caption import LayerJob
from vila2.api.estimates import CostLine, Costs, Estimate, Work
from vila2.api.training import Job
from vila2.client import Client
from vila2.recipe import Recipe


def costs(
    platform: Client, run: RunRow, rounds: Sequence[RoundRow], expected: Estimate | None
) -> Costs:
    """The run's lines so far; work that has not begun has none."""
    processes = Recipe.model_validate(run.recipe).training.processes
    lines = [line for row in rounds for line in _round(platform, row, processes)]
    if expected is not None:
        lines = [beside(line, expected) for line in lines]
    used = next((held for held in platform.training.usage("run") if held.run == run.id), None)
    captions = [line for line in lines if line.work == "captioning"]
    captioning = sum(line.hours for line in captions)
    gpu, process = (used.gpu_hours, used.process_hours) if used else (0.0, 0.0)
    price = expected.price_per_hour if expected else None
    return Costs(
        run=run.id,
        estimate=expected.id if expected else "",
        lines=lines,
        pictures=sum(line.pictures for line in captions),
        tokens=sum(line.tokens or 0 for line in captions),
        captioning_hours=captioning,
        gpu_hours=gpu,
        process_hours=process,
        jobs=used.jobs if used else 0,
        attempts=used.attempts if used else 0,
        money=None if price is None else price * (gpu + process + captioning),
    )


def beside(line: CostLine, expected: Estimate) -> CostLine:
    """The line with what was expected of it. Pure."""
    key = (line.round, line.work, line.what)
    found = next((e for e in expected.lines if (e.round, e.work, e.what) == key), None)
    return line.model_copy(update={"expected": found})


def _round(platform: Client, row: RoundRow, processes: int) -> Iterator[CostLine]:
    if row.layer_job:
        yield _layer(platform.caption.layer_job(row.layer_job), row.name)
    for name, held in ((n, platform.specialist.get(i)) for n, i in sorted(row.specialists.items())):
        if held.job:
            # A specialist's finetuning runs in one process.
            yield _jobs(platform, row.name, "training", [held.job], 1, what=name)
        if held.layer_job:
            yield _layer(platform.caption.layer_job(held.layer_job), row.name, what=name)
    if row.train_job:
        yield _jobs(platform, row.name, "training", [row.train_job], processes)
    if row.evaluate_job:
        evaluations = [*row.seed_evaluations.values()] or [row.evaluate_job]
        yield _jobs(platform, row.name, "evaluation", evaluations, 1)


def _layer(job: LayerJob, name: str, *, what: str = "") -> CostLine:
    return CostLine(
        round=name,
        work="captioning",
        what=what,
        state=job.state,
        pictures=job.captioned + sum(job.quarantined.values()),
        tokens=job.tokens,
        seconds=job.seconds,
        hours=job.seconds / HOUR,
    )


def _jobs(
    platform: Client,
    name: str,
    work: Work,
    ids: Sequence[str],
    processes: int,
    *,
    what: str = "",
) -> CostLine:
    """One line of a round's jobs of one kind: what all its seeds took."""
    jobs = [job for held in ids for job in _seeds_of(platform, held)]
    seconds = sum(job.seconds for job in jobs)
    return CostLine(
        round=name,
        work=work,
        what=what,
        state=together([job.state for job in jobs]),
        pictures=sum(_asked(job) for job in jobs),
        seconds=seconds,
        hours=seconds * processes / HOUR,
    )


def _seeds_of(platform: Client, job_id: str) -> list[Job]:
    """The jobs that a job is made of: itself, but for one with seeds."""
    job = platform.training.job(job_id)
    return [platform.training.job(held.job) for held in job.seeds] or [job]


def _asked(job: Job) -> int:
    """Samples that a training visited, or questions of an evaluation."""
    visits = sum(int(stage["visits"]) for stage in job.result.get("stages", {}).values())
    return visits or int(job.result.get("questions", 0))
