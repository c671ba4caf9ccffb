"""An estimate before a run, the costs beside it, and the table of estimates."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import select

from services.chassis.storage.database import Database
from services.chassis.web.errors import Invalid, NotFound
from services.controller.estimates.arithmetic import (
    DEVICES,
    RANGES,
    History,
    Lengths,
    Speed,
    adjusted,
    assumed_caption,
    exactly,
    for_length,
    mean_of,
    measured_stage,
    spread_of,
)
from services.controller.estimates.measured import (
    AssumedSpeeds,
    PastJobs,
    captioner_of,
    dataset_text,
    sampled,
)
from services.controller.estimates.work import HOUR, Rates, Training, line_of, phases, total_of
from services.controller.rounds.seeds import together
from services.controller.tables import EstimateRow, RoundRow, RunRow
from vila2.client import Client
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest.caption import CaptionJob
from vila2.schemas.rest.estimates import (
    CostLine,
    Costs,
    Device,
    Estimate,
    EstimateIn,
    Range,
    Sampled,
    Work,
)
from vila2.schemas.rest.training import Job

# Tokens of an evaluation's answers, which are shorter than captions.
_QUESTION_TOKENS = Range(low=4, mid=16, high=96)


class Estimates:
    """Owns the table `estimates`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, team: str, made: Estimate) -> Estimate:
        """Store an estimate; returns it with its id."""
        kept = made.model_copy(
            update={"id": f"estimate-{uuid.uuid4().hex[:8]}", "created_at": time.time()}
        )
        with self._database.transaction() as session:
            session.add(
                EstimateRow(
                    id=kept.id,
                    team=team,
                    recipe_hash=kept.recipe_hash,
                    body=kept.model_dump(mode="json"),
                    created_at=kept.created_at,
                )
            )
        return kept

    def get(self, team: str, estimate: str) -> Estimate:
        """A team's estimate, or `NotFound`."""
        with self._database.transaction() as session:
            row = session.get(EstimateRow, estimate)
            if row is None or row.team != team:
                raise NotFound(f"no estimate {estimate!r}", field="estimate")
            return Estimate.model_validate(row.body)

    def newest(self, team: str, recipe_hash: str) -> Estimate | None:
        """The newest estimate of a recipe, if it was ever estimated."""
        with self._database.transaction() as session:
            row = session.scalar(
                select(EstimateRow)
                .where(EstimateRow.team == team, EstimateRow.recipe_hash == recipe_hash)
                .order_by(EstimateRow.created_at.desc())
                .limit(1)
            )
            return None if row is None else Estimate.model_validate(row.body)


def estimate(platform: Client, recipe: Recipe, body: EstimateIn) -> Estimate:
    """Estimate a run of the pinned recipe; raises `Invalid` if no speed is known.

    Starts no run and changes nothing; the sample's captions are not kept.
    """
    past, preset = PastJobs(platform), recipe.model.preset
    history = past.of_preset(preset) if body.history else History()
    texts = {name: dataset_text(platform, name) for name in recipe.datasets()}
    captioner = captioner_of(platform, past.presets, body.captioner, preset)
    sample = None
    if body.sample and captioner:
        sample = sampled(platform, recipe, captioner, body.sample)
    device = _device(body)
    assumed = AssumedSpeeds(preset, device, recomputes=recipe.training.activation_checkpointing)
    words: dict[str, float] = {name: text.words for name, text in texts.items()}
    rates = _rates(recipe, body, history, sample, assumed, words)
    questions = round(sum(texts[n].samples * texts[n].questions for n in recipe.benchmarks))
    sizes: dict[str, int] = {name: text.samples for name, text in texts.items()}
    lines = [line_of(phase, rates) for phase in phases(recipe, sizes, questions)]
    unit = device.unit if assumed.used and device else history.unit
    return Estimate(
        recipe_name=recipe.name,
        recipe_hash=recipe.digest(),
        unit="gpu" if unit == "gpu" else "process",
        device=device if assumed.used else None,
        sampled=sample,
        lines=lines,
        total=total_of(lines),
        ranges=RANGES,
        price_per_hour=body.price_per_hour,
        notes=_notes(recipe, body, sample, captioner),
    )


def costs(
    platform: Client, run: RunRow, rounds: Sequence[RoundRow], expected: Estimate | None
) -> Costs:
    """The run's usage so far, from the services' accounts; work not yet started has no line."""
    processes = Recipe.model_validate(run.recipe).training.processes
    lines = [line for row in rounds for line in _round(platform, row, processes)]
    if expected is not None:
        of = {(line.round, line.work, line.what): line for line in expected.lines}
        for line in lines:
            line.expected = of.get((line.round, line.work, line.what))
    used = next((held for held in platform.training.usage("run") if held.run == run.id), None)
    captions = [line for line in lines if line.work == "captioning"]
    captioning = sum(line.hours for line in captions)
    gpu, process = (used.gpu_hours, used.process_hours) if used else (0.0, 0.0)
    price = expected.price_per_hour if expected else None
    return Costs(
        run=run.id,
        estimate=expected.id if expected else "",
        lines=lines,
        images=sum(line.images for line in captions),
        tokens=sum(line.tokens or 0 for line in captions),
        captioning_hours=captioning,
        gpu_hours=gpu,
        process_hours=process,
        jobs=used.jobs if used else 0,
        attempts=used.attempts if used else 0,
        money=None if price is None else price * (gpu + process + captioning),
    )


