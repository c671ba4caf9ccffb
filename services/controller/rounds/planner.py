"""The planner: decides a run's next actions from its facts. Pure: no clock, no database.

The loop of the paper (section 2): a baseline, then rounds of recaptioning and retraining until
they no longer help, then the specialists' round. Controls join when what they need is there, and
never block the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.controller.rounds.state import ENDED, RoundState
from vila2.evaluation.verdict import VerdictKind, saturated
from vila2.recipes.recipe import ControlRecipe, Recipe
from vila2.schemas.rest.controller import RoundKind


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """The facts of one round that the planner uses."""

    name: str
    kind: RoundKind
    position: int
    state: RoundState
    has_layer: bool = False
    verdict: VerdictKind | None = None
    stop: str = ""  # the warning for which the recipe wants the run stopped
    error: str = ""


@dataclass(frozen=True, slots=True)
class AddRound:
    """A round to begin."""

    name: str
    kind: RoundKind
    position: int
    message: str


@dataclass(frozen=True, slots=True)
class FinishRun:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class PauseRun:
    """A person must review the run before anything else starts."""

    reason: str


@dataclass(frozen=True, slots=True)
class FailRun:
    """The loop cannot go on."""

    reason: str


Action = AddRound | FinishRun | PauseRun | FailRun


def self_name(index: int) -> str:
    """Name of the index-th self-augmented round, from 1."""
    return f"round {index}"


BASE, BASELINE, SPECIALIST = "base", "round 0", "specialists"


def plan(recipe: Recipe, rounds: Sequence[RoundFacts]) -> list[Action]:
    """The next actions; an empty list means wait."""
    held = {facts.name: facts for facts in rounds}
    for facts in rounds:
        # A control that fails is reported; it does not take the run down.
        if facts.state == "failed" and facts.kind != "control":
            return [FailRun(f"{facts.name}: {facts.error}")]
    for facts in rounds:
        if facts.stop:
            return [PauseRun(f"{facts.name}: {facts.stop}")]
    actions: list[Action] = []
    step = _next_of_the_loop(recipe, held)
    if step is not None:
        actions.append(step)
    actions += _controls(recipe, held, position=len(rounds) + len(actions))
    if (
        not actions
        and all(facts.state in ENDED for facts in rounds)
        and loop_is_over(recipe, rounds)
    ):
        return [FinishRun()]
    return actions


def _next_of_the_loop(recipe: Recipe, held: dict[str, RoundFacts]) -> AddRound | None:
    position = len(held)
    if BASE not in held:
        return AddRound(BASE, "base", position, "building the base model")
    if held[BASE].state != "done":
        return None
    if BASELINE not in held:
        return AddRound(BASELINE, "baseline", position, "training on the original captions")
    selves = self_rounds(list(held.values()))
    last = selves[-1] if selves else held[BASELINE]
    if last.state != "done":
        return None
    if not self_rounds_are_over(recipe, list(held.values())):
        index = len(selves) + 1
        return AddRound(
            self_name(index), "self", position, f"{last.name} recaptions for round {index}"
        )
    if recipe.specialists and SPECIALIST not in held:
        best = best_round(list(held.values()))
        return AddRound(
            SPECIALIST, "specialist", position, f"specialists are finetuned from {best.name}"
        )
    return None


def _controls(recipe: Recipe, held: dict[str, RoundFacts], *, position: int) -> list[AddRound]:
    facts = list(held.values())
    over = self_rounds_are_over(recipe, facts)
    first = held.get(self_name(1))
    # A control is judged against the baseline, so it waits for it.
    baseline_ready = BASELINE in held and held[BASELINE].state == "done"
    added: list[AddRound] = []
    for control in recipe.controls:
        ready = {
            "none": baseline_ready,
            "layer": baseline_ready,
            "best": over,
            "first": first is not None and first.has_layer,
        }[control.captions] and (over or not _needs_the_end(control))
        if control.name not in held and ready:
            added.append(AddRound(control.name, "control", position + len(added), control.says))
    return added


def _needs_the_end(control: ControlRecipe) -> bool:
    """Whether a control depends on the loop's end: its best captions, steps or data."""
    by_its_end = control.captions == "best" or control.extra_steps in ("loop", "specialists")
    return by_its_end or control.specialist_data


def bars_overruling(recipe: Recipe, rounds: Sequence[RoundFacts], of: RoundFacts) -> list[str]:
    """Rounds that were begun because of a round's verdict: it can no longer be another."""
    ends = {control.name for control in recipe.controls if _needs_the_end(control)}
    if of.kind == "control":
        return []
    return [
        facts.name
        for facts in rounds
        if (facts.kind in ("self", "specialist") and facts.position > of.position)
        or facts.name in ends
    ]


def self_rounds(rounds: Sequence[RoundFacts]) -> list[RoundFacts]:
    """The self-augmented rounds, in order."""
    return sorted((r for r in rounds if r.kind == "self"), key=lambda r: r.position)


def self_rounds_are_over(recipe: Recipe, rounds: Sequence[RoundFacts]) -> bool:
    """Whether the loop has saturated or reached its limit."""
    selves = self_rounds(rounds)
    if not selves or any(facts.state != "done" for facts in selves):
        return False
    verdicts: list[VerdictKind] = [f.verdict for f in selves if f.verdict is not None]
    return len(selves) >= recipe.rounds.maximum or saturated(verdicts, recipe.rounds.patience)


def loop_is_over(recipe: Recipe, rounds: Sequence[RoundFacts]) -> bool:
    """Whether every round that the recipe asks for is there."""
    names = {facts.name for facts in rounds}
    wanted = {control.name for control in recipe.controls}
    wanted |= {SPECIALIST} if recipe.specialists else set()
    return self_rounds_are_over(recipe, rounds) and wanted <= names


def best_round(rounds: Sequence[RoundFacts]) -> RoundFacts:
    """The last round judged improved, else the first self round, else the baseline.

    Not the one with the highest score: the luckiest of several would be a biased baseline. If no
    round improved, the specialists still need a model that knows the recaptions' language.
    """
    selves = self_rounds(rounds)
    improved = [facts for facts in selves if facts.verdict == "improved"]
    if improved:
        return improved[-1]
    return selves[0] if selves else next(f for f in rounds if f.kind == "baseline")


def rival(rounds: Sequence[RoundFacts], of: RoundFacts) -> RoundFacts:
    """The best so far, against which a round is judged: the last improved before it."""
    before = [facts for facts in self_rounds(rounds) if facts.position < of.position]
    improved = [facts for facts in before if facts.verdict == "improved"]
    return improved[-1] if improved else next(f for f in rounds if f.kind == "baseline")
