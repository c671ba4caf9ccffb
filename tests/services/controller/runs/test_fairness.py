"""Runs are looked at so that none waits long behind another's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.controller.loop.fairness import fair_order
from services.controller.tables import RunRow


def run(team: str, number: int) -> RunRow:
    return RunRow(id=f"{team}-{number}", team=team, created_at=float(number))


def test_a_team_with_one_run_does_not_wait_behind_a_hundred() -> None:
    many = [run("many", n) for n in range(100)]
    order = [held.id for held in fair_order([*many, run("one", 500)], {})]
    assert order.index("one-500") <= 1


def test_the_run_that_waited_longest_is_first_of_its_team() -> None:
    runs = [run("a", n) for n in range(3)]
    assert [r.id for r in fair_order(runs, {"a-0": 9, "a-1": 3, "a-2": 5})] == ["a-1", "a-2", "a-0"]


@given(teams=st.lists(st.sampled_from("abcd"), max_size=40), looked=st.integers(0, 40))
def test_every_run_has_its_turn_once(teams: list[str], looked: int) -> None:
    runs = [run(team, n) for n, team in enumerate(teams)]
    turns = {held.id: n for n, held in enumerate(runs[:looked])}
    order = fair_order(runs, turns)
    assert sorted(r.id for r in order) == sorted(r.id for r in runs)
    # Any prefix holds at most one more run of a team than of another that still waits.
    for end in range(len(order)):
        given_out = {team: sum(r.team == team for r in order[:end]) for team in set(teams)}
        waiting = {r.team for r in order[end:]}
        for team in waiting:
            assert max(given_out.values()) <= given_out[team] + 1
