"""A recipe as the pieces of work of its run, in the order in which they come. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.controller import jobs
from services.controller.estimates.ranges import exactly
from services.controller.planner import BASE, BASELINE, SPECIALIST, self_name
from vila2.api.estimates import Range, Work
from vila2.recipe import STAGES, ControlRecipe, Recipe, StageName, StageRecipe


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
    corpus_share: float = 1.0  # of the visits: the others see data that nobody recaptions


@dataclass(frozen=True, slots=True)
class Phase:
    """One piece of work, done `times` over; `certain`: it comes however early the loop saturates.

    `pictures` and `trainings` are those of one time.
    """

    round: str
    work: Work
    certain: bool
    what: str = ""
    pictures: Range = field(default_factory=lambda: exactly(0))
    trainings: tuple[Training, ...] = ()
    max_new_tokens: int = 0
    times: int = 1


def fewest_rounds(recipe: Recipe) -> int:
    """Self-augmented rounds if none improves: the loop stops when its patience is used up."""
    return min(recipe.rounds.maximum, recipe.rounds.patience)


def phases(recipe: Recipe, sizes: Mapping[str, int], questions: int) -> list[Phase]:
    """The run's work; `sizes` maps a dataset to its samples, `questions` are all benchmarks'."""
    corpus = exactly(sizes[recipe.data.pretrain])
    made: list[Phase] = []
    if recipe.model.base.stage is not None:
        base = _stage("base", recipe.model.base.stage, recipe.model.base.dataset)
        made.append(Phase(BASE, "training", True, trainings=(base,)))
    asked = exactly(questions)
    corpus_share = sizes[recipe.data.pretrain] / max(
        1, sum(sizes[name] for name in (recipe.data.pretrain, *recipe.data.pretrain_also))
    )
    made += _generalist(recipe, BASELINE, asked, certain=True)
    for number in range(1, recipe.rounds.maximum + 1):
        certain, name = number <= fewest_rounds(recipe), self_name(number)
        tokens = recipe.captioning.sampling.max_new_tokens
        made.append(Phase(name, "captioning", certain, pictures=corpus, max_new_tokens=tokens))
        made += _generalist(
            recipe, name, asked, certain=certain, captions=True, corpus_share=corpus_share
        )
    for specialist in recipe.specialists:
        skill = _stage(specialist.name, specialist.stage, specialist.dataset)
        made.append(Phase(SPECIALIST, "training", True, what=specialist.name, trainings=(skill,)))
        made.append(
            Phase(
                SPECIALIST, "captioning", True, what=specialist.name, pictures=corpus,
                max_new_tokens=specialist.sampling.max_new_tokens,
            )
        )  # fmt: skip
    if recipe.specialists:
        extra = {name: exactly(n) for name, n in jobs.specialist_round_extra(recipe).items()}
        made += _generalist(
            recipe,
            SPECIALIST,
            asked,
            certain=True,
            answers=True,
            extra=extra,
            corpus_share=corpus_share,
        )
    for control in recipe.controls:
        captions, extra = control.captions != "none", _control_extra(recipe, control)
        made += _generalist(
            recipe,
            control.name,
            asked,
            certain=True,
            captions=captions,
            extra=extra,
            corpus_share=corpus_share,
        )
    return made


def _control_extra(recipe: Recipe, control: ControlRecipe) -> dict[StageName, Range]:
    """A control at the loop's compute takes as many steps as the loop will have had."""
    few = jobs.control_extra(recipe, control, rounds=1 + fewest_rounds(recipe))
    most = jobs.control_extra(recipe, control, rounds=1 + recipe.rounds.maximum)
    return {
        name: Range(low=few.get(name, 0), mid=steps, high=steps) for name, steps in most.items()
    }


def _generalist(
    recipe: Recipe,
    name: str,
    questions: Range,
    *,
    certain: bool,
    captions: bool = False,
    answers: bool = False,
    extra: Mapping[StageName, Range] | None = None,
    corpus_share: float = 1.0,
) -> list[Phase]:
    text = recipe.specialised if answers else recipe.recaption if captions else recipe.baseline
    assert text is not None  # the recipe's validator saw to it
    read = {
        "align": recipe.data.align or recipe.data.pretrain,
        "pretrain": recipe.data.pretrain,
        "sft": recipe.data.sft,
    }
    trainings = []
    for stage in STAGES:
        over_captions = stage == "pretrain" and (captions or answers)
        trainings.append(
            _stage(
                stage,
                recipe.stages[stage],
                read[stage],
                extra=(extra or {}).get(stage),
                # `recaption` leaves the alt-text out, `mix` in its share of the visits.
                alt_text=not (over_captions and text.policy == "recaption"),
                caption_share=text.p if over_captions and text.caption_layer else 0.0,
                answers=tuple(s.name for s in recipe.specialists)
                if answers and over_captions
                else (),
                corpus_share=corpus_share,
            )
        )
    return [
        Phase(
            name, "training", certain, trainings=tuple(trainings), times=recipe.rounds.seeds
        ),
        Phase(
            name, "evaluation", certain, pictures=questions,
            max_new_tokens=jobs.EVALUATION_TOKENS, times=recipe.rounds.seeds,
        ),
    ]  # fmt: skip


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
    more = extra or exactly(0)
    visits = Range(
        low=(stage.steps + more.low) * stage.batch_size,
        mid=(stage.steps + more.mid) * stage.batch_size,
        high=(stage.steps + more.high) * stage.batch_size,
    )
    return Training(
        name, visits, tuple(stage.trainable), dataset, alt_text, caption_share, answers,
        corpus_share,
    )  # fmt: skip
