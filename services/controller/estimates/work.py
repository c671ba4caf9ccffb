"""From a recipe to the pieces of work of its run, and from these to an estimate's lines. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.controller.estimates.arithmetic import (
    Lengths,
    Speed,
    at_most,
    exactly,
    perhaps,
    plus,
    times,
)
from services.controller.rounds import requests
from services.controller.rounds.planner import BASE, BASELINE, SPECIALIST, self_name
from vila2.recipes.recipe import STAGES, ControlRecipe, Recipe, StageName, StageRecipe
from vila2.schemas.rest.estimates import Line, Range, Total, Work

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Training:
    """One stage of a training: how often samples are visited, and what they read."""

    stage: str
    visits: Range
    trainable: tuple[str, ...]
    dataset: str
    alt_text: bool = True
    caption_share: float = 0.0  # chance that a visit reads a general caption
    answers: tuple[str, ...] = ()  # specialists whose answers it reads
    corpus_share: float = 1.0  # of the visits: the others see data that is not recaptioned


@dataclass(frozen=True, slots=True)
class Phase:
    """One piece of work, done `times` over; `certain`: needed however early the loop saturates.

    `images` and `trainings` are those of one time.
    """

    round: str
    work: Work
    certain: bool
    what: str = ""
    images: Range = field(default_factory=lambda: exactly(0))
    trainings: tuple[Training, ...] = ()
    max_new_tokens: int = 0
    times: int = 1


@dataclass(frozen=True, slots=True)
class Rates:
    """Known speeds, in device-seconds.

    `visit(training, text tokens)` is one visit in training, `caption(tokens)` one image
    captioned, `question` one question of an evaluation, `overhead` what a training takes beside
    its stages.
    """

    lengths: Lengths
    visit: Callable[[Training, Range], Speed]
    caption: Callable[[Range], Speed]
    question: Speed
    overhead: Speed
    processes: int
    captioners: int
    price_per_hour: float | None
    sampled_tokens: bool


def fewest_rounds(recipe: Recipe) -> int:
    """Self-augmented rounds if none improves: the loop stops when its patience is used up."""
    return min(recipe.rounds.maximum, recipe.rounds.patience)


def phases(recipe: Recipe, sizes: Mapping[str, int], questions: int) -> list[Phase]:
    """The run's work in order; `sizes` maps datasets to samples, `questions` is the benchmarks'."""
    corpus, asked = exactly(sizes[recipe.data.pretrain]), exactly(questions)
    pretrain = sum(sizes[name] for name in (recipe.data.pretrain, *recipe.data.pretrain_also))
    share = sizes[recipe.data.pretrain] / max(1, pretrain)

    def captioning(name: str, certain: bool, most: int, what: str = "") -> Phase:
        return Phase(name, "captioning", certain, what, images=corpus, max_new_tokens=most)

    def generalist(
        name: str, trainings: list[Training], *, certain: bool = True
    ) -> tuple[Phase, Phase]:
        seeds = recipe.rounds.seeds
        return (
            Phase(name, "training", certain, trainings=tuple(trainings), times=seeds),
            Phase(
                name, "evaluation", certain, images=asked,
                max_new_tokens=requests.EVALUATION_TOKENS, times=seeds,
            ),
        )  # fmt: skip

    made: list[Phase] = []
    if recipe.model.base.stage is not None:
        base = _stage("base", recipe.model.base.stage, recipe.model.base.dataset)
        made.append(Phase(BASE, "training", True, trainings=(base,)))
    made += generalist(BASELINE, _stages(recipe, share))
    for number in range(1, recipe.rounds.maximum + 1):
        certain, name = number <= fewest_rounds(recipe), self_name(number)
        made.append(captioning(name, certain, recipe.captioning.sampling.max_new_tokens))
        made += generalist(name, _stages(recipe, share, captions=True), certain=certain)
    for held in recipe.specialists:
        skill = _stage(held.name, held.stage, held.dataset)
        made.append(Phase(SPECIALIST, "training", True, held.name, trainings=(skill,)))
        made.append(captioning(SPECIALIST, True, held.sampling.max_new_tokens, held.name))
    if recipe.specialists:
        extra = {name: exactly(n) for name, n in requests.specialist_round_extra(recipe).items()}
        made += generalist(SPECIALIST, _stages(recipe, share, answers=True, extra=extra))
    for control in recipe.controls:
        captions, extra = control.captions != "none", _control_extra(recipe, control)
        made += generalist(control.name, _stages(recipe, share, captions=captions, extra=extra))
    return made


def line_of(phase: Phase, rates: Rates) -> Line:
    """The line of one piece of work."""
    of = {"captioning": _captioning, "training": _training, "evaluation": _evaluation}
    made = _each(of[phase.work](phase, rates), lambda value: times(value, phase.times))
    return made if phase.certain else _each(made, perhaps)


def total_of(lines: Sequence[Line]) -> Total:
    """All lines; wall time is the sum, as if nothing ran in parallel."""
    captions = [line for line in lines if line.work == "captioning"]
    priced = [line.money for line in lines if line.money is not None]
    return Total(
        captioned=plus(line.images for line in captions),
        tokens=plus(line.tokens for line in captions if line.tokens is not None),
        hours=plus(line.hours for line in lines),
        wall_hours=plus(line.wall_hours for line in lines),
        money=plus(priced) if priced else None,
    )


def text_tokens(training: Training, lengths: Lengths) -> Range:
    """Text tokens of one visit: alt-text or conversation, caption, answers."""
    words = lengths.words.get(training.dataset, 0.0) * training.alt_text
    captions = training.caption_share + len(training.answers)
    return plus(
        [
            exactly(words * lengths.tokens_per_word),
            times(lengths.caption, captions * training.corpus_share),
        ]
    )


def _control_extra(recipe: Recipe, control: ControlRecipe) -> dict[StageName, Range]:
    """A control at the loop's compute takes as many steps as the loop will have had."""
    few = requests.control_extra(recipe, control, rounds=1 + fewest_rounds(recipe))
    most = requests.control_extra(recipe, control, rounds=1 + recipe.rounds.maximum)
    return {
        name: Range(low=few.get(name, 0), mid=steps, high=steps) for name, steps in most.items()
    }