def _device(body: EstimateIn) -> Device | None:
    if body.device is not None:
        return adjusted(DEVICES[body.device], peak_tflops=body.peak_tflops, mfu=body.mfu)
    if body.peak_tflops is not None or body.mfu is not None:
        raise Invalid(
            "peak_tflops and mfu belong to a device", field="device",
            fix=f"name one of {', '.join(DEVICES)}",
        )  # fmt: skip
    return None


def _rates(
    recipe: Recipe,
    body: EstimateIn,
    history: History,
    sample: Sampled | None,
    assumed: AssumedSpeeds,
    words: Mapping[str, float],
) -> Rates:
    """Measured speeds as far as there are any, assumed ones for the rest."""
    lengths = Lengths(words, caption=assumed_caption(recipe.captioning.sampling.max_new_tokens))
    if sample is not None:
        lengths = Lengths(words, sample.tokens_per_word, sample.tokens)

    def visit(training: Training, text: Range) -> Speed:
        measured = measured_stage(history, training.stage, training.trainable)
        return measured or assumed.visit(training, text)

    def caption(tokens: Range) -> Speed:
        if sample is None or not body.history:
            return assumed.caption(tokens)
        seconds = for_length(sample.seconds, sample.tokens, tokens)
        return Speed(seconds, "measured", "speed of the sample, fastest to slowest call")

    if history.evaluations:
        says = f"{len(history.evaluations)} earlier evaluation(s), least to most"
        question = Speed(spread_of(history.evaluations), "measured", says)
    else:
        speed = caption(_QUESTION_TOKENS)
        question = Speed(speed.seconds, "assumed", f"as captions of 4 to 96 tokens; {speed.says}")
    overhead = Speed(exactly(0), "assumed", "loading and saving not counted")
    if history.overheads:
        overhead = Speed(mean_of(history.overheads), "measured", "")
    return Rates(
        lengths, visit, caption, question, overhead,
        processes=recipe.training.processes,
        captioners=body.captioners,
        price_per_hour=body.price_per_hour,
        sampled_tokens=sample is not None,
    )  # fmt: skip


def _notes(recipe: Recipe, body: EstimateIn, sample: Sampled | None, captioner: str) -> list[str]:
    notes = ["Wall time is of one piece of work after the other; what runs beside it shortens it."]
    if sample is None and body.sample:
        notes.append(
            f"No model of the preset {recipe.model.preset} is in the registry, so nothing was "
            "captioned: caption lengths are those of the paper's Table 1. Name a captioner to "
            "measure."
        )
    elif sample is not None:
        notes.append(
            f"Captions are as long as {captioner}'s on {sample.images} images of at most four "
            "shards; the paper's grew by a quarter from round 1 to 3 (Table 1)."
        )
    if recipe.rounds.seeds > 1:
        notes.append(
            f"Every round and control is trained and evaluated with {recipe.rounds.seeds} seeds; "
            "their lines are of all of them. Captions are made once, and so is the base."
        )
    if recipe.data.pretrain_also:
        notes.append(
            "Alt-texts of all pretraining data are taken to be as long as the recaptioned data's."
        )
    return notes


def _round(platform: Client, row: RoundRow, processes: int) -> Iterator[CostLine]:
    if row.layer_job:
        yield _layer(platform.caption.job(row.layer_job), row.name)
    for name, held in ((n, platform.specialist.get(i)) for n, i in sorted(row.specialists.items())):
        if held.job:
            # A specialist's finetuning runs in one process.
            yield _jobs(platform, row.name, "training", [held.job], 1, what=name)
        if held.layer_job:
            yield _layer(platform.caption.job(held.layer_job), row.name, what=name)
    if row.train_job:
        yield _jobs(platform, row.name, "training", [row.train_job], processes)
    if row.evaluate_job:
        evaluations = [*row.seed_evaluations.values()] or [row.evaluate_job]
        yield _jobs(platform, row.name, "evaluation", evaluations, 1)


def _layer(job: CaptionJob, name: str, *, what: str = "") -> CostLine:
    return CostLine(
        round=name,
        work="captioning",
        what=what,
        state=job.state,
        images=job.captioned + sum(job.quarantined.values()),
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
    """One line of a round's jobs of one kind, summed over its seeds."""
    jobs = [job for held in ids for job in _seeds_of(platform, held)]
    seconds = sum(job.seconds for job in jobs)
    return CostLine(
        round=name,
        work=work,
        what=what,
        state=together([job.state for job in jobs]),
        images=sum(_asked(job) for job in jobs),
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
