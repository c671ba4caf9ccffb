"""What /metrics says of runs, and since when one has not moved."""

from __future__ import annotations

from prometheus_client import REGISTRY

from services.controller.runs.gauges import RunWatch
from tests.support.runs.stepped_platform import SteppedPlatform, recipe, start


def moved(run: str) -> float | None:
    return REGISTRY.get_sample_value("vila2_run_moved_timestamp_seconds", {"run": run})


def shown(metric: str, run: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"vila2_run_{metric}", {"run": run, **labels})


def test_a_run_moves_when_its_signs_change_and_not_when_it_is_looked_at() -> None:
    now = [100.0]
    watch = RunWatch(clock=lambda: now[0])
    seen = []
    for at, signs in ((100, "training 1"), (200, "training 1"), (300, "training 2")):
        now[0] = at
        watch.saw("run-1", signs)
        watch.only(["run-1"])
        seen.append(moved("run-1"))
    assert seen == [100, 100, 300]


def test_a_run_that_is_no_longer_carried_on_is_shown_no_longer() -> None:
    """It ended, was paused, or another controller leads."""
    watch = RunWatch()
    watch.saw("run-2", 1)
    watch.only([])
    assert moved("run-2") is None


def test_rounds_are_shown_with_their_states_scores_and_verdicts(stepped: SteppedPlatform) -> None:
    """Also after the run's end, for a day."""
    run = start(stepped, recipe())
    held = stepped.until(run, "base", "training")
    stepped.controller.watch.look_at_tables()
    assert shown("round_state", run, round="base", state="training") == 1
    held = stepped.finish(run)
    stepped.controller.watch.look_at_tables()
    assert shown("round_state", run, round="base", state="training") is None
    judged = next(round for round in held.rounds if round.verdict is not None)
    assert judged.verdict is not None
    assert shown("round_verdict", run, round=judged.name, verdict=judged.verdict["kind"]) == 1
    benchmark, score = next(iter(judged.scores.items()))
    assert shown("round_score", run, round=judged.name, benchmark=benchmark) == score["score"]