def _stages(
    recipe: Recipe,
    corpus_share: float,
    *,
    captions: bool = False,
    answers: bool = False,
    extra: Mapping[StageName, Range] | None = None,
) -> list[Training]:
    """The stages of a generalist's training."""
    text = recipe.specialised if answers else recipe.recaption if captions else recipe.baseline
    assert text is not None  # the recipe's validator requires it
    data = recipe.data
    read = {"align": data.align or data.pretrain, "pretrain": data.pretrain, "sft": data.sft}
    specialists = tuple(held.name for held in recipe.specialists) if answers else ()
    made = []
    for stage in STAGES:
        over_captions = stage == "pretrain" and (captions or answers)
        made.append(
            _stage(
                stage,
                recipe.stages[stage],
                read[stage],
                extra=(extra or {}).get(stage),
                # `recaption` leaves the alt-text out, `mix` in its share of the visits.
                alt_text=not (over_captions and text.policy == "recaption"),
                caption_share=text.p if over_captions and text.caption_layer else 0.0,
                answers=specialists if over_captions else (),
                corpus_share=corpus_share,
            )
        )
    return made


def _stage(
    name: str,
    stage: StageRecipe,
    dataset: str,
    *,
    extra: Range | None = None,
    alt_text: bool = True,
    caption_share: float = 0.0,
    answers: tuple[str, ...] = (),
    corpus_share: float = 1.0,
) -> Training:
    visits = times(plus([exactly(stage.steps), extra or exactly(0)]), stage.batch_size)
    return Training(
        name, visits, tuple(stage.trainable), dataset, alt_text, caption_share, answers,
        corpus_share,
    )  # fmt: skip


def _each(line: Line, change: Callable[[Range], Range]) -> Line:
    """The line with each of its quantities changed."""
    names = ("images", "tokens", "hours", "wall_hours", "money")
    held = {name: getattr(line, name) for name in names}
    return line.model_copy(
        update={name: change(value) for name, value in held.items() if value is not None}
    )


def _captioning(phase: Phase, rates: Rates) -> Line:
    """A specialist's answers are not sampled: they may have any length up to the most."""
    most = float(phase.max_new_tokens)
    each = at_most(rates.lengths.caption, most)
    lengths = "of the sample" if rates.sampled_tokens else "of the paper's Table 1"
    if phase.what:
        each = Range(low=0.0, mid=each.mid, high=most)
        lengths = f"up to the {phase.max_new_tokens} tokens that it may write"
    speed = rates.caption(each)
    measured = rates.sampled_tokens and not phase.what and speed.basis == "measured"
    return _line(
        phase, rates, phase.images, times(phase.images, each),
        times(phase.images, speed.seconds), rates.captioners,
        measured=measured, says=f"lengths {lengths}; {speed.says}",
    )  # fmt: skip


def _training(phase: Phase, rates: Rates) -> Line:
    seconds, tokens, speeds = [rates.overhead.seconds], [], [rates.overhead]
    for training in phase.trainings:
        text = text_tokens(training, rates.lengths)
        speed = rates.visit(training, text)
        seconds.append(times(training.visits, speed.seconds))
        tokens.append(times(training.visits, text))
        speeds.append(speed)
    says = "; ".join(dict.fromkeys(speed.says for speed in speeds if speed.says))
    return _line(
        phase, rates, plus(t.visits for t in phase.trainings), plus(tokens), plus(seconds),
        rates.processes, measured=all(s.basis == "measured" for s in speeds), says=says,
    )  # fmt: skip


def _evaluation(phase: Phase, rates: Rates) -> Line:
    speed = rates.question
    return _line(
        phase, rates, phase.images, None, times(phase.images, speed.seconds), 1,
        measured=speed.basis == "measured", says=speed.says,
    )  # fmt: skip


def _line(
    phase: Phase,
    rates: Rates,
    images: Range,
    tokens: Range | None,
    seconds: Range,
    at_once: int,
    *,
    measured: bool,
    says: str,
) -> Line:
    hours, price = times(seconds, 1 / HOUR), rates.price_per_hour
    return Line(
        round=phase.round,
        work=phase.work,
        what=phase.what,
        certain=phase.certain,
        images=images,
        tokens=tokens,
        hours=hours,
        wall_hours=times(hours, 1 / at_once),
        money=None if price is None else times(hours, price),
        basis="measured" if measured else "assumed",
        says=says,
    )
