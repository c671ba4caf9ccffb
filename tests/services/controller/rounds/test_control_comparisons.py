"""Against which round a control is held."""

from __future__ import annotations

from services.controller.report.rounds import rivals
from services.controller.tables import RoundRow
from vila2.recipes.recipe import ControlRecipe, Recipe, load_recipe


def _recipe(*controls: ControlRecipe) -> Recipe:
    return load_recipe("tiny").model_copy(update={"controls": list(controls)})


def _row(name: str, kind: str, position: int, verdict: str = "") -> RoundRow:
    return RoundRow(
        name=name,
        kind=kind,
        position=position,
        state="done",
        layer="",
        error="",
        verdict={"kind": verdict} if verdict else None,
    )


ROUNDS = [
    _row("round 0", "baseline", 1),
    _row("round 1", "self", 2, "improved"),
    _row("round 2", "self", 3, "no_measurable_change"),
]
PLAIN = ControlRecipe(name="plain", says="")
SPECIAL = ControlRecipe(name="special", says="", extra_steps="specialists")


def test_a_control_is_held_against_the_last_round_that_improved() -> None:
    """Not against the highest score."""
    assert rivals(_recipe(PLAIN), ROUNDS) == {"plain": "round 1"}


def test_a_control_with_the_specialists_steps_is_held_against_their_round() -> None:
    """Once there is one."""
    recipe = _recipe(PLAIN, SPECIAL)
    assert rivals(recipe, ROUNDS)["special"] == "round 1"
    found = rivals(recipe, [*ROUNDS, _row("specialists", "specialist", 4, "worse")])
    assert found == {"plain": "round 1", "special": "specialists"}


def test_before_the_baseline_nothing_is_compared() -> None:
    """And nothing fails."""
    assert rivals(_recipe(PLAIN), []) == {}
