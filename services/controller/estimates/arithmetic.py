"""From pieces of work and rates to the lines of an estimate. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.controller.estimates.phases import Phase, Training
from services.controller.estimates.ranges import at_most, exactly, perhaps, plus, times
from services.controller.estimates.rates import Lengths, Speed
from vila2.api.estimates import Line, Range, Total

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What is known of speeds.

    `visit(training, text tokens)` is one visit in training, `caption(tokens)` one picture
    captioned, `question` one question of an evaluation, `overhead` what a training takes beside
    its stages; all in device-seconds.
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


def line_of(phase: Phase, rates: Rates) -> Line:
    """The line of one piece of work."""
    made = {"captioning": _captioning, "training": _training, "evaluation": _evaluation}[
        phase.work
    ](phase, rates)
    if phase.times > 1:
        made = _each(made, lambda value: times(value, phase.times))
    return made if phase.certain else _each(made, perhaps)


def total_of(lines: Sequence[Line]) -> Total:
    """All lines; wall time as if one came after the other."""
    captions = [line for line in lines if line.work == "captioning"]
    priced = [line.money for line in lines if line.money is not None]
    return Total(
        captioned=plus(line.pictures for line in captions),
        tokens=plus(line.tokens for line in captions if line.tokens is not None),
        hours=plus(line.hours for line in lines),
        wall_hours=plus(line.wall_hours for line in lines),
        money=plus(priced) if priced else None,
    )


def caption_tokens(phase: Phase, rates: Rates) -> Range:
    """Tokens of one caption: what was sampled, of a specialist up to the most it may write."""
    most = float(phase.max_new_tokens)
    held = at_most(rates.lengths.caption, most)
    return Range(low=0.0, mid=held.mid, high=most) if phase.what else held


def text_tokens(training: Training, lengths: Lengths) -> Range:
    """Text tokens of one visit: alt-text or conversation, caption, answers."""
    words = lengths.words.get(training.dataset, 0.0) * training.alt_text
    parts = [exactly(words * lengths.tokens_per_word)]
    captions = training.caption_share + len(training.answers)
    parts.append(times(lengths.caption, captions * training.corpus_share))
    return plus(parts)


def _each(line: Line, change: Callable[[Range], Range]) -> Line:
    """The line with each of its quantities changed."""
    return line.model_copy(
        update={
            name: change(value)
            for name in ("pictures", "tokens", "hours", "wall_hours", "money")
            if (value := getattr(line, name)) is not None
        }
    )


def _captioning(phase: Phase, rates: Rates) -> Line:
    each = caption_tokens(phase, rates)
    speed = rates.caption(each)
    source = "of the sample" if rates.sampled_tokens else "of the paper's Table 1"
    told = f"lengths {source}"
    if phase.what:
        told = f"lengths up to the {phase.max_new_tokens} tokens that it may write"
    measured = rates.sampled_tokens and not phase.what and speed.basis == "measured"
    return _line(
        phase, rates, phase.pictures, times(phase.pictures, each),
        times(phase.pictures, speed.seconds), rates.captioners,
        measured=measured, says=f"{told}; {speed.says}",
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
        phase, rates, phase.pictures, None, times(phase.pictures, speed.seconds), 1,
        measured=speed.basis == "measured", says=speed.says,
    )  # fmt: skip


def _line(
    phase: Phase,
    rates: Rates,
    pictures: Range,
    tokens: Range | None,
    seconds: Range,
    at_once: int,
    *,
    measured: bool,
    says: str,
) -> Line:
    hours = times(seconds, 1 / HOUR)
    price = rates.price_per_hour
    return Line(
        round=phase.round,
        work=phase.work,
        what=phase.what,
        certain=phase.certain,
        pictures=pictures,
        tokens=tokens,
        hours=hours,
        wall_hours=times(hours, 1 / at_once),
        money=None if price is None else times(hours, price),
        basis="measured" if measured else "assumed",
        says=says,
    )
