"""Making an estimate: read, sample, look back, and let the arithmetic do the rest."""

from __future__ import annotations

from services.chassis.errors import Invalid
from services.controller.estimates.arithmetic import Rates, line_of, total_of
from services.controller.estimates.history import PastJobs
from services.controller.estimates.phases import Training, phases
from services.controller.estimates.planned import Planned
from services.controller.estimates.ranges import RANGES, exactly, mean_of, spread_of
from services.controller.estimates.rates import (
    DEVICES,
    History,
    Lengths,
    Speed,
    adjusted,
    assumed_caption,
    for_length,
    measured_stage,
)
from services.controller.estimates.sampling import captioner_of, dataset_text, sampled
from vila2.api.estimates import Device, Estimate, EstimateIn, Range, Sampled
from vila2.client import Client
from vila2.recipe import Recipe

# Of an evaluation's answers, which are shorter than captions.
_QUESTION_TOKENS = Range(low=4, mid=16, high=96)


def estimate(platform: Client, recipe: Recipe, body: EstimateIn) -> Estimate:
    """What a run of the pinned recipe will take; raises `Invalid` where nothing says how fast.

    Starts no run and changes nothing; the sample's captions are not kept.
    """
    past = PastJobs(platform)
    history = past.of_preset(recipe.model.preset) if body.history else History()
    texts = {name: dataset_text(platform, name) for name in recipe.datasets()}
    captioner = captioner_of(platform, past.presets, body.captioner, recipe.model.preset)
    sample = (
        sampled(platform, recipe, captioner, body.sample) if body.sample and captioner else None
    )
    device = _device(body)
    planned = Planned(recipe, device)
    rates = _rates(recipe, body, history, sample, planned, {n: t.words for n, t in texts.items()})
    questions = round(sum(texts[n].samples * texts[n].questions for n in recipe.benchmarks))
    sizes: dict[str, int] = {name: text.samples for name, text in texts.items()}
    lines = [line_of(phase, rates) for phase in phases(recipe, sizes, questions)]
    unit = device.unit if planned.used and device else history.unit
    return Estimate(
        recipe_name=recipe.name,
        recipe_hash=recipe.digest(),
        unit="gpu" if unit == "gpu" else "process",
        device=device if planned.used else None,
        sampled=sample,
        lines=lines,
        total=total_of(lines),
        ranges=RANGES,
        price_per_hour=body.price_per_hour,
        notes=_notes(recipe, body, sample, captioner),
    )


def _device(body: EstimateIn) -> Device | None:
    if body.device is None:
        if body.peak_tflops is not None or body.mfu is not None:
            raise Invalid(
                "peak_tflops and mfu belong to a device", field="device",
                fix=f"name one of {', '.join(DEVICES)}",
            )  # fmt: skip
        return None
    return adjusted(DEVICES[body.device], peak_tflops=body.peak_tflops, mfu=body.mfu)


def _rates(
    recipe: Recipe,
    body: EstimateIn,
    history: History,
    sample: Sampled | None,
    planned: Planned,
    words: dict[str, float],
) -> Rates:
    lengths = Lengths(
        words=words,
        tokens_per_word=sample.tokens_per_word if sample else 4 / 3,
        caption=sample.tokens
        if sample
        else assumed_caption(recipe.captioning.sampling.max_new_tokens),
    )

    def visit(training: Training, text: Range) -> Speed:
        return measured_stage(history, training.stage, training.trainable) or planned.visit(
            training, text
        )

    def caption(tokens: Range) -> Speed:
        if sample is None or not body.history:
            return planned.caption(tokens)
        seconds = for_length(sample.seconds, sample.tokens, tokens)
        return Speed(seconds, "measured", "speed of the sample, fastest to slowest call")

    if history.evaluations:
        told = f"{len(history.evaluations)} earlier evaluation(s), least to most"
        question = Speed(spread_of(history.evaluations), "measured", told)
    else:
        speed = caption(_QUESTION_TOKENS)
        question = Speed(speed.seconds, "assumed", f"as captions of 4 to 96 tokens; {speed.says}")
    overhead = Speed(exactly(0), "assumed", "loading and saving not counted")
    if history.overheads:
        overhead = Speed(mean_of(history.overheads), "measured", "")
    return Rates(
        lengths=lengths,
        visit=visit,
        caption=caption,
        question=question,
        overhead=overhead,
        processes=recipe.training.processes,
        captioners=body.captioners,
        price_per_hour=body.price_per_hour,
        sampled_tokens=sample is not None,
    )


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
            f"Captions are as long as {captioner}'s on {sample.pictures} pictures of at most four "
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
